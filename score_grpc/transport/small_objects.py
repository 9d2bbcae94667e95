"""WriteObjects and ReadObjects: many small objects over one stream."""

from collections.abc import Iterator

from score.v1 import download_service_pb2, upload_service_pb2
from score.v1.upload_service_pb2 import ServerDrain, WriteObjectsRequest, WriteObjectsResponse

from byte_path.codec import SmallChunk
from byte_path.digests import chunk_digest
from score_grpc.domain.errors import FieldInvalidError
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.transport.item_errors import item_error
from score_grpc.transport.messages import object_message
from score_grpc.transport.stream_end import StreamEnd
from score_grpc.use_cases.small_objects import SmallObjectsSession
from score_grpc.use_cases.small_reads import Answer, Whole

_WRITE = "/score.v1.UploadService/WriteObjects"
_READ = "/score.v1.DownloadService/ReadObjects"


def write_objects(
    session: SmallObjectsSession, requests: Iterator[WriteObjectsRequest | SmallChunk], end: StreamEnd
) -> Iterator[WriteObjectsResponse]:
    """Take the messages of a stream, and answer as far as there is something to say."""
    for request in requests:
        if not isinstance(request, SmallChunk) and request.HasField("open"):
            end.require_in_time()
        _take(session, request)
        del request  # the next one comes while this one would still be held
        for index, outcome in session.answers():
            yield _written(index, outcome)
        if end.is_to_be_told():
            yield WriteObjectsResponse(index=-1, drain=ServerDrain())
    for index, outcome in session.rest():
        yield _written(index, outcome)


def read_response(index: int, answer: Answer) -> download_service_pb2.ReadObjectsResponse:
    """Return the message of an answer."""
    response = download_service_pb2.ReadObjectsResponse(index=index)
    match answer:
        case StoredObject():
            response.stored_object.CopyFrom(object_message(answer))
        case memoryview():
            response.data.xxh3_64 = chunk_digest(answer)
            response.data.data = answer.tobytes()
        case Whole(xxh3_128):
            response.end.xxh3_128 = xxh3_128
        case Exception():
            response.refusal.CopyFrom(item_error(answer, _READ))
    return response


def _take(session: SmallObjectsSession, request: WriteObjectsRequest | SmallChunk) -> None:
    if isinstance(request, SmallChunk):
        session.take(request.data, request.xxh3_64)
        return
    match request.WhichOneof("message"):
        case "announce":
            session.announce(request.announce.object_ids)
        case "open":
            wanted = request.open
            session.open(wanted.object_id, wanted.size_bytes, wanted.expected_md5, replace=wanted.replace)
        case "finish":
            session.finish()
        case _:
            raise FieldInvalidError("message", "a message must have an 'announce', 'open', 'chunk' or 'finish'")


def _written(index: int, outcome: StoredObject | Exception) -> upload_service_pb2.WriteObjectsResponse:
    if isinstance(outcome, StoredObject):
        return WriteObjectsResponse(index=index, stored_object=object_message(outcome))
    return WriteObjectsResponse(index=index, refusal=item_error(outcome, _WRITE))
