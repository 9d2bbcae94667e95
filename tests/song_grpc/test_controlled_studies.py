"""What reads show of a CONTROLLED study to who may not read it: no samples, no dynamic data, no answer about them."""

from collections.abc import Iterator

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from song.v1 import analysis_pb2, study_pb2, study_service_pb2
from song.v1 import analysis_service_pb2 as service
from song.v1 import file_service_pb2 as files

from tests.servers.identity import token, write_public_key
from tests.song_grpc.world import SERVICE_TOKEN, World, payload, running

ANY_STATE = "(state = PUBLISHED OR state != PUBLISHED)"
Metadata = tuple[tuple[str, str], ...]
HIDDEN = ("samples", "data_json", "state_changes")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Song that wants JWTs, called as the sister service where a call brings none."""
    folder = tmp_path_factory.mktemp("song")
    with running(folder, auth="on", jwt_public_key_file=write_public_key(folder)) as world:
        yield world.calling_with(SERVICE_TOKEN)


@pytest.fixture(scope="module")
def published(guarded: World) -> analysis_pb2.Analysis:
    """A published analysis of a CONTROLLED study, which has an unpublished one too."""
    study = study_pb2.Study(study_id="controlled", visibility=study_pb2.STUDY_VISIBILITY_CONTROLLED)
    guarded.studies.CreateStudy(study_service_pb2.CreateStudyRequest(study=study))
    first, second = (guarded.submit("controlled", payload("controlled")) for _ in range(2))
    del second
    guarded.score.hold(guarded.get("controlled", first))
    guarded.publish("controlled", first)
    return guarded.get("controlled", first)


def told(*scopes: str) -> Metadata:
    """Return the metadata of a caller, whose token is made when it is used: it lasts some minutes."""
    return (("authorization", f"Bearer {token(*scopes)}"),)


def a_stranger() -> Metadata:
    return told()


def a_reader() -> Metadata:
    return told("PROGRAMDATA-controlled.READ")


def get(world: World, wanted: analysis_pb2.Analysis, metadata: Metadata, *paths: str) -> analysis_pb2.Analysis:
    mask = FieldMask(paths=paths)
    request = service.GetAnalysisRequest(study_id="controlled", analysis_id=wanted.analysis_id, read_mask=mask)
    return world.analyses.GetAnalysis(request, metadata=metadata).analysis


def shown(analysis: analysis_pb2.Analysis) -> analysis_pb2.Analysis:
    """Return what a stranger sees of an analysis."""
    kept = analysis_pb2.Analysis()
    kept.CopyFrom(analysis)
    for field in HIDDEN:
        kept.ClearField(field)  # type: ignore[arg-type] # fields of the message
    return kept


def test_an_analysis_shows_neither_samples_nor_data(guarded: World, published: analysis_pb2.Analysis) -> None:
    assert get(guarded, published, a_reader()) == published
    assert get(guarded, published, a_stranger()) == shown(published)
    assert get(guarded, published, a_stranger(), "data_json", "samples", "study_id") == analysis_pb2.Analysis(
        study_id="controlled"
    )
    listing = service.ListAnalysesRequest(study_id="controlled", filter=ANY_STATE)
    assert list(guarded.analyses.ListAnalyses(listing, metadata=a_stranger()).analyses) == [shown(published)]
    assert len(guarded.analyses.ListAnalyses(listing, metadata=a_reader()).analyses) == 2


@pytest.mark.parametrize(
    ("text", "reader", "stranger"),
    [
        ('data.experiment.libraryStrategy = "WGS"', 1, 0),
        ("data.experiment : *", 1, 0),
        ("samples.donor.gender : Female", 1, 0),
        ("NOT samples.donor.gender : Male", 1, 1),
        ("NOT samples.donor.gender : Female", 0, 1),
        ("files.file_type : BAM", 1, 1),
        ("state = UNPUBLISHED", 1, 0),
        ("NOT state = PUBLISHED", 1, 0),
        (f"{ANY_STATE} AND NOT data.nowhere : *", 2, 1),
        ("state = UNPUBLISHED OR analysis_id != x", 2, 1),
    ],
)
def test_no_filter_answers_what_is_hidden(
    guarded: World, published: analysis_pb2.Analysis, text: str, reader: int, stranger: int
) -> None:
    del published
    request = service.ListAnalysesRequest(study_id="controlled", filter=text)
    assert len(guarded.analyses.ListAnalyses(request, metadata=a_reader()).analyses) == reader
    assert len(guarded.analyses.ListAnalyses(request, metadata=a_stranger()).analyses) == stranger


def test_no_search_answers_what_is_hidden(guarded: World, published: analysis_pb2.Analysis) -> None:
    def found(metadata: Metadata, **fields: object) -> list[analysis_pb2.Analysis]:
        request = service.SearchAnalysesByIdRequest(study_id="controlled", **fields)  # type: ignore[arg-type] # fields of the message
        return list(guarded.analyses.SearchAnalysesById(request, metadata=metadata).analyses)

    object_id = published.files[0].object_id
    for match in (service.ID_MATCH_EXACT, service.ID_MATCH_PREFIX, service.ID_MATCH_REGEX):
        assert len(found(a_reader(), submitter_donor_id="donor-1", match=match)) == 2
        assert found(a_stranger(), submitter_donor_id="donor-1", match=match) == []
        assert found(a_stranger(), submitter_donor_id="donor-1", object_id=object_id, match=match) == []
        assert found(a_stranger(), object_id=object_id, match=match) == [shown(published)]


def test_objects_of_hidden_analyses_are_not_listed(guarded: World, published: analysis_pb2.Analysis) -> None:
    request = files.ListObjectsRequest(study_id="controlled")
    visible = [one.file.object_id for one in guarded.files.ListObjects(request, metadata=a_stranger()).objects]
    assert visible == [one.object_id for one in published.files]
    assert len(guarded.files.ListObjects(request, metadata=a_reader()).objects) == 2
