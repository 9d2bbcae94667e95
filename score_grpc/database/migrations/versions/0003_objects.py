"""Objects are replaced, verified again and deleted; parts come by signed URLs; what was done is kept for audit."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns and tables."""
    op.add_column("upload_parts", sa.Column("md5", sa.String(32), nullable=False, server_default=""))
    op.add_column("uploads", sa.Column("replaces_generation", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("uploads", sa.Column("completion_asker_json", sa.Text, nullable=False, server_default=""))
    op.create_index("uploads_create_time", "uploads", ["create_time", "upload_id"])
    op.create_index("uploads_study", "uploads", ["study_id", "create_time", "upload_id"])
    op.add_column("objects", sa.Column("verify_owner", sa.String(64), nullable=False, server_default=""))
    for name in ("verify_time", "verify_start_time", "verified_size_bytes", "verify_until", "changing_until"):
        op.add_column("objects", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("objects", sa.Column("changing_by", sa.String(36), nullable=False, server_default=""))
    op.add_column("objects", sa.Column("damaged_parts", sa.Text, nullable=False, server_default=""))
    op.create_index("objects_study", "objects", ["study_id", "create_time", "object_id"])
    op.create_index("objects_analysis", "objects", ["analysis_id", "create_time", "object_id"])
    op.create_index("objects_create_time", "objects", ["create_time", "object_id"])
    running = sa.text("verify_start_time > 0")
    op.create_index("objects_verifying", "objects", ["verify_until"], sqlite_where=running, postgresql_where=running)
    op.create_table(
        "generations",
        sa.Column("object_id", sa.String(36), primary_key=True),
        sa.Column("last_generation", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO generations (object_id, last_generation) SELECT object_id, generation FROM objects")
    op.create_table(
        "retired_keys",
        sa.Column("store_key", sa.Text, primary_key=True),
        sa.Column("object_id", sa.String(36), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("delete_time", sa.BigInteger, nullable=False),
        sa.Column("lease_owner", sa.String(64), nullable=False, server_default=""),
        sa.Column("lease_until", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_index("retired_keys_delete_time", "retired_keys", ["delete_time"])
    op.create_table(
        "audit",
        sa.Column("entry_id", sa.String(36), primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("object_id", sa.String(36), nullable=False),
        sa.Column("study_id", sa.String(36), nullable=False),
        sa.Column("result", sa.String(64), nullable=False),
        sa.Column("facts_json", sa.Text, nullable=False),
    )
    op.create_index("audit_time", "audit", ["time"])
    op.create_index("audit_object", "audit", ["object_id", "time"])
