"""The ledger's migrations make the ledger's tables."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from runtime_grpc.database import Database, SchemaMismatchError
from score_grpc.assembly import MIGRATIONS
from score_grpc.database.tables import METADATA
from tests.servers.postgresql import new_database


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_migrations_make_the_tables(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'score.db'}" if kind == "sqlite" else new_database(request))
    with pytest.raises(SchemaMismatchError, match="db upgrade"):
        database.check(MIGRATIONS)
    for _ in range(2):  # the second time changes nothing
        database.upgrade(MIGRATIONS)
        database.check(MIGRATIONS)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    database.close()


def test_processes_that_migrate_at_once_take_turns(request: pytest.FixtureRequest) -> None:
    url = new_database(request)
    databases = [Database(url) for _ in range(6)]
    with ThreadPoolExecutor(len(databases)) as pool:
        list(pool.map(lambda database: database.upgrade(MIGRATIONS), databases))
    for database in databases:
        database.check(MIGRATIONS)
        database.close()
