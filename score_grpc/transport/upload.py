"""UploadService."""

from collections.abc import Iterator
from dataclasses import dataclass

import grpc
from score.v1 import upload_pb2
from score.v1 import upload_service_pb2 as pb
from score.v1.upload_service_pb2_grpc import UploadServiceServicer

from byte_path.codec import SmallChunk, UploadChunk
from score_grpc.domain import limits
from score_grpc.domain.errors import FieldInvalidError
from score_grpc.domain.paging import PageRequest
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import Upload, UploadFilter, UploadPart
from score_grpc.transport.caller import Callers, call_facts
from score_grpc.transport.item_errors import item_error
from score_grpc.transport.messages import (
    object_message,
    part_message,
    signed_request_message,
    upload_message,
    upload_state,
)
from score_grpc.transport.page_tokens import PageTokens
from score_grpc.transport.pages import page_limit, page_of, page_start
from score_grpc.transport.small_objects import write_objects
from score_grpc.transport.stream_end import StreamEnd
from score_grpc.use_cases.complete import Completions
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.manage import abort_upload, get_upload, list_uploads
from score_grpc.use_cases.signing import (
    PartToRecord,
    PartToSign,
    record_parts,
    sign_parts,
    signs_parts,
    unrecorded_parts,
)
from score_grpc.use_cases.small_groups import SmallObjectStorer
from score_grpc.use_cases.small_objects import SmallObjectsSession
from score_grpc.use_cases.start import start_upload
from score_grpc.use_cases.write import Resend, WriteSession

_RECORD = "/score.v1.UploadService/RecordUploadParts"
_AT_ONCE = limits.SIGNED_AT_ONCE + 1
"""One too many is refused as all of a message would be, and takes no memory."""


