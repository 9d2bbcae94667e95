"""Starting Song: migrations, one process on a SQLite file, the command line."""

import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from grpc_health.v1 import health_pb2, health_pb2_grpc
from jsonschema import Draft7Validator
from sqlalchemy import text

from runtime_grpc.database import Database, DatabaseTakenError, SchemaMismatchError
from song_grpc.__main__ import start_song
from song_grpc.database.engine import MIGRATIONS
from song_grpc.database.tables import METADATA
from tests.song_grpc.world import running, song_settings


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "song_grpc", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_migrations_make_the_tables_that_the_queries_know(folder: Path, own_database_url: str) -> None:
    database = Database(song_settings(folder, own_database_url).sql_url)
    database.upgrade(MIGRATIONS)
    database.upgrade(MIGRATIONS)
    database.check(MIGRATIONS)
    with database.read() as connection:
        # An index over an expression, which the comparison does not know.
        options = {"include_name": lambda name, kind, _parents: (kind, name) != ("index", "ix_analyses_data")}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)
    database.close()
    assert differences == []


def test_an_unknown_revision_is_refused_by_check_upgrade_and_start(folder: Path, own_database_url: str) -> None:
    settings = song_settings(folder, own_database_url)
    database = Database(settings.sql_url)
    database.upgrade(MIGRATIONS)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refused in (lambda: database.check(MIGRATIONS), lambda: database.upgrade(MIGRATIONS)):
        with pytest.raises(SchemaMismatchError, match="has schema revision 9999, this version needs 0002"):
            refused()  # type: ignore[no-untyped-call] # Alembic's
    with pytest.raises(SchemaMismatchError):
        start_song(settings)
    database.close()


def test_without_migrate_an_empty_database_is_refused(folder: Path) -> None:
    with pytest.raises(SchemaMismatchError, match="db upgrade"):
        start_song(song_settings(folder, migrate=False))


def test_a_second_process_on_a_sqlite_file_is_told_the_way_out(folder: Path) -> None:
    with running(folder):
        with pytest.raises(DatabaseTakenError, match="PostgreSQL"):
            start_song(song_settings(folder))
        answer = command("--port", "0", "--data-dir", str(folder))
    assert answer.returncode != 0
    assert "PostgreSQL" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_song_starts_ready_although_score_is_down(folder: Path) -> None:
    song = start_song(song_settings(folder, score_address="127.0.0.1:1"))
    with grpc.insecure_channel(song.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="song.v1.AnalysisService")
        answer = stub.Check(request)  # type: ignore[attr-defined] # its stubs lack the methods
    song.stop()
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_missing_format_checker_fails_the_start(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    checkers = dict(Draft7Validator.FORMAT_CHECKER.checkers)
    del checkers["date-time"]
    monkeypatch.setattr(Draft7Validator.FORMAT_CHECKER, "checkers", checkers)
    with pytest.raises(RuntimeError, match="date-time"):
        start_song(song_settings(folder))


def test_the_database_commands_say_how_it_stands(folder: Path) -> None:
    at = ("--data-dir", str(folder))
    before = command("db", "check", *at)
    assert before.returncode != 0
    assert "db upgrade" in before.stderr
    assert command("db", "upgrade", *at).returncode == 0
    assert command("db", "check", *at).returncode == 0


def test_the_effective_settings_hide_their_secrets(folder: Path) -> None:
    url = "postgresql+psycopg://me:geheim@host/song"
    answer = command("config", "check", "--service-token", "geheim", "--database-url", url, "--data-dir", str(folder))
    assert answer.returncode == 0
    assert "geheim" not in answer.stdout + answer.stderr
    assert "enforce_latest" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "x"), "port"),
        (("--host", "0.0.0.0"), "can be reached from other machines"),
        (("--database-url", "mysql://x"), "database_url"),
        (("dance",), "no command"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    answer = command(*arguments)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_a_request_id_is_forgotten_a_day_later_and_not_before(folder: Path) -> None:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - of this test alone

    from song_grpc.database import requests  # noqa: PLC0415 - of this test alone
    from song_grpc.domain.requests import request_key  # noqa: PLC0415 - of this test alone

    database = Database(song_settings(folder).sql_url)
    database.upgrade(MIGRATIONS)
    now = datetime.now(UTC)
    key = request_key("me", "Submit", "r", ["x"])
    with database.write() as connection:
        requests.add(connection, key, {"id": "first"}, now)
        requests.add(connection, request_key("me", "Submit", "b", ["x"]), {}, now + timedelta(hours=23))
        assert requests.find(connection, key) == {"id": "first"}
        requests.add(connection, request_key("me", "Submit", "c", ["x"]), {}, now + timedelta(hours=25))
        assert requests.find(connection, key) is None
    database.close()
