"""The ledger: uploads, their parts, objects."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "uploads",
        sa.Column("upload_id", sa.String(36), primary_key=True),
        sa.Column("object_id", sa.String(36), nullable=False),
        sa.Column("study_id", sa.String(36), nullable=False),
        sa.Column("analysis_id", sa.String(36), nullable=False),
        sa.Column("file_name", sa.Text, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("expected_md5", sa.String(32), nullable=False),
        sa.Column("part_size_bytes", sa.BigInteger, nullable=False),
        sa.Column("staging_key", sa.Text, nullable=False),
        sa.Column("staging_token", sa.Text, nullable=False),
        sa.Column("stream_epoch", sa.BigInteger, nullable=False),
        sa.Column("hashed_size_bytes", sa.BigInteger, nullable=False),
        sa.Column("computed_md5", sa.String(32), nullable=False),
        sa.Column("failure_reason", sa.String(64), nullable=False),
        sa.Column("failure_message", sa.Text, nullable=False),
        sa.Column("lease_owner", sa.String(64), nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
    )
    live = sa.text("state IN ('OPEN', 'COMPLETING')")
    op.create_index(
        "uploads_live_object", "uploads", ["object_id"], unique=True, sqlite_where=live, postgresql_where=live
    )
    op.create_index("uploads_object", "uploads", ["object_id"])
    op.create_index("uploads_state", "uploads", ["state", "lease_until"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.String(36), sa.ForeignKey("uploads.upload_id"), primary_key=True),
        sa.Column("part_number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("xxh3_128", sa.String(32), nullable=False),
        sa.Column("store_etag", sa.Text, nullable=False),
        sa.Column("stream_epoch", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "objects",
        sa.Column("object_id", sa.String(36), primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("upload_id", sa.String(36), sa.ForeignKey("uploads.upload_id"), nullable=False),
        sa.Column("study_id", sa.String(36), nullable=False),
        sa.Column("analysis_id", sa.String(36), nullable=False),
        sa.Column("file_name", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("md5", sa.String(32), nullable=False),
        sa.Column("verification", sa.String(12), nullable=False),
        sa.Column("part_size_bytes", sa.BigInteger, nullable=False),
        sa.Column("store_key", sa.Text, nullable=False),
        sa.Column("store_version", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
    )