@dataclass(frozen=True, slots=True)
class UploadServicer(UploadServiceServicer):
    """Serves `score.v1.UploadService`."""

    environment: Environment
    callers: Callers
    completions: Completions
    small_objects: SmallObjectStorer
    page_tokens: PageTokens

    def StartUpload(self, request: pb.StartUploadRequest, context: grpc.ServicerContext) -> pb.StartUploadResponse:
        """Start, join, or find stored."""
        started = start_upload(
            self.environment,
            self.callers.of(context),
            request.object_id,
            request.size_bytes if request.HasField("size_bytes") else None,
            request.expected_md5,
            request.part_size_hint_bytes,
            replace=request.replace,
        )
        if isinstance(started, StoredObject):
            return pb.StartUploadResponse(stored_object=object_message(started))
        return pb.StartUploadResponse(upload=self._message(started))

    def WriteUpload(
        self, request_iterator: Iterator[pb.WriteUploadRequest | UploadChunk], context: grpc.ServicerContext
    ) -> Iterator[pb.WriteUploadResponse]:
        """Carry chunks up and acknowledgements down."""
        caller = self.callers.of(context)
        first = next(request_iterator, None)
        if not isinstance(first, pb.WriteUploadRequest) or first.WhichOneof("message") != "open":
            raise FieldInvalidError("open", "the first message of a stream must be 'open', with an upload_id")
        session = WriteSession(self.environment, caller, first.open.upload_id)
        try:
            yield from self._answer(session, request_iterator)
        finally:
            session.close()

    def _answer(
        self, session: WriteSession, requests: Iterator[pb.WriteUploadRequest | UploadChunk]
    ) -> Iterator[pb.WriteUploadResponse]:
        end = StreamEnd(self.environment.draining)
        for request in requests:
            if not isinstance(request, UploadChunk):
                raise FieldInvalidError("chunk", "after 'open', every message must be a 'chunk'")
            answer = session.take(request)
            del request  # the next one comes while this one would still be held
            match answer:
                case UploadPart() as part:
                    yield pb.WriteUploadResponse(ack=pb.PartAck(part=part_message(part)))
                    end.require_in_time()
                case Resend(part_number, offset, reason):
                    yield pb.WriteUploadResponse(
                        resend=pb.PartResend(part_number=part_number, offset=offset, reason=reason)
                    )
            if end.is_to_be_told():
                yield pb.WriteUploadResponse(drain=pb.ServerDrain())

    def SignUploadParts(
        self, request: pb.SignUploadPartsRequest, context: grpc.ServicerContext
    ) -> pb.SignUploadPartsResponse:
        """Hand out a URL for each part."""
        signed, persisted = sign_parts(
            self.environment,
            self.callers.of(context),
            request.upload_id,
            [PartToSign(part.part_number, part.md5, part.replace_part) for part in request.parts[:_AT_ONCE]],
            request.lifetime_seconds,
        )
        return pb.SignUploadPartsResponse(
            signed_parts=[
                pb.SignedUploadPart(part_number=number, request=signed_request_message(signed_request))
                for number, signed_request in signed
            ],
            persisted_parts=map(part_message, persisted),
        )

    def RecordUploadParts(
        self, request: pb.RecordUploadPartsRequest, context: grpc.ServicerContext
    ) -> pb.RecordUploadPartsResponse:
        """Record parts that were PUT."""
        wanted = [PartToRecord(part.part_number, part.md5, part.store_etag) for part in request.parts[:_AT_ONCE]]
        became = record_parts(self.environment, self.callers.of(context), request.upload_id, wanted)
        return pb.RecordUploadPartsResponse(
            parts=[
                pb.RecordedPart(part_number=part.part_number, part=part_message(result))
                if isinstance(result, UploadPart)
                else pb.RecordedPart(part_number=part.part_number, refusal=item_error(result, _RECORD))
                for part, result in zip(wanted, became, strict=True)
            ]
        )

    def WriteObjects(
        self, request_iterator: Iterator[pb.WriteObjectsRequest | SmallChunk], context: grpc.ServicerContext
    ) -> Iterator[pb.WriteObjectsResponse]:
        """Store many small objects."""
        session = SmallObjectsSession(
            self.environment.registry,
            self.small_objects,
            self.callers.of(context),
            call_facts(context),
            context.is_active,
        )
        try:
            yield from write_objects(session, request_iterator, StreamEnd(self.environment.draining))
        finally:
            session.close()

    def GetUpload(self, request: pb.GetUploadRequest, context: grpc.ServicerContext) -> pb.GetUploadResponse:
        """Return an upload and a page of its parts."""
        limit = page_limit(request.page_size, limits.PAGE_PARTS_DEFAULT)
        after = page_start(request.page_token)
        upload, parts = get_upload(self.environment, self.callers.of(context), request.upload_id, after, limit + 1)
        upload, stored = self.completions.state_of(upload)
        page, next_page_token = page_of(parts, limit)
        unrecorded = (
            unrecorded_parts(self.environment, upload, after, page, is_last_page=not next_page_token)
            if request.with_unrecorded_parts
            else []
        )
        return pb.GetUploadResponse(
            upload=self._message(upload),
            parts=map(part_message, page),
            next_page_token=next_page_token,
            stored_object=None if stored is None else object_message(stored),
            unrecorded_parts=[
                pb.StorePart(part_number=part.part_number, size_bytes=part.size_bytes, store_etag=part.etag)
                for part in unrecorded
            ],
        )

    def ListUploads(self, request: pb.ListUploadsRequest, context: grpc.ServicerContext) -> pb.ListUploadsResponse:
        """Return a page of uploads."""
        wanted = UploadFilter(
            request.study_id, request.analysis_id, request.object_id, frozenset(map(upload_state, request.states))
        )
        page = PageRequest(request.page_size, self.page_tokens.open(request.page_token))
        uploads, ended = list_uploads(self.environment, self.callers.of(context), wanted, page)
        token = self.page_tokens.seal(ended)
        return pb.ListUploadsResponse(uploads=map(self._message, uploads), next_page_token=token)

    def CompleteUpload(
        self, request: pb.CompleteUploadRequest, context: grpc.ServicerContext
    ) -> pb.CompleteUploadResponse:
        """Start or attach to the completion."""
        upload, stored = self.completions.complete(self.callers.of(context), request.upload_id, call_facts(context))
        return pb.CompleteUploadResponse(
            upload=self._message(upload), stored_object=None if stored is None else object_message(stored)
        )

    def AbortUpload(self, request: pb.AbortUploadRequest, context: grpc.ServicerContext) -> pb.AbortUploadResponse:
        """Give an upload up."""
        aborted = abort_upload(self.environment, self.callers.of(context), request.upload_id)
        return pb.AbortUploadResponse(upload=self._message(aborted))

    def _message(self, upload: Upload) -> upload_pb2.Upload:
        return upload_message(upload, self.environment.upload_expiry, signs_parts=signs_parts(self.environment))
