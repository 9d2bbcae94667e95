"""Song's tables. Times are microseconds since 1970 (UTC); JSON is text, so that every digit survives."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def key(length: int) -> String:
    """Return the type of a key: compared byte by byte on every database, so that pages have one order."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


ID = key(64)
STATE = String(16)

locks = Table("locks", METADATA, Column("name", key(64), primary_key=True))
"""Rows to lock where what is written has no row yet. Made by migrations: `studies`, `analysis_types`, `entities`."""

studies = Table(
    "studies",
    METADATA,
    Column("study_id", ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("organization", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("info_json", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("wire_bytes", Integer, nullable=False),
    Column("visibility", String(16), nullable=False),
)

analysis_types = Table(
    "analysis_types",
    METADATA,
    Column("name", key(225), nullable=False),
    Column("version", Integer, nullable=False),
    Column("entity_model", String(32), nullable=False),
    Column("file_types_json", Text, nullable=False),
    Column("external_validations_json", Text, nullable=False),
    Column("schema_json", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("wire_bytes", Integer, nullable=False),
    PrimaryKeyConstraint("name", "version"),
)

donors = Table(
    "donors",
    METADATA,
    Column("donor_id", ID, primary_key=True),
    Column("study_id", ID, ForeignKey("studies.study_id"), nullable=False),
    Column("submitter_donor_id", ID, nullable=False),
    Column("gender", String(16), nullable=False),
    Column("info_json", Text, nullable=False),
    UniqueConstraint("study_id", "submitter_donor_id"),
)

specimens = Table(
    "specimens",
    METADATA,
    Column("specimen_id", ID, primary_key=True),
    Column("donor_id", ID, ForeignKey("donors.donor_id"), nullable=False, index=True),
    Column("study_id", ID, ForeignKey("studies.study_id"), nullable=False),
    Column("submitter_specimen_id", ID, nullable=False),
    Column("tumour_normal_designation", String(16), nullable=False),
    Column("specimen_tissue_source", Text, nullable=False),
    Column("specimen_type", Text, nullable=False),
    Column("info_json", Text, nullable=False),
    UniqueConstraint("study_id", "submitter_specimen_id"),
)

samples = Table(
    "samples",
    METADATA,
    Column("sample_id", ID, primary_key=True),
    Column("specimen_id", ID, ForeignKey("specimens.specimen_id"), nullable=False, index=True),
    Column("study_id", ID, ForeignKey("studies.study_id"), nullable=False),
    Column("submitter_sample_id", ID, nullable=False),
    Column("sample_type", Text, nullable=False),
    Column("matched_normal_submitter_sample_id", ID),
    Column("info_json", Text, nullable=False),
    UniqueConstraint("study_id", "submitter_sample_id"),
)

analyses = Table(
    "analyses",
    METADATA,
    Column("analysis_id", ID, primary_key=True),
    Column("study_id", ID, ForeignKey("studies.study_id"), nullable=False),
    Column("state", STATE, nullable=False),
    Column("type_name", key(225), nullable=False),
    Column("type_version", Integer, nullable=False),
    Column("data_json", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("wire_bytes", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    # Known from the history too; here for lists.
    Column("first_publish_time", BigInteger),
    Column("publish_time", BigInteger),
    Column("publishing_until", BigInteger),
    # Lists walk them: one state of one study, in the order of one time.
    Index(None, "study_id", "state", "create_time", "analysis_id"),
    Index(None, "study_id", "state", "update_time", "analysis_id"),
    Index(None, "study_id", "state", "publish_time", "analysis_id"),
    # Comparisons of types walk it.
    Index(None, "type_name", "type_version", "analysis_id"),
)
# On PostgreSQL, the migration makes ix_analyses_data too: GIN over song_filterable(data_json), for filters on data.

analysis_samples = Table(
    "analysis_samples",
    METADATA,
    Column("analysis_id", ID, ForeignKey("analyses.analysis_id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("sample_id", ID, ForeignKey("samples.sample_id"), nullable=False, index=True),
    PrimaryKeyConstraint("analysis_id", "position"),
)

files = Table(
    "files",
    METADATA,
    Column("object_id", ID, primary_key=True),
    Column("study_id", ID, ForeignKey("studies.study_id"), nullable=False),
    Column("analysis_id", ID, ForeignKey("analyses.analysis_id"), nullable=False),
    Column("file_name", key(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("file_type", Text, nullable=False),
    Column("md5", key(32), nullable=False),
    Column("access", String(16), nullable=False),
    Column("data_type", Text, nullable=False),
    Column("info_json", Text, nullable=False),
    Column("wire_bytes", Integer, nullable=False),
    UniqueConstraint("analysis_id", "file_name"),
    # The duplicate guard looks here.
    Index(None, "study_id", "md5"),
    # Objects of a study are listed, and searched by id.
    Index(None, "study_id", "object_id"),
)

history = Table(
    "history",
    METADATA,
    Column("analysis_id", ID, ForeignKey("analyses.analysis_id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("action", String(16), nullable=False),
    Column("state", STATE, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("subjects_json", Text, nullable=False),
    PrimaryKeyConstraint("analysis_id", "revision"),
)

_UNPLACED = text("position IS NULL")
outbox = Table(
    "outbox",
    METADATA,
    # Grows with every event of one analysis, whose row is locked meanwhile; not in the order of commits.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("event_id", ID, nullable=False, unique=True),
    Column("analysis_id", ID, ForeignKey("analyses.analysis_id"), nullable=False),
    Column("study_id", ID, nullable=False),
    Column("action", String(16), nullable=False),
    Column("state", STATE, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("analysis_json", Text, nullable=False),
    Column("type_name", key(225), nullable=False),
    # Its place in the one order of all events, given by the relay after the commit; null until then.
    Column("position", BigInteger),
    Index(None, "analysis_id", "number"),
    Index(None, "position", unique=True),
    Index(None, "time"),
    # The relay looks here for what has no position yet.
    Index("ix_outbox_unplaced", "number", sqlite_where=_UNPLACED, postgresql_where=_UNPLACED),
)

relay = Table(
    "relay",
    METADATA,
    Column("name", key(64), primary_key=True),
    Column("holder", key(64), nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    # Of the last event that has one.
    Column("last_position", BigInteger, nullable=False),
    # Of the last event that Kafka has acknowledged.
    Column("sent_position", BigInteger, nullable=False),
    # Of the last event that is no longer kept; 0: all are.
    Column("pruned_position", BigInteger, nullable=False),
)
"""One row, `events`, made by the migration: who gives events their positions and sends them, and how far it got."""

requests = Table(
    "requests",
    METADATA,
    Column("actor", key(255), nullable=False),
    Column("method", key(64), nullable=False),
    Column("request_id", key(128), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("answer_json", Text, nullable=False),
    Column("time", BigInteger, nullable=False, index=True),
    PrimaryKeyConstraint("actor", "method", "request_id"),
)
