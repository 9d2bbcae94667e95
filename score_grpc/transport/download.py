"""DownloadService."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
from score.v1 import download_service_pb2 as pb
from score.v1.download_service_pb2_grpc import DownloadServiceServicer

from byte_path.codec import ReadData
from byte_path.digests import chunk_digest
from score_grpc.domain import limits
from score_grpc.domain.errors import FieldInvalidError
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.transport.caller import Callers
from score_grpc.transport.message_sizes import MessageSizes
from score_grpc.transport.messages import object_message, signed_request_message
from score_grpc.transport.pages import page_limit, page_of, page_start
from score_grpc.transport.small_objects import read_response
from score_grpc.transport.stream_end import StreamEnd
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.read import ReadSession, read_action
from score_grpc.use_cases.signing import sign_reads
from score_grpc.use_cases.small_reads import read_small_objects


@dataclass(frozen=True, slots=True)
class DownloadServicer(DownloadServiceServicer):
    """Serves `score.v1.DownloadService`."""

    environment: Environment
    callers: Callers
    sizes: MessageSizes = field(default_factory=MessageSizes)

    def ReadObject(  # type: ignore[override]  # ReadData is what the lean codec makes of its message
        self, request_iterator: Iterator[pb.ReadObjectRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ReadObjectResponse | ReadData]:
        """Answer ranges of one generation."""
        first = next(request_iterator, None)
        if first is None or first.WhichOneof("message") != "open":
            raise FieldInvalidError("open", "the first message of a stream must be 'open', with an object_id")
        session, end = self._session(context, first.open), StreamEnd(self.environment.draining)
        yield pb.ReadObjectResponse(stored_object=object_message(session.stored))
        with self.sizes.stream():
            for number, request in enumerate(request_iterator):
                if request.WhichOneof("message") != "range":
                    raise FieldInvalidError("range", "after 'open', every message must be a 'range'")
                if number and end.is_old():
                    raise end.error()
                yield from self._answer(session, request.range, end)

    def _answer(
        self, session: ReadSession, wanted: pb.ReadRange, end: StreamEnd
    ) -> Iterator[pb.ReadObjectResponse | ReadData]:
        part_bytes = session.stored.part_size_bytes or 1  # of an empty object
        number = wanted.offset // part_bytes
        size_bytes = wanted.size_bytes if wanted.HasField("size_bytes") else None
        for offset, piece in session.read(wanted.offset, size_bytes):
            is_next_part = offset // part_bytes != number
            if self.environment.draining.is_set() or (is_next_part and end.is_old()):
                raise end.error()
            number = offset // part_bytes
            for data in self.sizes.cut(piece):
                yield ReadData(wanted.read_id, offset, data, chunk_digest(data))
                offset += data.nbytes  # noqa: PLW2901 - of what is left of the piece
        yield pb.ReadObjectResponse(range_end=pb.ReadRangeEnd(read_id=wanted.read_id))

    def SignDownload(self, request: pb.SignDownloadRequest, context: grpc.ServicerContext) -> pb.SignDownloadResponse:
        """Hand out URLs of an object, or of ranges of it."""
        session = self._session(context, request)
        # One too many is refused as all of a message would be, and takes no memory.
        wanted_ranges = request.ranges[: limits.SIGNED_AT_ONCE + 1]
        ranges = [(wanted.offset, wanted.size_bytes) for wanted in wanted_ranges]
        requests = sign_reads(self.environment, session.stored, ranges, request.lifetime_seconds)
        return pb.SignDownloadResponse(
            stored_object=object_message(session.stored), requests=map(signed_request_message, requests)
        )

    def ReadObjects(
        self, request: pb.ReadObjectsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ReadObjectsResponse]:
        """Read many small objects."""
        action = read_action(allow_unpublished=request.allow_unpublished)
        caller, end = self.callers.of(context), StreamEnd(self.environment.draining)
        for index, answer in read_small_objects(self.environment, caller, action, request.object_ids):
            if index and isinstance(answer, StoredObject) and end.is_old():
                raise end.error()
            yield read_response(index, answer)

    def GetChunkManifest(
        self, request: pb.GetChunkManifestRequest, context: grpc.ServicerContext
    ) -> pb.GetChunkManifestResponse:
        """Return a page of an object's parts."""
        limit = page_limit(request.page_size, limits.PAGE_PARTS_MAX)
        after = page_start(request.page_token)
        session = self._session(context, request)
        parts, next_page_token = page_of(session.parts(after, limit + 1), limit)
        plan, damaged = session.stored.plan, set(session.stored.damaged_parts)
        return pb.GetChunkManifestResponse(
            stored_object=object_message(session.stored),
            parts=[
                pb.ObjectPart(
                    offset=plan.offset(part.part_number),
                    size_bytes=part.size_bytes,
                    xxh3_128=part.xxh3_128,
                    # What it was signed with is no news, and no proof, once its bytes were read.
                    md5="" if part.xxh3_128 else part.md5,
                    is_damaged=part.part_number in damaged,
                )
                for part in parts
            ],
            next_page_token=next_page_token,
        )

    def _session(
        self, context: grpc.ServicerContext, wanted: pb.OpenObject | pb.GetChunkManifestRequest | pb.SignDownloadRequest
    ) -> ReadSession:
        action = read_action(allow_unpublished=wanted.allow_unpublished)
        caller = self.callers.of(context)
        session = ReadSession(self.environment, caller, action, wanted.object_id)
        session.pin(wanted.generation)
        return session
