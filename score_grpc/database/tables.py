"""The ledger's tables. A change here needs a migration beside it; a test compares the two.

Times are microseconds since 1970 (UTC) as integers, which every database keeps alike.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

METADATA = MetaData()

UPLOADS = Table(
    "uploads",
    METADATA,
    Column("upload_id", String(36), primary_key=True),
    Column("object_id", String(36), nullable=False),
    Column("study_id", String(36), nullable=False),
    Column("analysis_id", String(36), nullable=False),
    Column("file_name", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("expected_md5", String(32), nullable=False),
    Column("part_size_bytes", BigInteger, nullable=False),
    Column("staging_key", Text, nullable=False),
    Column("staging_token", Text, nullable=False),
    # One more for each stream that joins: a part is committed by the newest stream that wrote it.
    Column("stream_epoch", BigInteger, nullable=False),
    Column("hashed_size_bytes", BigInteger, nullable=False),
    # The MD5 that the last completion found wrong, while no part has changed since; else empty.
    Column("computed_md5", String(32), nullable=False),
    Column("failure_reason", String(64), nullable=False),
    Column("failure_message", Text, nullable=False),
    Column("lease_owner", String(64), nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    # Why it is ABORTED; else empty.
    Column("abort_reason", String(12), nullable=False, server_default=""),
    # Of an ABORTED upload: whether the store holds nothing of it any more.
    Column("is_freed", Boolean, nullable=False, server_default=false()),
    # The generation whose place this upload takes: 0 where the object held nothing.
    Column("replaces_generation", BigInteger, nullable=False, server_default="0"),
    # Who asked for its last completion, as JSON; empty where that is not known.
    Column("completion_asker_json", Text, nullable=False, server_default=""),
)

_IS_LIVE = text("state IN ('OPEN', 'COMPLETING')")

# At most one live upload per object, whoever asks at the same moment.
Index(
    "uploads_live_object",
    UPLOADS.c.object_id,
    unique=True,
    sqlite_where=_IS_LIVE,
    postgresql_where=_IS_LIVE,
)
Index("uploads_object", UPLOADS.c.object_id)
IS_UNFREED = text("state = 'ABORTED' AND NOT is_freed")
"""As the index has it, so that a query by it can use the index."""
Index("uploads_unfreed", UPLOADS.c.lease_until, sqlite_where=IS_UNFREED, postgresql_where=IS_UNFREED)
Index("uploads_staging_key", UPLOADS.c.staging_key)
Index("uploads_state", UPLOADS.c.state, UPLOADS.c.lease_until)
Index("uploads_create_time", UPLOADS.c.create_time, UPLOADS.c.upload_id)
Index("uploads_study", UPLOADS.c.study_id, UPLOADS.c.create_time, UPLOADS.c.upload_id)

UPLOAD_PARTS = Table(
    "upload_parts",
    METADATA,
    Column("upload_id", String(36), ForeignKey("uploads.upload_id"), primary_key=True),
    Column("part_number", Integer, primary_key=True, autoincrement=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("xxh3_128", String(32), nullable=False),
    Column("store_etag", Text, nullable=False),
    Column("stream_epoch", BigInteger, nullable=False),
    # Of a part that came by a signed URL, whose xxh3_128 is then empty until the bytes are read back; else empty.
    Column("md5", String(32), nullable=False, server_default=""),
)

OBJECTS = Table(
    "objects",
    METADATA,
    Column("object_id", String(36), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("upload_id", String(36), ForeignKey("uploads.upload_id"), nullable=False),
    Column("study_id", String(36), nullable=False),
    Column("analysis_id", String(36), nullable=False),
    Column("file_name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("md5", String(32), nullable=False),
    Column("verification", String(12), nullable=False),
    Column("part_size_bytes", BigInteger, nullable=False),
    Column("store_key", Text, nullable=False),
    Column("store_version", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    # When all bytes were last read and compared; 0 for never.
    Column("verify_time", BigInteger, nullable=False, server_default="0"),
    # Of a verification under way: when it was asked for (0: none), how far it is, and its lease.
    Column("verify_start_time", BigInteger, nullable=False, server_default="0"),
    Column("verified_size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("verify_owner", String(64), nullable=False, server_default=""),
    Column("verify_until", BigInteger, nullable=False, server_default="0"),
    # Part numbers that the last verification found damaged, separated by commas.
    Column("damaged_parts", Text, nullable=False, server_default=""),
    # Until when a replacement or a deletion is under way; Song's publish looks at it.
    Column("changing_until", BigInteger, nullable=False, server_default="0"),
    # Whose mark that is: the id of the upload that replaces it, or that of a deletion.
    Column("changing_by", String(36), nullable=False, server_default=""),
)
"""One row per visible object: its current generation."""

IS_VERIFYING = text("verify_start_time > 0")
"""As the index has it."""
Index("objects_study", OBJECTS.c.study_id, OBJECTS.c.create_time, OBJECTS.c.object_id)
Index("objects_analysis", OBJECTS.c.analysis_id, OBJECTS.c.create_time, OBJECTS.c.object_id)
Index("objects_create_time", OBJECTS.c.create_time, OBJECTS.c.object_id)
Index("objects_verifying", OBJECTS.c.verify_until, sqlite_where=IS_VERIFYING, postgresql_where=IS_VERIFYING)

GENERATIONS = Table(
    "generations",
    METADATA,
    Column("object_id", String(36), primary_key=True),
    Column("last_generation", BigInteger, nullable=False),
)
"""The last generation an object id has had, also after it was deleted: numbers never come twice."""

RETIRED_KEYS = Table(
    "retired_keys",
    METADATA,
    Column("store_key", Text, primary_key=True),
    Column("object_id", String(36), nullable=False),
    Column("generation", BigInteger, nullable=False),
    # When no stream can read it any more.
    Column("delete_time", BigInteger, nullable=False),
    Column("lease_owner", String(64), nullable=False, server_default=""),
    Column("lease_until", BigInteger, nullable=False, server_default="0"),
)
"""Bytes in the store of generations that were replaced or deleted."""
Index("retired_keys_delete_time", RETIRED_KEYS.c.delete_time)

AUDIT = Table(
    "audit",
    METADATA,
    Column("entry_id", String(36), primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("principal", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("object_id", String(36), nullable=False),
    Column("study_id", String(36), nullable=False),
    # OK, or the reason of the refusal.
    Column("result", String(64), nullable=False),
    # Range, address, client's version and the like, as JSON. Never a secret.
    Column("facts_json", Text, nullable=False),
)
"""What was asked for, by whom, with what result. Only added to."""
Index("audit_time", AUDIT.c.time)
Index("audit_object", AUDIT.c.object_id, AUDIT.c.time)
