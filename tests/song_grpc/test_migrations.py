"""Migrations make the tables that the code knows, and carry over what an older version stored."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from runtime_grpc.database import Database
from song_grpc.database.engine import MIGRATIONS
from song_grpc.database.tables import METADATA
from tests.song_grpc.world import World, payload, running

PUBLISHED_TWICE, SUBMITTED = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
SECOND = 1_000_000


@contextmanager
def opened(folder: Path, url: str) -> Iterator[Database]:
    folder.mkdir(exist_ok=True)
    database = Database(url or f"sqlite:///{folder / 'song.db'}")
    try:
        yield database
    finally:
        database.close()


def migrate(database: Database, revision: str) -> None:
    """Bring a database to a revision, which need not be the newest."""
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    config.set_main_option("path_separator", "os")
    with database.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def fill(connection: Connection) -> None:
    """Store what version 0001 would have: two analyses, one of them published, taken back and published again."""

    def add(table: str, **values: object) -> None:
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)

    add("studies", study_id="S", name="n", organization="", description="", info_json="", create_time=1, wire_bytes=99)
    add(
        "analysis_types",
        name="own",
        version=1,
        entity_model="DONOR_SPECIMEN_SAMPLE",
        file_types_json='["BAM"]',
        schema_json='{"type":"object","properties":{}}',
        create_time=1,
        wire_bytes=99,
    )
    add("donors", donor_id="d", study_id="S", submitter_donor_id="donor", gender="Male", info_json="")
    add(
        "specimens",
        specimen_id="sp",
        donor_id="d",
        study_id="S",
        submitter_specimen_id="specimen",
        tumour_normal_designation="Normal",
        specimen_tissue_source="Skin",
        specimen_type="Normal",
        info_json="",
    )
    add(
        "samples",
        sample_id="sa",
        specimen_id="sp",
        study_id="S",
        submitter_sample_id="sample",
        sample_type="ctDNA",
        matched_normal_submitter_sample_id=None,
        info_json="",
    )
    for number, (analysis_id, state) in enumerate(((PUBLISHED_TWICE, "PUBLISHED"), (SUBMITTED, "UNPUBLISHED"))):
        submitted = (10 + number) * SECOND
        add(
            "analyses",
            analysis_id=analysis_id,
            study_id="S",
            state=state,
            type_name="own",
            type_version=1,
            data_json='{"x":1.10}',
            create_time=submitted,
            update_time=40 * SECOND,
            wire_bytes=999,
        )
        add("analysis_samples", analysis_id=analysis_id, position=0, sample_id="sa")
        add(
            "files",
            object_id=f"o{number}",
            study_id="S",
            analysis_id=analysis_id,
            file_name="a.bam",
            size_bytes=1,
            file_type="BAM",
            md5=f"{number}" * 32,
            access="open",
            data_type="reads",
            info_json="",
            wire_bytes=200,
        )
        add(
            "outbox",
            event_id=f"e{number}",
            analysis_id=analysis_id,
            study_id="S",
            action="CREATE",
            state="UNPUBLISHED",
            time=submitted,
            analysis_json="{}",
        )
    states = ["UNPUBLISHED", "PUBLISHED", "UNPUBLISHED", "PUBLISHED"]
    for position, (before, after) in enumerate(itertools.pairwise(states)):
        add(
            "state_changes",
            analysis_id=PUBLISHED_TWICE,
            position=position,
            initial_state=before,
            updated_state=after,
            time=(20 + 10 * position) * SECOND,
            actor="ada",
        )


def test_the_migrations_make_the_tables(folder: Path, own_database_url: str) -> None:
    with opened(folder, own_database_url) as database:
        for _ in range(2):  # the second time changes nothing
            database.upgrade(MIGRATIONS)
            database.check(MIGRATIONS)
        with database.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"include_object": _is_compared})
            assert compare_metadata(context, METADATA) == []


def _is_compared(_thing: object, name: str | None, *_: object) -> bool:
    return name != "ix_analyses_data"  # of an expression, on PostgreSQL alone


def test_what_the_first_version_stored_is_carried_over(folder: Path, own_database_url: str) -> None:
    with opened(folder, own_database_url) as database:
        migrate(database, "0001")
        with database.write() as connection:
            fill(connection)

    with running(folder, own_database_url, event_retention_days=0) as world:
        twice, submitted = (world.get("S", analysis_id) for analysis_id in (PUBLISHED_TWICE, SUBMITTED))
        assert (twice.etag, submitted.etag) == ("r4", "r1")
        assert [twice.first_publish_time.seconds, twice.publish_time.seconds] == [20, 40]
        assert not submitted.HasField("publish_time")
        assert [(change.updated_state, change.actor) for change in twice.state_changes] == [
            (2, "ada"),
            (1, "ada"),
            (2, "ada"),
        ]
        assert twice.data_json == '{"x":1.10}'
        entries = world.history("S", PUBLISHED_TWICE).entries
        assert [(entry.action, entry.time.seconds, entry.actor, entry.state) for entry in entries] == [
            (1, 10, "", 1),
            (4, 20, "ada", 2),
            (5, 30, "ada", 1),
            (4, 40, "ada", 2),
        ]
        assert [event.type_name for event in world.events(PUBLISHED_TWICE)] == ["own"]
        listed = world.list("S", "", order_by="publish_time desc").analyses
        assert [analysis.analysis_id for analysis in listed] == [PUBLISHED_TWICE]
        _check_that_it_goes_on(world)


def _check_that_it_goes_on(world: World) -> None:
    """Change what was carried over, and submit more."""
    assert world.patch("S", PUBLISHED_TWICE, {"x": 2}, "r4").etag == "r5"
    assert world.unpublish("S", PUBLISHED_TWICE, etag="r5").changed
    world.score.hold(world.get("S", SUBMITTED))
    assert world.publish("S", SUBMITTED).changed
    assert [one.analysis_id for one in world.export(study_id="S")] == [PUBLISHED_TWICE, SUBMITTED]
    assert json.loads(world.export(analysis_ids=[PUBLISHED_TWICE])[0].payload_json)["x"] == 2
    assert world.submit("S", payload("S", analysisType={"name": "own"}))
