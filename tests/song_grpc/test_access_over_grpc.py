"""Every method asks who may: seen with tokens of few scopes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from song.v1 import analysis_service_pb2 as analyses
from song.v1 import analysis_type_service_pb2 as types
from song.v1 import file_service_pb2 as files
from song.v1 import study_pb2
from song.v1 import study_service_pb2 as studies

from tests.servers.identity import token, write_public_key
from tests.song_grpc.world import SERVICE_TOKEN, World, payload, refusal, running

NOBODY: Sequence[str] = ()
READER, WRITER, SYSTEM = ("PROGRAMDATA-{}.READ",), ("PROGRAMDATA-{}.WRITE",), ("song.WRITE",)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Song that wants JWTs, called as the sister service where a call brings none."""
    folder = tmp_path_factory.mktemp("song")
    with running(folder, auth="on", jwt_public_key_file=write_public_key(folder)) as world:
        yield world.calling_with(SERVICE_TOKEN)


def metadata(scopes: Sequence[str], study_id: str) -> tuple[tuple[str, str], ...]:
    scoped = token(*(scope.format(study_id) for scope in scopes))
    return (("authorization", f"Bearer {scoped}"),)


def writes(world: World, study_id: str, analysis_id: str) -> list[tuple[Any, Any]]:
    named: dict[str, Any] = {"study_id": study_id, "analysis_id": analysis_id}
    sent: dict[str, Any] = {"study_id": study_id, "payload_json": "{}"}
    return [
        (world.studies.CreateStudy, studies.CreateStudyRequest(study=study_pb2.Study(study_id=study_id))),
        (world.analyses.SubmitAnalysis, analyses.SubmitAnalysisRequest(**sent)),
        (world.analyses.ValidateAnalysis, analyses.ValidateAnalysisRequest(**sent)),
        (world.analyses.PublishAnalysis, analyses.PublishAnalysisRequest(**named)),
        (world.analyses.UnpublishAnalysis, analyses.UnpublishAnalysisRequest(**named)),
        (world.analyses.SuppressAnalysis, analyses.SuppressAnalysisRequest(**named)),
    ]


def test_whatever_writes_needs_a_scope(guarded: World) -> None:
    study_id = guarded.new_study()
    analysis_id = guarded.submit(study_id, payload(study_id))
    for scopes in (NOBODY, READER, ("PROGRAMDATA-other.WRITE",)):
        for method, request in writes(guarded, study_id, analysis_id):
            refused = refusal(lambda m=method, r=request, s=scopes: m(r, metadata=metadata(s, study_id)))  # type: ignore[misc] # mypy can't infer such a lambda
            assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
            assert refused.metadata == {"scope": f"PROGRAMDATA-{study_id}.WRITE"}
    for scopes in (WRITER, SYSTEM):
        unpublish = analyses.UnpublishAnalysisRequest(study_id=study_id, analysis_id=analysis_id)
        guarded.analyses.UnpublishAnalysis(unpublish, metadata=metadata(scopes, study_id))


def test_types_are_registered_by_the_system_alone(guarded: World) -> None:
    schema = '{"type": "object", "properties": {}}'
    request = types.RegisterAnalysisTypeRequest(name="x", schema_json=schema)
    refused = refusal(lambda: guarded.types.RegisterAnalysisType(request, metadata=metadata(WRITER, "S")))
    assert refused.metadata == {"scope": "song.WRITE"}
    assert guarded.types.RegisterAnalysisType(request, metadata=metadata(SYSTEM, "S")).created


def test_what_is_not_published_is_hidden_from_who_may_not_read_the_study(guarded: World) -> None:
    study_id = guarded.new_study()
    analysis = guarded.get(study_id, guarded.submit(study_id, payload(study_id)))
    get = analyses.GetAnalysisRequest(study_id=study_id, analysis_id=analysis.analysis_id)
    listing = analyses.ListAnalysesRequest(study_id=study_id, filter="state = UNPUBLISHED OR state = PUBLISHED")
    list_files = files.ListFilesRequest(study_id=study_id, analysis_id=analysis.analysis_id)
    resolve = files.ResolveObjectsRequest(object_ids=[analysis.files[0].object_id])

    def seen(scopes: Sequence[str]) -> list[bool]:
        told = metadata(scopes, study_id)
        try:
            guarded.analyses.GetAnalysis(get, metadata=told)
            guarded.files.ListFiles(list_files, metadata=told)
            alone = True
        except grpc.RpcError:
            alone = False
        listed = len(guarded.analyses.ListAnalyses(listing, metadata=told).analyses) == 1
        return [alone, listed, len(guarded.files.ResolveObjects(resolve, metadata=told).objects) == 1]

    assert seen(NOBODY) == [False] * 3
    for request, method in ((get, guarded.analyses.GetAnalysis), (list_files, guarded.files.ListFiles)):
        refused = refusal(lambda r=request, m=method: m(r, metadata=metadata(NOBODY, study_id)))  # type: ignore[misc] # mypy can't infer such a lambda
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "ANALYSIS_ID_NOT_FOUND")
    for scopes in (READER, WRITER, SYSTEM, ("song.READ",)):
        assert seen(scopes) == [True] * 3
    guarded.score.hold(analysis)
    guarded.publish(study_id, analysis.analysis_id)
    assert seen(NOBODY) == [True] * 3
    guarded.suppress(study_id, analysis.analysis_id)
    assert seen(NOBODY) == [False] * 3


def test_the_sister_service_sees_everything(folder: Path) -> None:
    with running(folder) as world:
        study_id = world.new_study()
        analysis = world.get(study_id, world.submit(study_id, payload(study_id)))
        resolve = files.ResolveObjectsRequest(object_ids=[analysis.files[0].object_id])
        told = (("authorization", "Bearer a token of the tests"),)
        assert len(world.files.ResolveObjects(resolve, metadata=told).objects) == 1
