"""What a database that can't take a write says."""

from pathlib import Path

import pytest

from runtime_grpc.database import Database, DatabaseUnavailableError


def fill(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 3")
        connection.exec_driver_sql("INSERT INTO notes VALUES (?)", ("x" * 100_000,))


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'full.sqlite'}")
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (text TEXT)")
    with pytest.raises(DatabaseUnavailableError, match="disk is full"):
        fill(database)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM notes").scalar_one() == 0
    database.close()
