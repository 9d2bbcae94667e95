"""Uploads expire: why one is ABORTED, and whether the store is rid of it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns. Uploads aborted until now are freed once more, which changes nothing where they were."""
    op.add_column("uploads", sa.Column("abort_reason", sa.String(12), nullable=False, server_default=""))
    op.add_column("uploads", sa.Column("is_freed", sa.Boolean, nullable=False, server_default=sa.false()))
    unfreed = sa.text("state = 'ABORTED' AND NOT is_freed")
    op.create_index("uploads_unfreed", "uploads", ["lease_until"], sqlite_where=unfreed, postgresql_where=unfreed)
    op.create_index("uploads_staging_key", "uploads", ["staging_key"])
