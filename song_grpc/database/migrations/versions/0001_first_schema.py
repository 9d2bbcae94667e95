"""The first schema: studies, types, analyses, entities, files, history, outbox, requests.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _key(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


_ID = _key(64)
_STATE = sa.String(16)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "locks",
        sa.Column("name", _key(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_locks"),
    )
    op.create_table(
        "studies",
        sa.Column("study_id", _ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("organization", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("info_json", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("wire_bytes", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("study_id", name="pk_studies"),
    )
    op.create_table(
        "analysis_types",
        sa.Column("name", _key(225), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("entity_model", sa.String(32), nullable=False),
        sa.Column("file_types_json", sa.Text, nullable=False),
        sa.Column("schema_json", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("wire_bytes", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_analysis_types"),
    )
    op.create_table(
        "donors",
        sa.Column("donor_id", _ID, nullable=False),
        sa.Column("study_id", _ID, sa.ForeignKey("studies.study_id", name="fk_donors_study_id"), nullable=False),
        sa.Column("submitter_donor_id", _ID, nullable=False),
        sa.Column("gender", sa.String(16), nullable=False),
        sa.Column("info_json", sa.Text, nullable=False),
        sa.UniqueConstraint("study_id", "submitter_donor_id", name="uq_donors_study_id_submitter_donor_id"),
        sa.PrimaryKeyConstraint("donor_id", name="pk_donors"),
    )
    op.create_table(
        "specimens",
        sa.Column("specimen_id", _ID, nullable=False),
        sa.Column("donor_id", _ID, sa.ForeignKey("donors.donor_id", name="fk_specimens_donor_id"), nullable=False),
        sa.Column("study_id", _ID, sa.ForeignKey("studies.study_id", name="fk_specimens_study_id"), nullable=False),
        sa.Column("submitter_specimen_id", _ID, nullable=False),
        sa.Column("tumour_normal_designation", sa.String(16), nullable=False),
        sa.Column("specimen_tissue_source", sa.Text, nullable=False),
        sa.Column("specimen_type", sa.Text, nullable=False),
        sa.Column("info_json", sa.Text, nullable=False),
        sa.UniqueConstraint("study_id", "submitter_specimen_id", name="uq_specimens_study_id_submitter_specimen_id"),
        sa.PrimaryKeyConstraint("specimen_id", name="pk_specimens"),
    )
    op.create_table(
        "samples",
        sa.Column("sample_id", _ID, nullable=False),
        sa.Column(
            "specimen_id", _ID, sa.ForeignKey("specimens.specimen_id", name="fk_samples_specimen_id"), nullable=False
        ),
        sa.Column("study_id", _ID, sa.ForeignKey("studies.study_id", name="fk_samples_study_id"), nullable=False),
        sa.Column("submitter_sample_id", _ID, nullable=False),
        sa.Column("sample_type", sa.Text, nullable=False),
        sa.Column("matched_normal_submitter_sample_id", _ID),
        sa.Column("info_json", sa.Text, nullable=False),
        sa.UniqueConstraint("study_id", "submitter_sample_id", name="uq_samples_study_id_submitter_sample_id"),
        sa.PrimaryKeyConstraint("sample_id", name="pk_samples"),
    )
    op.create_table(
        "analyses",
        sa.Column("analysis_id", _ID, nullable=False),
        sa.Column("study_id", _ID, sa.ForeignKey("studies.study_id", name="fk_analyses_study_id"), nullable=False),
        sa.Column("state", _STATE, nullable=False),
        sa.Column("type_name", _key(225), nullable=False),
        sa.Column("type_version", sa.Integer, nullable=False),
        sa.Column("data_json", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.Column("wire_bytes", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("analysis_id", name="pk_analyses"),
    )
    op.create_table(
        "analysis_samples",
        sa.Column(
            "analysis_id",
            _ID,
            sa.ForeignKey("analyses.analysis_id", name="fk_analysis_samples_analysis_id"),
            nullable=False,
        ),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column(
            "sample_id", _ID, sa.ForeignKey("samples.sample_id", name="fk_analysis_samples_sample_id"), nullable=False
        ),
        sa.PrimaryKeyConstraint("analysis_id", "position", name="pk_analysis_samples"),
    )
    op.create_table(
        "files",
        sa.Column("object_id", _ID, nullable=False),
        sa.Column("study_id", _ID, sa.ForeignKey("studies.study_id", name="fk_files_study_id"), nullable=False),
        sa.Column(
            "analysis_id", _ID, sa.ForeignKey("analyses.analysis_id", name="fk_files_analysis_id"), nullable=False
        ),
        sa.Column("file_name", _key(255), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("file_type", sa.Text, nullable=False),
        sa.Column("md5", _key(32), nullable=False),
        sa.Column("access", sa.String(16), nullable=False),
        sa.Column("data_type", sa.Text, nullable=False),
        sa.Column("info_json", sa.Text, nullable=False),
        sa.Column("wire_bytes", sa.Integer, nullable=False),
        sa.UniqueConstraint("analysis_id", "file_name", name="uq_files_analysis_id_file_name"),
        sa.PrimaryKeyConstraint("object_id", name="pk_files"),
    )
    op.create_table(
        "state_changes",
        sa.Column(
            "analysis_id",
            _ID,
            sa.ForeignKey("analyses.analysis_id", name="fk_state_changes_analysis_id"),
            nullable=False,
        ),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("initial_state", _STATE, nullable=False),
        sa.Column("updated_state", _STATE, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("analysis_id", "position", name="pk_state_changes"),
    )
    op.create_table(
        "outbox",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False, autoincrement=True),
        sa.Column("event_id", _ID, nullable=False),
        sa.Column(
            "analysis_id", _ID, sa.ForeignKey("analyses.analysis_id", name="fk_outbox_analysis_id"), nullable=False
        ),
        sa.Column("study_id", _ID, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("state", _STATE, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("analysis_json", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_outbox"),
        sa.UniqueConstraint("event_id", name="uq_outbox_event_id"),
    )
    op.create_table(
        "requests",
        sa.Column("actor", _key(255), nullable=False),
        sa.Column("method", _key(64), nullable=False),
        sa.Column("request_id", _key(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("answer_json", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("actor", "method", "request_id", name="pk_requests"),
    )
    op.create_index("ix_specimens_donor_id", "specimens", ["donor_id"])
    op.create_index("ix_samples_specimen_id", "samples", ["specimen_id"])
    op.create_index(
        "ix_analyses_study_id_state_create_time_analysis_id",
        "analyses",
        ["study_id", "state", "create_time", "analysis_id"],
    )
    op.create_index("ix_analysis_samples_sample_id", "analysis_samples", ["sample_id"])
    op.create_index("ix_files_study_id_md5", "files", ["study_id", "md5"])
    op.create_index("ix_outbox_analysis_id_number", "outbox", ["analysis_id", "number"])
    op.create_index("ix_requests_time", "requests", ["time"])
    names = ["studies", "analysis_types"]
    op.bulk_insert(sa.table("locks", sa.column("name")), [{"name": name} for name in names])
