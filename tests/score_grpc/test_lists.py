"""ListObjects and ListUploads: pages, newest first, and only what the caller may see."""

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import SecretStr
from score.v1.object_service_pb2 import ListObjectsRequest
from score.v1.stored_object_pb2 import VERIFICATION_UNVERIFIED, VERIFICATION_VERIFIED
from score.v1.upload_pb2 import (
    UPLOAD_STATE_ABORTED,
    UPLOAD_STATE_COMPLETED,
    UPLOAD_STATE_COMPLETING,
    UPLOAD_STATE_OPEN,
)
from score.v1.upload_service_pb2 import AbortUploadRequest, ListUploadsRequest
from song_score_client.errors import ServiceError

from score_grpc.__main__ import page_secret
from score_grpc.domain.access import Principal
from score_grpc.domain.errors import PageTokenInvalidError
from score_grpc.domain.limits import PAGE_TOKEN_MAX_CHARS
from score_grpc.domain.paging import page_end
from score_grpc.settings import ScoreSettings
from score_grpc.transport.caller import Callers
from score_grpc.transport.page_tokens import PageTokens
from score_grpc.url_keys import parse_url_keys
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import PART, World, random_bytes

SERVICE = (("authorization", f"Bearer {TOKEN}"),)
NAMES = [f"object-{number}" for number in range(5)]


def refused(world: World, call: Callable[[], object]) -> ServiceError:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return world.raw.error(raised.value)


def objects(world: World, **fields: Any) -> list[str]:  # noqa: ANN401 - fields of the message
    """Return the ids of all pages, in pages of two."""
    found: list[str] = []
    token = ""
    while True:
        defaults: dict[str, Any] = {"page_size": 2, "page_token": token}
        request = ListObjectsRequest(**defaults | fields)
        answer = world.raw.objects.ListObjects(request)
        assert len(answer.stored_objects) <= 2
        found += [stored.object_id for stored in answer.stored_objects]
        token = answer.next_page_token
        if not token:
            return found


def uploads(world: World, **fields: Any) -> list[str]:  # noqa: ANN401 - fields of the message
    found: list[str] = []
    token = ""
    while True:
        defaults: dict[str, Any] = {"page_size": 2, "page_token": token}
        answer = world.raw.uploads.ListUploads(ListUploadsRequest(**defaults | fields))
        found += [upload.object_id for upload in answer.uploads]
        token = answer.next_page_token
        if not token:
            return found


@pytest.fixture
def five(world: World) -> World:
    """A Score with five objects, published but the last, of which the second is another study's."""
    for number, name in enumerate(NAMES):
        world.store(name, random_bytes(100, seed=number), study_id="XYZ" if number == 1 else "ABC")
        if number < 4:
            world.song.set_state(name, "PUBLISHED")
    return world


def test_objects_come_newest_first_page_by_page(five: World) -> None:
    assert objects(five) == NAMES[3::-1]
    assert objects(five, allow_unpublished=True) == NAMES[::-1]
    assert objects(five, study_id="ABC") == ["object-3", "object-2", "object-0"]
    assert objects(five, study_id="XYZ") == ["object-1"]
    assert objects(five, study_id="nowhere") == []
    assert objects(five, analysis_id="analysis-of-object-2") == ["object-2"]
    assert objects(five, verification=VERIFICATION_VERIFIED, study_id="XYZ") == ["object-1"]
    assert objects(five, verification=VERIFICATION_UNVERIFIED) == []


def test_objects_of_the_same_moment_are_each_listed_once(five: World) -> None:
    with five.score._database.write() as connection:
        connection.exec_driver_sql("UPDATE objects SET create_time = 1700000000000000")
    assert objects(five, allow_unpublished=True) == NAMES[::-1]


def test_objects_are_listed_by_the_time_they_became_visible(five: World) -> None:
    all_of_them = five.raw.objects.ListObjects(ListObjectsRequest(allow_unpublished=True)).stored_objects
    third = all_of_them[2].create_time
    assert objects(five, created_from=third) == ["object-3", "object-2"]
    assert objects(five, created_before=third) == ["object-1", "object-0"]
    bad = refused(five, lambda: objects(five, created_from=Timestamp(seconds=10**15)))
    assert (bad.reason, bad.metadata["field"]) == ("FIELD_INVALID", "created_from")


