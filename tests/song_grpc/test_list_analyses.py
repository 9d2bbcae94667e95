"""ListAnalyses and GetAnalysis: filters, orders, masks and pages, on every database."""

import json
import random
from collections.abc import Sequence

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from song.v1 import analysis_pb2, analysis_service_pb2
from sqlalchemy import update

from song_grpc.database import tables
from song_grpc.domain import filters, read_masks
from tests.song_grpc.filter_corpus import Corpus, make_corpus, random_filter, selects
from tests.song_grpc.world import World, file, payload, refusal

ALL_STATES = "(state = PUBLISHED OR state != PUBLISHED)"
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def corpus(shared_world: World) -> Corpus:
    """A random study."""
    return make_corpus(shared_world, seed=20, size=40)


def listed(world: World, study_id: str, text: str, **fields: object) -> list[str]:
    """Return the ids on all pages."""
    found: list[str] = []
    token = ""
    while True:
        page = world.list(study_id, text, page_token=token, **fields)
        found += [analysis.analysis_id for analysis in page.analyses]
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("seed", range(8))
def test_random_filters_select_what_they_say(world: World, corpus: Corpus, seed: int) -> None:
    rng = random.Random(seed)
    telling = 0
    for _ in range(25):
        text = random_filter(rng, corpus)
        expected = [found.analysis_id for found in corpus.analyses if selects(filters.parse(text), found)]
        assert listed(world, corpus.study_id, text, page_size=1000) == expected, text
        telling += 0 < len(expected) < len(corpus.analyses)
    assert telling > 10


def test_a_filter_that_names_no_state_lists_published_analyses_only(world: World, corpus: Corpus) -> None:
    published = [found.analysis_id for found in corpus.analyses if found.state == analysis_pb2.ANALYSIS_STATE_PUBLISHED]
    assert listed(world, corpus.study_id, "") == published
    assert listed(world, corpus.study_id, "NOT data.nowhere : *") == published


@pytest.mark.parametrize("name", ["create_time", "update_time", "publish_time"])
@pytest.mark.parametrize("page_size", [1, 7, 1000])
def test_every_order_walks_all_analyses_in_pages(world: World, corpus: Corpus, name: str, page_size: int) -> None:
    def key(found: analysis_pb2.Analysis) -> tuple[int, int, str]:
        time = getattr(found, name)
        return time.seconds, time.nanos, found.analysis_id

    ordered = sorted((found for found in corpus.analyses if found.HasField(name)), key=key)  # type: ignore[arg-type] # a field of the contract
    expected = [found.analysis_id for found in ordered]
    size = {"page_size": page_size}
    assert listed(world, corpus.study_id, ALL_STATES, order_by=name, **size) == expected
    assert listed(world, corpus.study_id, ALL_STATES, order_by=f" {name}  desc", **size) == expected[::-1]


def test_equal_times_are_ordered_by_id(world: World, study_id: str) -> None:
    ids = sorted(world.submit(study_id, payload(study_id)) for _ in range(5))
    world.suppress(study_id, ids[2])
    with world.database.write() as connection:
        of_study = update(tables.analyses).where(tables.analyses.c.study_id == study_id)
        connection.execute(of_study.values(create_time=1))
    assert listed(world, study_id, ALL_STATES, page_size=2) == ids
    assert listed(world, study_id, ALL_STATES, page_size=2, order_by="create_time desc") == ids[::-1]


@pytest.mark.parametrize(
    "order", ["state", "create_time asc", "create_time, update_time", "desc", "first_publish_time"]
)
def test_other_orders_are_refused(world: World, study_id: str, order: str) -> None:
    refused = refusal(lambda: world.list(study_id, order_by=order))
    assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "order_by"})
    assert "create_time, update_time, publish_time" in refused.message


def test_a_token_fits_its_filter_and_order_only(world: World, corpus: Corpus) -> None:
    token = world.list(corpus.study_id, ALL_STATES, page_size=1).next_page_token
    for text, order in ((f"{ALL_STATES} ", ""), (ALL_STATES, "create_time desc"), ("", "")):
        refused = refusal(lambda t=text, o=order: world.list(corpus.study_id, t, order_by=o, page_token=token))  # type: ignore[misc] # mypy can't infer such a lambda
        assert refused.metadata == {"field": "page_token"}


def test_a_bad_filter_is_refused_with_its_place(world: World, study_id: str) -> None:
    refused = refusal(lambda: world.list(study_id, "state = PUBLISHED AND files.size : 3"))
    assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "filter"})
    assert "at offset 22: expected files.X with X one of object_id" in refused.message


@pytest.fixture(scope="module")
def any_type(shared_world: World) -> str:
    return shared_world.new_type({"type": "object", "properties": {}})


