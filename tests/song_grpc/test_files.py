"""Files of analyses: read, updated, deleted; on every database."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from song.v1 import analysis_pb2, file_pb2, file_service_pb2
from sqlalchemy import select, update

from song_grpc.database import tables
from song_grpc.domain.limits import MAX_MESSAGE_BYTES
from tests.servers.identity import token, write_public_key
from tests.song_grpc.world import SERVICE_TOKEN, World, file, payload, refusal, running

UNPUBLISHED, PUBLISHED, SUPPRESSED = 1, 2, 3
NO_UPDATE, METADATA_UPDATE, CONTENT_UPDATE = 1, 2, 3
METADATA: Sequence[dict[str, Any]] = (
    {"access": file_pb2.FILE_ACCESS_CONTROLLED},
    {"data_type": "other"},
    {"info_json": '{"a":1}'},
)
CONTENT: Sequence[dict[str, Any]] = ({"size_bytes": 0}, {"md5": "0" * 32}, {"size_bytes": 11, "data_type": "other"})


def submit(world: World, study_id: str, state: int = UNPUBLISHED, **changes: Any) -> analysis_pb2.Analysis:  # noqa: ANN401 - members of the payload
    """Submit an analysis and bring it into a state."""
    analysis_id = world.submit(study_id, payload(study_id, **changes))
    if state == PUBLISHED:
        world.score.hold(world.get(study_id, analysis_id))
        world.publish(study_id, analysis_id)
    if state == SUPPRESSED:
        world.suppress(study_id, analysis_id)
    return world.get(study_id, analysis_id)


def get(world: World, study_id: str, object_id: str) -> file_pb2.File:
    return world.files.GetFile(file_service_pb2.GetFileRequest(study_id=study_id, object_id=object_id)).file


def change(
    world: World,
    known: file_pb2.File,
    mask: Sequence[str] = (),
    etag: str = "*",
    reason: str = "",
    **values: Any,  # noqa: ANN401 - fields of the message
) -> file_service_pb2.UpdateFileResponse:
    """Update a file; the mask names the values unless it is given."""
    wanted = file_pb2.File(study_id=known.study_id, object_id=known.object_id, etag=etag, **values)
    request = file_service_pb2.UpdateFileRequest(file=wanted, reason=reason)
    request.update_mask.paths.extend(mask or values)
    return world.files.UpdateFile(request)


def delete(world: World, analysis: analysis_pb2.Analysis, object_ids: Sequence[str], **fields: str) -> str:
    request = file_service_pb2.DeleteFilesRequest(
        study_id=analysis.study_id, analysis_id=analysis.analysis_id, object_ids=object_ids, **fields
    )
    return world.files.DeleteFiles(request).etag


def history(world: World, analysis_id: str) -> list[tuple[Any, ...]]:
    """Return action, state, reason and subjects of each entry."""
    columns = tables.history.c
    query = select(columns.action, columns.state, columns.reason, columns.subjects_json)
    with world.database.read() as connection:
        rows = connection.execute(query.where(columns.analysis_id == analysis_id).order_by(columns.revision))
        return [(row.action, row.state, row.reason, json.loads(row.subjects_json)) for row in rows]


def wire_bytes(world: World, analysis_id: str) -> tuple[int, list[int]]:
    """Return what the rows of an analysis and of its files say about their sizes."""
    with world.database.read() as connection:
        of_files = select(tables.files.c.wire_bytes).where(tables.files.c.analysis_id == analysis_id)
        whole = select(tables.analyses.c.wire_bytes).where(tables.analyses.c.analysis_id == analysis_id)
        return connection.scalar(whole) or 0, list(connection.scalars(of_files.order_by(tables.files.c.file_name)))


def test_a_file_is_found_by_its_object_id_in_its_own_study(world: World, study_id: str) -> None:
    analysis = submit(world, study_id, files=[file("a", info={"x": 1}), file("b")])
    assert [get(world, study_id, known.object_id) for known in analysis.files] == list(analysis.files)
    object_id = analysis.files[0].object_id
    for wrong_study, wrong_id in ((world.new_study(), object_id), (study_id, "nowhere"), (study_id, "\0"), ("", "")):
        refused = refusal(lambda s=wrong_study, i=wrong_id: get(world, s, i))  # type: ignore[misc] # mypy can't infer such a lambda
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")


@pytest.mark.parametrize("state", [UNPUBLISHED, PUBLISHED])
@pytest.mark.parametrize("values", METADATA)
def test_metadata_can_change_whether_published_or_not(
    world: World, study_id: str, state: int, values: dict[str, Any]
) -> None:
    analysis = submit(world, study_id, state, files=[file("a"), file("b")])
    known = analysis.files[1]

    answer = change(world, known, etag=known.etag, reason="mistyped", **values)

    assert (answer.update_type, answer.analysis_state) == (METADATA_UPDATE, state)
    assert answer.original_file == known
    now = world.get(study_id, analysis.analysis_id)
    assert list(now.files) == [analysis.files[0], answer.file]
    assert {name: getattr(answer.file, name) for name in values} == values
    assert answer.file.etag != known.etag
    assert (now.state, now.etag != analysis.etag) == (state, True)
    name = ("UNPUBLISHED", "PUBLISHED")[state - 1]
    assert history(world, analysis.analysis_id)[-1] == ("UPDATE_FILE", name, "mistyped", [known.object_id])
    event = world.events(analysis.analysis_id)[-1]
    assert (event.action, event.state) == ("UPDATE", name)
    told = json.loads(event.analysis_json)["files"][1]
    assert told["fileAccess"] == ("controlled" if "access" in values else "open")
    assert (told["dataType"], told.get("info")) == (answer.file.data_type, {"a": 1} if "info_json" in values else None)


@pytest.mark.parametrize("values", CONTENT)
def test_content_can_change_while_unpublished_only(world: World, study_id: str, values: dict[str, Any]) -> None:
    analysis = submit(world, study_id)
    answer = change(world, analysis.files[0], **values)
    assert (answer.update_type, answer.analysis_state) == (CONTENT_UPDATE, UNPUBLISHED)
    assert get(world, study_id, answer.file.object_id) == answer.file
    assert {name: getattr(answer.file, name) for name in values} == values

    for state in (PUBLISHED, SUPPRESSED):
        other = submit(world, study_id, state)
        refused = refusal(lambda known=other.files[0]: change(world, known, **values))  # type: ignore[misc] # mypy can't infer such a lambda
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_FILE_UPDATE_REQUEST")
        assert world.get(study_id, other.analysis_id) == other


@pytest.mark.parametrize("state", [UNPUBLISHED, PUBLISHED])
def test_values_as_they_are_change_nothing(world: World, study_id: str, state: int) -> None:
    analysis = submit(world, study_id, state, files=[file(info={"a": 1, "b": [1.0]})])
    known = analysis.files[0]
    events = len(world.events(analysis.analysis_id))
    values: dict[str, Any] = {
        "size_bytes": known.size_bytes,
        "md5": known.md5.upper(),
        "access": known.access,
        "data_type": known.data_type,
        "info_json": '{"b": [1], "c": null, "a": 1.0}',
    }
    answer = change(world, known, etag=known.etag, **values)
    assert (answer.update_type, answer.file) == (NO_UPDATE, known)
    assert world.get(study_id, analysis.analysis_id) == analysis
    assert len(world.events(analysis.analysis_id)) == events


def test_a_suppressed_analysis_takes_not_even_an_update_that_changes_nothing(world: World, study_id: str) -> None:
    known = submit(world, study_id, SUPPRESSED).files[0]
    assert refusal(lambda: change(world, known, data_type=known.data_type)).reason == "ILLEGAL_FILE_UPDATE_REQUEST"
    # What is wrong with the request itself is said first.
    assert refusal(lambda: change(world, known, size_bytes=-1)).reason == "INVALID_FILE_UPDATE_REQUEST"


def test_all_violations_of_an_update_are_listed(world: World, study_id: str) -> None:
    known = submit(world, study_id, PUBLISHED).files[0]
    values: dict[str, Any] = {"size_bytes": -1, "md5": "x" * 32, "data_type": "x" * 256, "info_json": "[]", "access": 0}
    refused = refusal(lambda: change(world, known, **values))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FILE_UPDATE_REQUEST")
    assert refused.metadata == {"object_id": known.object_id}
    assert {field for field, _ in refused.violations} == {f"file.{name}" for name in values}


@pytest.mark.parametrize(
    "values",
    [
        {"md5": "0" * 32 + "\n"},
        {"data_type": "a\0b"},
        {"info_json": "{"},
        {"info_json": '{"a": "\\u0000"}'},
        {"info_json": '{"a": "' + "x" * 4 * 1024 * 1024 + '"}'},
        {"access": 7},
    ],
)
def test_values_out_of_bounds_are_invalid(world: World, study_id: str, values: dict[str, Any]) -> None:
    known = submit(world, study_id).files[0]
    refused = refusal(lambda: change(world, known, **values))
    assert refused.reason == "INVALID_FILE_UPDATE_REQUEST"
    assert [field for field, _ in refused.violations] == [f"file.{name}" for name in values]
    assert get(world, study_id, known.object_id) == known


def test_only_named_fields_are_taken_and_a_named_empty_one_is_emptied(world: World, study_id: str) -> None:
    known = submit(world, study_id, files=[file(info={"a": 1})]).files[0]
    answer = change(world, known, ["data_type"], data_type="new", md5="rubbish", size_bytes=-5)
    assert (answer.update_type, answer.file.md5, answer.file.info_json) == (METADATA_UPDATE, known.md5, '{"a":1}')
    answer = change(world, known, ["info_json", "data_type"])
    assert (answer.file.info_json, answer.file.data_type) == ("", "")


@pytest.mark.parametrize("mask", [["file_name"], ["file_type"], ["etag"], ["*"], ["md5", "nonsense"]])
def test_a_mask_names_fields_that_can_change(world: World, study_id: str, mask: list[str]) -> None:
    known = submit(world, study_id).files[0]
    refused = refusal(lambda: change(world, known, mask, file_name="other", md5="0" * 32))
    assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "update_mask"})
    assert get(world, study_id, known.object_id) == known


def test_an_update_needs_a_mask_and_an_etag_that_fits(world: World, study_id: str) -> None:
    known = submit(world, study_id).files[0]
    assert refusal(lambda: change(world, known)).metadata == {"field": "update_mask"}
    assert refusal(lambda: change(world, known, etag="", md5="0" * 32)).metadata == {"field": "file.etag"}
    assert refusal(lambda: change(world, known, reason="x" * 1001, md5="0" * 32)).metadata == {"field": "reason"}
    now = change(world, known, etag=known.etag, md5="0" * 32).file
    stale = refusal(lambda: change(world, known, etag=known.etag, md5="1" * 32))
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert stale.metadata == {"etag": now.etag}


def test_sizes_of_rows_follow_what_they_hold(world: World, study_id: str) -> None:
    analysis = submit(world, study_id, files=[file("a"), file("b"), file("c")])
    whole, before = wire_bytes(world, analysis.analysis_id)
    change(world, analysis.files[0], info_json='{"a":"' + "x" * 992 + '"}')
    larger, after = wire_bytes(world, analysis.analysis_id)
    assert larger - whole == 1000
    assert [new - old for new, old in zip(after, before, strict=True)] == [1000, 0, 0]
    delete(world, analysis, [analysis.files[0].object_id])
    assert wire_bytes(world, analysis.analysis_id) == (larger - after[0], after[1:])


def test_no_update_makes_an_analysis_too_large_to_be_read(world: World, study_id: str) -> None:
    analysis = submit(world, study_id, experiment={"libraryStrategy": "WGS", "x": "x" * 14 * 1024 * 1024})
    refused = refusal(lambda: change(world, analysis.files[0], info_json='{"a":"' + "x" * 3_500_000 + '"}'))
    assert (refused.reason, refused.violations[0][0]) == ("INVALID_FILE_UPDATE_REQUEST", "file.info_json")
    assert str(MAX_MESSAGE_BYTES) in refused.message
    assert world.get(study_id, analysis.analysis_id).etag == analysis.etag


def test_files_of_an_unpublished_analysis_can_be_deleted(world: World, study_id: str) -> None:
    analysis = submit(world, study_id, files=[file(name) for name in "abcd"])
    ids = [known.object_id for known in analysis.files]

    etag = delete(world, analysis, [ids[0], ids[2], ids[0]], etag=analysis.etag, reason="by mistake")

    now = world.get(study_id, analysis.analysis_id)
    assert list(now.files) == [analysis.files[1], analysis.files[3]]
    assert (now.etag, now.etag != analysis.etag) == (etag, True)
    assert history(world, analysis.analysis_id)[-1] == ("DELETE_FILES", "UNPUBLISHED", "by mistake", [ids[0], ids[2]])
    events = world.events(analysis.analysis_id)
    assert [event.action for event in events] == ["CREATE", "UPDATE"]
    names = [[told["fileName"] for told in json.loads(event.analysis_json)["files"]] for event in events]
    assert names == [["a", "b", "c", "d"], ["b", "d"]]
    assert refusal(lambda: get(world, study_id, ids[0])).reason == "FILE_NOT_FOUND"
    world.score.hold(now)
    assert world.publish(study_id, analysis.analysis_id).changed


def test_all_files_are_deleted_or_none(world: World, study_id: str) -> None:
    analysis = submit(world, study_id, files=[file("a"), file("b")])
    elsewhere = submit(world, study_id).files[0].object_id
    ids = [known.object_id for known in analysis.files]
    for wrong in (elsewhere, "nowhere", "\0"):
        assert refusal(lambda w=wrong: delete(world, analysis, [ids[0], w])).reason == "FILE_NOT_FOUND"  # type: ignore[misc] # mypy can't infer such a lambda
    assert refusal(lambda: delete(world, analysis, ids)).reason == "ILLEGAL_FILE_DELETE_REQUEST"
    assert refusal(lambda: delete(world, analysis, ids[:1], etag="stale")).reason == "ETAG_MISMATCH"
    for bad in ([], ["x"] * 1001):
        assert refusal(lambda b=bad: delete(world, analysis, b)).metadata == {"field": "object_ids"}  # type: ignore[misc] # mypy can't infer such a lambda
    assert world.get(study_id, analysis.analysis_id) == analysis
    analysis.analysis_id = "nowhere"
    assert refusal(lambda: delete(world, analysis, ids[:1])).reason == "ANALYSIS_ID_NOT_FOUND"


@pytest.mark.parametrize("state", [PUBLISHED, SUPPRESSED])
def test_files_are_deleted_from_unpublished_analyses_only(world: World, study_id: str, state: int) -> None:
    analysis = submit(world, study_id, state, files=[file("a"), file("b")])
    refused = refusal(lambda: delete(world, analysis, [analysis.files[0].object_id]))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_FILE_DELETE_REQUEST")
    assert world.get(study_id, analysis.analysis_id) == analysis


def test_a_publish_looks_for_the_bytes_that_are_registered_now(world: World, study_id: str) -> None:
    analysis = submit(world, study_id)
    world.score.hold(analysis)
    change(world, analysis.files[0], size_bytes=11)
    assert refusal(lambda: world.publish(study_id, analysis.analysis_id)).reason == "MISMATCHING_STORAGE_OBJECT_SIZES"
    world.score.hold(world.get(study_id, analysis.analysis_id))
    assert world.publish(study_id, analysis.analysis_id).changed


def test_an_update_that_fails_at_its_end_leaves_nothing_behind(world: World, study_id: str) -> None:
    analysis = submit(world, study_id)
    row = tables.analyses.c.analysis_id == analysis.analysis_id
    with world.database.write() as connection:  # its history already has the entry after the next
        connection.execute(update(tables.analyses).where(row).values(revision=0))
    assert refusal(lambda: change(world, analysis.files[0], md5="0" * 32)).reason == "UNKNOWN_ERROR"
    assert get(world, study_id, analysis.files[0].object_id) == analysis.files[0]
    assert len(world.events(analysis.analysis_id)) == 1


def test_a_file_is_shown_to_readers_or_once_its_analysis_is_published(tmp_path: Path) -> None:
    with running(tmp_path, auth="on", jwt_public_key_file=write_public_key(tmp_path)) as guarded:
        system = guarded.calling_with(SERVICE_TOKEN)
        study_id = system.new_study()
        analysis = submit(system, study_id)
        known = analysis.files[0]
        reader = guarded.calling_with(token(f"PROGRAMDATA-{study_id}.READ"))
        stranger = guarded.calling_with(token("PROGRAMDATA-other.WRITE"))
        assert get(reader, study_id, known.object_id) == known
        for caller in (stranger, guarded):
            assert refusal(lambda c=caller: get(c, study_id, known.object_id)).reason == "FILE_NOT_FOUND"  # type: ignore[misc] # mypy can't infer such a lambda
        system.score.hold(analysis)
        system.publish(study_id, analysis.analysis_id)
        assert get(stranger, study_id, known.object_id) == get(guarded, study_id, known.object_id) == known
        for call in (lambda: change(reader, known, data_type="x"), lambda: delete(reader, analysis, [known.object_id])):
            assert refusal(call).reason == "SCOPE_MISSING"