def test_a_caller_sees_the_objects_it_may_read(five: World, monkeypatch: pytest.MonkeyPatch) -> None:
    five.register("object-0", random_bytes(100, seed=0), is_open=False, state="PUBLISHED")
    stranger = Principal("a stranger", frozenset({"PROGRAMDATA-XYZ.WRITE"}))
    monkeypatch.setattr(Callers, "of", lambda *_: stranger)
    assert objects(five, study_id="ABC") == ["object-3", "object-2"]
    assert objects(five, study_id="XYZ", allow_unpublished=True) == ["object-1"]
    error = refused(five, lambda: objects(five))
    assert (error.reason, error.metadata["scope"]) == ("SCOPE_MISSING", "score.READ")


def test_a_system_is_answered_while_song_is_down(five: World) -> None:
    five.song.stop()
    answer = five.raw.objects.ListObjects(ListObjectsRequest(), metadata=SERVICE)
    assert [stored.object_id for stored in answer.stored_objects] == NAMES[::-1]
    five.score.environment.registry._answers.clear()
    assert refused(five, lambda: objects(five)).reason == "SONG_UNAVAILABLE"


def test_uploads_come_newest_first_with_what_is_persisted(world: World) -> None:
    data = random_bytes(PART + 1000)
    for number, name in enumerate(NAMES):
        world.register(name, data, study_id="XYZ" if number == 1 else "ABC")
        upload = world.start(name)
        if number:
            world.send(upload, data, 2)
    assert uploads(world) == NAMES[::-1]
    assert uploads(world, study_id="XYZ") == ["object-1"]
    assert uploads(world, object_id="object-3") == ["object-3"]
    assert uploads(world, analysis_id="analysis-of-object-4", study_id="ABC") == ["object-4"]
    answer = world.raw.uploads.ListUploads(ListUploadsRequest())
    assert [upload.persisted_size_bytes for upload in answer.uploads] == [1000] * 4 + [0]
    assert {upload.persisted_part_total for upload in answer.uploads} == {0, 1}
    assert all(upload.state == UPLOAD_STATE_OPEN for upload in answer.uploads)


def test_uploads_that_are_over_are_listed_when_asked_for(world: World) -> None:
    world.store("object-0", random_bytes(100))
    world.register("object-1", random_bytes(100))
    started = world.start("object-1")
    world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=started.upload_id))
    assert uploads(world) == []
    assert uploads(world, states=[UPLOAD_STATE_ABORTED]) == ["object-1"]
    over = [UPLOAD_STATE_COMPLETED, UPLOAD_STATE_ABORTED, UPLOAD_STATE_COMPLETING]
    assert uploads(world, states=over) == ["object-1", "object-0"]
    assert refused(world, lambda: uploads(world, states=[77])).metadata["field"] == "states"