def submit_data(world: World, study_id: str, type_name: str, data: Sequence[str]) -> list[str]:
    """Submit analyses whose `x` is each of these JSON texts."""
    text = json.dumps(payload(study_id, analysisType={"name": type_name}, files=[]))[:-1]
    return [
        world.submit(study_id, text.replace('"files": []', f'"files": [{json.dumps(file())}]') + f',"x":{value}}}')
        for value in data
    ]


def test_large_numbers_are_found_by_their_value(world: World, study_id: str, any_type: str) -> None:
    values = ["9007199254740993", "-9223372036854775808", "1E+400", "1e2", "1E+999999999", "-1E+999999999"]
    first, smallest, *_, hundred = submit_data(world, study_id, any_type, values)[:4]
    assert listed(world, study_id, f"{ALL_STATES} AND data.x = 9007199254740993") == [first]
    assert listed(world, study_id, f"{ALL_STATES} AND data.x = -9223372036854775808") == [smallest]
    assert listed(world, study_id, f"{ALL_STATES} AND data.x = 100.0") == [hundred]
    assert listed(world, study_id, f"{ALL_STATES} AND data.x > 0 AND data.x < 1e300") == [first, hundred]


def test_names_and_values_are_data_whatever_is_in_them(world: World, study_id: str, any_type: str) -> None:
    hostile = ["' OR 1=1 --", "%(x)s :y $1", '") || (1 == 1', "a\nb\u2028", "\U0001f9ec", "\\", "%", "*"]
    ids = submit_data(world, study_id, any_type, [json.dumps({name: name}) for name in hostile])
    for analysis_id, name in zip(ids, hostile, strict=True):
        value = name.replace("\\", "\\\\").replace('"', '\\"')
        if set(name) & set('"\\\n\u2028'):
            assert refusal(lambda v=value: world.list(study_id, f'data.x."{v}" = 1')).metadata == {"field": "filter"}  # type: ignore[misc] # mypy can't infer such a lambda
        else:
            assert listed(world, study_id, f'{ALL_STATES} AND data.x."{name}" = "{value}"') == [analysis_id]
    texts = submit_data(world, study_id, any_type, [json.dumps(name) for name in hostile])
    for analysis_id, name in zip(texts, hostile, strict=True):
        value = name.replace("\\", "\\\\").replace('"', '\\"')
        assert listed(world, study_id, f'{ALL_STATES} AND data.x = "{value}"') == [analysis_id]


def masked(*paths: str) -> FieldMask:
    return FieldMask(paths=paths)


def test_a_mask_leaves_out_what_it_does_not_name(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    world.score.hold(world.get(study_id, analysis_id))
    world.publish(study_id, analysis_id)
    whole = world.get(study_id, analysis_id)
    for paths in (["state"], ["files", "etag"], ["samples"], ["publish_time"], ["state_changes", "data_json"], ["*"]):
        mask = masked(*paths)
        wanted = read_masks.FIELDS if paths == ["*"] else paths
        expected = analysis_pb2.Analysis()
        mask_of_known = masked(*wanted)
        mask_of_known.MergeMessage(whole, expected)
        get = analysis_service_pb2.GetAnalysisRequest(study_id=study_id, analysis_id=analysis_id, read_mask=mask)
        assert world.analyses.GetAnalysis(get).analysis == expected
        assert list(world.list(study_id, read_mask=mask).analyses) == [expected]


def test_the_mask_knows_every_field_of_the_contract() -> None:
    assert list(read_masks.FIELDS) == [field.name for field in analysis_pb2.Analysis.DESCRIPTOR.fields]


@pytest.mark.parametrize("path", ["file", "files.object_id", "", "analysisId"])
def test_a_mask_that_names_another_field_is_refused(world: World, study_id: str, path: str) -> None:
    refused = refusal(lambda: world.list(study_id, read_mask=masked("state", path)))
    assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "read_mask"})
    assert "analysis_id, study_id, state" in refused.message


def test_with_a_mask_a_page_holds_what_fits_of_what_is_shown(world: World, study_id: str) -> None:
    files = [[file(f"{number}-{other}.bam") for other in range(number + 1)] for number in range(5)]
    ids = [world.submit(study_id, payload(study_id, files=files[n], text="x" * MEBIBYTE)) for n in range(5)]

    def shown(*paths: str) -> list[int]:
        sizes, token = [], ""
        while True:
            page = world.list(study_id, "state = UNPUBLISHED", read_mask=masked(*paths), page_token=token)
            assert page.ByteSize() <= 3 * MEBIBYTE
            sizes.append(len(page.analyses))
            token = page.next_page_token
            if not token:
                return sizes

    assert shown("analysis_id") == [5]
    assert shown("files", "analysis_id") == [5]
    assert shown("data_json") == [2, 2, 1]
    assert shown("data_json", "files", "samples", "state_changes") == [2, 2, 1]
    page = world.list(study_id, "state = UNPUBLISHED", read_mask=masked("files", "analysis_id"))
    assert [(found.analysis_id, len(found.files)) for found in page.analyses] == list(
        zip(ids, range(1, 6), strict=True)
    )
