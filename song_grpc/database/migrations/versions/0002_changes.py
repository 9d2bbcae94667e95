"""History, etags, publish times, visibility, external validations, the relay of events, indexes of lists.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _key(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


_ID = _key(64)
_ACTION = (
    """CASE updated_state WHEN 'PUBLISHED' THEN 'PUBLISH' WHEN 'UNPUBLISHED' THEN 'UNPUBLISH' ELSE 'SUPPRESS' END"""
)

# Data with a number beyond what PostgreSQL's numeric takes (some 10^131072) is stored as it is, and found by no filter.
_FILTERABLE = """
CREATE FUNCTION song_filterable(data_json text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN data_json::jsonb;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    """Add the columns and tables, and carry over what is there."""
    op.add_column("studies", sa.Column("visibility", sa.String(16), nullable=False, server_default="OPEN"))
    op.add_column(
        "analysis_types", sa.Column("external_validations_json", sa.Text, nullable=False, server_default="[]")
    )
    op.add_column("analyses", sa.Column("revision", sa.Integer, nullable=False, server_default="1"))
    for name in ("first_publish_time", "publish_time", "publishing_until"):
        op.add_column("analyses", sa.Column(name, sa.BigInteger))
    op.create_table(
        "history",
        sa.Column(
            "analysis_id", _ID, sa.ForeignKey("analyses.analysis_id", name="fk_history_analysis_id"), nullable=False
        ),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("subjects_json", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("analysis_id", "revision", name="pk_history"),
    )
    # Who submitted was not kept before.
    op.execute(
        "INSERT INTO history SELECT analysis_id, 1, 'SUBMIT', 'UNPUBLISHED', create_time, '', '', '[]' FROM analyses"
    )
    op.execute(
        f"INSERT INTO history SELECT analysis_id, position + 2, {_ACTION}, updated_state, time, actor, '', '[]' "  # noqa: S608 - a constant
        "FROM state_changes"
    )
    op.execute(
        "UPDATE analyses SET revision = (SELECT max(h.revision) FROM history h "
        "WHERE h.analysis_id = analyses.analysis_id)"
    )
    for name, function in (("first_publish_time", "min"), ("publish_time", "max")):
        op.execute(
            f"UPDATE analyses SET {name} = (SELECT {function}(time) FROM history h "  # noqa: S608 - constants
            "WHERE h.analysis_id = analyses.analysis_id AND h.action = 'PUBLISH')"
        )
    op.drop_table("state_changes")
    op.add_column("outbox", sa.Column("type_name", _key(225), nullable=False, server_default=""))
    op.execute(
        "UPDATE outbox SET type_name = (SELECT type_name FROM analyses a WHERE a.analysis_id = outbox.analysis_id)"
    )
    op.add_column("outbox", sa.Column("position", sa.BigInteger))
    op.create_index("ix_outbox_position", "outbox", ["position"], unique=True)
    op.create_index("ix_outbox_time", "outbox", ["time"])
    unplaced = sa.text("position IS NULL")
    op.create_index("ix_outbox_unplaced", "outbox", ["number"], sqlite_where=unplaced, postgresql_where=unplaced)
    op.create_table(
        "relay",
        sa.Column("name", _key(64), nullable=False),
        sa.Column("holder", _key(64), nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("last_position", sa.BigInteger, nullable=False),
        sa.Column("sent_position", sa.BigInteger, nullable=False),
        sa.Column("pruned_position", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_relay"),
    )
    op.execute("INSERT INTO relay VALUES ('events', '', 0, 0, 0, 0)")
    op.execute("INSERT INTO locks VALUES ('entities')")
    columns = ["type_name", "type_version", "analysis_id"]
    op.create_index(f"ix_analyses_{'_'.join(columns)}", "analyses", columns)
    op.create_index("ix_files_study_id_object_id", "files", ["study_id", "object_id"])
    for time in ("update_time", "publish_time"):
        columns = ["study_id", "state", time, "analysis_id"]
        op.create_index(f"ix_analyses_{'_'.join(columns)}", "analyses", columns)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_FILTERABLE)
        op.execute("CREATE INDEX ix_analyses_data ON analyses USING gin (song_filterable(data_json) jsonb_path_ops)")