def test_uploads_are_shown_to_those_who_may_write(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register("object-0", random_bytes(100))
    world.start("object-0")
    for scopes, study_id, expected in [
        ({"PROGRAMDATA-ABC.WRITE"}, "ABC", ["object-0"]),
        ({"PROGRAMDATA-ABC.READ"}, "ABC", "PROGRAMDATA-ABC.WRITE"),
        ({"PROGRAMDATA-ABC.WRITE"}, "", "score.READ"),
        ({"score.READ"}, "", ["object-0"]),
        (set(), "ABC", "PROGRAMDATA-ABC.WRITE"),
    ]:
        principal = Principal("somebody", frozenset(scopes))
        monkeypatch.setattr(Callers, "of", lambda *_, principal=principal: principal)
        if isinstance(expected, list):
            assert uploads(world, study_id=study_id) == expected
        else:
            error = refused(world, partial(uploads, world, study_id=study_id))
            assert (error.reason, error.metadata["scope"]) == ("SCOPE_MISSING", expected)


def test_a_page_token_tells_nothing_of_what_the_caller_may_not_see(
    five: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    five.register("object-2", random_bytes(100, seed=2), is_open=False, state="PUBLISHED")
    stranger = Principal("a stranger", frozenset({"PROGRAMDATA-XYZ.WRITE"}))
    monkeypatch.setattr(Callers, "of", lambda *_: stranger)
    found, tokens = [], [""]
    while tokens[-1] or len(tokens) == 1:
        request = ListObjectsRequest(study_id="ABC", page_size=1, page_token=tokens[-1])
        answer = five.raw.objects.ListObjects(request)
        found.append([stored.object_id for stored in answer.stored_objects])
        tokens.append(answer.next_page_token)
    assert found == [[], ["object-3"], [], ["object-0"]]  # the first is not published, the third controlled
    for token in tokens[1:-1]:
        inside = base64.urlsafe_b64decode(token)
        assert not any(name.encode() in token.encode() + inside for name in ["object-", "ABC"])
    # Nor by its length, or by being the same for the same place.
    assert len({len(token) for token in tokens[1:-1]}) == 1
    again = five.raw.objects.ListObjects(ListObjectsRequest(study_id="ABC", page_size=1))
    assert again.next_page_token not in tokens


def test_a_page_token_goes_on_in_another_process_with_the_same_service_token() -> None:
    place = '["0123456789abcdef",1700000000000000,"object-1"]'
    token = PageTokens(TOKEN).seal(place)
    assert PageTokens(TOKEN).open(token).strip() == place
    for other in ("another", "", ""):
        with pytest.raises(PageTokenInvalidError):
            PageTokens(other).open(token)
    alone = PageTokens("")
    assert alone.open(alone.seal(place)).strip() == place


def test_a_page_token_goes_on_in_another_worker_without_a_service_token(tmp_path: Path) -> None:
    shared = {"data_dir": tmp_path, "database_url": "postgresql+psycopg://a@b/c", "store": "s3", "s3_bucket": "reads"}
    settings = ScoreSettings.model_validate(shared | {"workers": 2})
    token = PageTokens(page_secret(settings, [])).seal("a place")
    assert PageTokens(page_secret(settings, [])).open(token).strip() == "a place"
    alone = ScoreSettings.model_validate({"data_dir": tmp_path / "none"})
    replicas = [PageTokens(page_secret(alone, parse_url_keys(f"a:{'x' * 40}"))) for _ in range(2)]
    assert replicas[0].open(replicas[1].seal("a place")).strip() == "a place"
    assert page_secret(alone, []) == ""
    assert not (tmp_path / "none").exists()
    assert page_secret(settings.model_copy(update={"service_token": SecretStr(TOKEN)}), []) == TOKEN


def test_the_longest_place_fits_into_a_token_as_long_as_any_other() -> None:
    tokens = PageTokens(TOKEN)
    longest = page_end(["objects"], (2**63 - 1, "x" * 36))
    assert tokens.open(tokens.seal(longest)).strip() == longest
    assert len(tokens.seal(longest)) == len(tokens.seal(page_end(["objects"], (0, "abc")))) <= PAGE_TOKEN_MAX_CHARS


@pytest.mark.parametrize("token", ["x", "bm90IGpzb24=", "W10=", "ä", "A" * 300, "WyJ4IiwxLCJ5Il0=", "gAAAAAA="])
def test_a_page_token_of_no_list_is_refused(world: World, token: str) -> None:
    for call in (objects, uploads):
        assert refused(world, partial(call, world, page_token=token)).reason == "PAGE_TOKEN_INVALID"


def test_a_page_token_fits_only_its_own_list(five: World) -> None:
    token = five.raw.objects.ListObjects(ListObjectsRequest(page_size=1)).next_page_token
    assert token
    for fields in ({"study_id": "ABC"}, {"allow_unpublished": True}, {"verification": VERIFICATION_VERIFIED}):
        error = refused(five, partial(objects, five, **fields, page_token=token))
        assert error.reason == "PAGE_TOKEN_INVALID"
    assert refused(five, lambda: uploads(five, page_token=token)).reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize(
    "fields", [{"page_size": -1}, {"page_size": 1001}, {"study_id": "a\0b"}, {"analysis_id": "x" * 300}]
)
def test_what_no_list_takes_is_refused(world: World, fields: dict[str, Any]) -> None:
    for call in (objects, uploads):
        error = refused(world, partial(call, world, **fields))
        assert (error.reason, error.metadata["field"]) == ("FIELD_INVALID", next(iter(fields)))
