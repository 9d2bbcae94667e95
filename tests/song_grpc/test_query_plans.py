"""Lists walk an index and sort nothing; equality of data is found by its index. Asked of the databases' planners."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, text, true

from song_grpc.database import analyses, corrections, entity_lists, files, filtering, tables
from song_grpc.database.entity_lists import Listed
from song_grpc.domain import filter_tree, filters
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.corrections import DONOR, SAMPLE, SPECIMEN
from song_grpc.domain.ordering import Ordering, OrderTime
from song_grpc.domain.registered_object import ObjectConditions
from tests.song_grpc.world import World

PUBLISHED = AnalysisState.PUBLISHED
NO_SORT = ("Sort", "TEMP B-TREE")


@contextmanager
def plans(world: World, *off: str) -> Iterator[tuple[Connection, list[str]]]:
    """Yield a connection, and the plans of what is asked there: of tables so small, without what `off` names."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:  # noqa: ANN401 - of a driver
        asked.append((statement, parameters))

    found: list[str] = []
    with world.database.read() as connection:
        is_sqlite = world.database.is_sqlite
        for name in () if is_sqlite else off:
            connection.execute(text(f"SET LOCAL enable_{name} = off"))
        event.listen(connection, "before_cursor_execute", note)
        yield connection, found
        event.remove(connection, "before_cursor_execute", note)
        for statement, parameters in asked:
            if not statement.startswith("SELECT"):
                continue
            rows = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{statement}", parameters)
            found.append("\n".join(str(row[-1]) for row in rows))


@pytest.mark.parametrize("time", OrderTime)
@pytest.mark.parametrize("is_descending", [False, True])
def test_every_order_is_a_walk_along_its_index(world: World, time: OrderTime, *, is_descending: bool) -> None:
    selected = filters.parse("data.x > 1 AND files.file_type : BAM")
    with plans(world, "seqscan", "bitmapscan") as (connection, found):
        condition = filtering.condition(connection, "S", selected)
        order = Ordering(time, is_descending=is_descending)
        analyses.list_after(connection, "S", {PUBLISHED: condition}, order, (1, "x"), 101)
    (plan,) = found
    assert f"ix_analyses_study_id_state_{time.value}_analysis_id" in plan
    assert not [word for word in NO_SORT if word in plan], plan


def test_equality_of_data_is_found_by_its_index(world: World) -> None:
    if world.database.is_sqlite:
        pytest.skip("SQLite has no such index")
    for text_of in ('data.x.y = "v"', "data.x = -1.5", "data.x = true", 'data.x = "a" OR data.y = 1'):
        left = filter_tree.given(filters.parse(text_of), PUBLISHED, shows_data=True)
        assert not isinstance(left, bool)
        with plans(world, "seqscan") as (connection, found):
            condition = filtering.condition(connection, "S", left)
            connection.execute(select(tables.analyses.c.analysis_id).where(condition))
        assert "Bitmap Index Scan on ix_analyses_data" in found[0], found[0]


@pytest.mark.parametrize("term", ["files.object_id : x", "files.md5 : x", "samples.donor.submitter_donor_id : x"])
def test_ids_are_found_before_the_list_is_walked(world: World, term: str) -> None:
    node = filters.parse(term)
    assert filtering.has_selective_id(node)
    with plans(world, "seqscan") as (connection, found):
        condition = filtering.condition(connection, "S", node)
        analyses.list_after(connection, "S", {PUBLISHED: condition}, Ordering(), None, 101, starts_with_ids=True)
    if world.database.is_sqlite:
        assert "autoindex_analyses_1 (analysis_id=?)" in found[0]
        assert "SCAN" not in found[0]
    else:
        assert "Seq Scan" not in found[0]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (ObjectConditions(), "files"),
        (ObjectConditions(study_id="S", file_name="x"), "ix_files_study_id_object_id"),
    ],
)
def test_objects_are_a_walk_along_an_index(world: World, wanted: ObjectConditions, index: str) -> None:
    with plans(world, "seqscan", "bitmapscan") as (connection, found):
        files.list_objects_after(connection, wanted, "x", 101, datetime.now(UTC))
    (plan,) = found
    assert index in plan
    assert not [word for word in NO_SORT if word in plan], plan


def test_plans_are_made_for_the_values_asked_for(world: World) -> None:
    if world.database.is_sqlite:
        pytest.skip("SQLite's plans know no values")
    with world.database.read() as connection:
        analyses.list_after(connection, "S", {PUBLISHED: true()}, Ordering(), None, 101)
        assert connection.scalar(text("SHOW plan_cache_mode")) == "force_custom_plan"
    with world.database.read() as connection:
        assert connection.scalar(text("SHOW plan_cache_mode")) == "auto"


def test_what_belongs_to_an_entity_is_found_by_its_id(world: World) -> None:
    if not world.database.is_sqlite:
        pytest.skip("PostgreSQL chooses by what its tables hold, and these are small")
    with plans(world) as (connection, found):
        entity_lists.list_after(connection, SPECIMEN, Listed("S", "donor"), "x", 101)
        entity_lists.list_after(connection, SAMPLE, Listed("S", "specimen"), "x", 101)
        entity_lists.list_after(connection, DONOR, Listed("S"), "x", 101)
        corrections.find_referring(connection, DONOR, "donor", "x", 1000)
    specimens, samples, donors, referring = found
    assert "ix_specimens_donor_id" in specimens
    assert "ix_samples_specimen_id" in samples
    assert "(study_id=? AND submitter_donor_id>?)" in donors
    assert not [word for word in NO_SORT if word in donors]
    for index in ("ix_specimens_donor_id", "ix_samples_specimen_id", "ix_analysis_samples_sample_id"):
        assert index in referring
