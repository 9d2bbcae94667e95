"""Score's unary methods: uploads by id, objects, chunk manifests. Bytes move in `transfer`, over the same channels."""

from __future__ import annotations  # grpc's classes are generic in its types only

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Self

import grpc
from score.v1.download_service_pb2 import (
    GetChunkManifestRequest,
    GetChunkManifestResponse,
    SignDownloadRequest,
    SignDownloadResponse,
)
from score.v1.download_service_pb2_grpc import DownloadServiceStub
from score.v1.object_service_pb2 import (
    BatchGetObjectsRequest,
    BatchGetObjectsResponse,
    DeleteObjectRequest,
    GetObjectRequest,
    ListObjectsRequest,
    VerifyObjectRequest,
)
from score.v1.object_service_pb2_grpc import ObjectServiceStub
from score.v1.stored_object_pb2 import StoredObject
from score.v1.upload_pb2 import Upload, UploadPart
from score.v1.upload_service_pb2 import (
    AbortUploadRequest,
    CompleteUploadRequest,
    CompleteUploadResponse,
    GetUploadRequest,
    GetUploadResponse,
    ListUploadsRequest,
    PartToRecord,
    PartToSign,
    RecordedPart,
    RecordUploadPartsRequest,
    SignUploadPartsRequest,
    SignUploadPartsResponse,
    StartUploadRequest,
    StartUploadResponse,
    StorePart,
)
from score.v1.upload_service_pb2_grpc import UploadServiceStub

from song_score_client.connection import Connection
from song_score_client.errors import UnreachableError

START_DEADLINE_SECONDS = 60.0
MAX_PARTS = 10_000
MAX_BATCH = 500
MAX_SIGNED = 256
"""Parts signed or recorded by one call."""


class ScoreClient:
    """Score, blocking. Every method may be repeated, is repeated while the failure is transient, raises ServiceError.

    Results are the contract's own messages: their documentation is that of `score.v1`.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    def open(cls, address: str, token: str | None = None) -> ScoreClient:
        """Make a client of the Score at `host:port`; it connects on the first call."""
        return cls(Connection("score", address, token))

    def is_serving(self) -> bool:
        """Whether Score answers, and says that it can work. Asks once, within 5 s."""
        return self.connection.is_serving("score.v1.UploadService")

    def require_serving(self) -> None:
        """Ask whether Score can work, again as the retry policy has it. Raises UnreachableError."""
        failures = 0
        while not self.is_serving():
            failures += 1
            text = (
                f"Score at {self.connection.address} can't be reached, or can't work: is it running? `score doctor` "
                "says what is wrong"
            )
            error = UnreachableError(text, service="score", code=grpc.StatusCode.UNAVAILABLE)
            self.connection.wait_to_repeat(error, failures)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls under way fail."""
        self.connection.close()

    @property
    def channel(self) -> grpc.Channel:
        """This process' channel, for streams; they need `connection.metadata` with them."""
        return self.connection.channel

    def start_upload(
        self,
        object_id: str,
        *,
        size_bytes: int | None = None,
        expected_md5: str = "",
        part_size_hint_bytes: int = 0,
        replace: bool = False,
    ) -> StartUploadResponse:
        """Start an upload, join the live one, or find the bytes stored already.

        `replace` puts these bytes in the place of others that are stored, and of a live upload of another size.
        """
        request = StartUploadRequest(
            object_id=object_id,
            size_bytes=size_bytes,
            expected_md5=expected_md5,
            part_size_hint_bytes=part_size_hint_bytes,
            replace=replace,
        )
        return self.connection.call(self._uploads.StartUpload, request, deadline_seconds=START_DEADLINE_SECONDS)

    def get_upload(self, upload_id: str) -> GetUploadResponse:
        """Return the upload and, once it is COMPLETED, its object. For its parts see `list_upload_parts`."""
        return self.connection.call(self._uploads.GetUpload, GetUploadRequest(upload_id=upload_id, page_size=1))

    def list_upload_parts(self, upload_id: str) -> Iterator[UploadPart]:
        """Yield the persisted parts, by part number."""
        request = GetUploadRequest(upload_id=upload_id, page_size=MAX_PARTS)
        for page in self.connection.pages(self._uploads.GetUpload, request):
            yield from page.parts

    def list_unrecorded_parts(self, upload_id: str) -> Iterator[StorePart]:
        """Yield the parts that the store holds and nobody recorded: their uploader died before it could."""
        request = GetUploadRequest(upload_id=upload_id, page_size=MAX_PARTS, with_unrecorded_parts=True)
        for page in self.connection.pages(self._uploads.GetUpload, request):
            yield from page.unrecorded_parts

    def sign_upload_parts(
        self, upload_id: str, parts: Iterable[PartToSign], *, lifetime_seconds: int = 0
    ) -> SignUploadPartsResponse:
        """Return where to PUT at most MAX_SIGNED parts, and those that are persisted already.

        The URLs need no credential: treat them as secrets. 0 seconds mean the server's own lifetime.
        """
        request = SignUploadPartsRequest(upload_id=upload_id, parts=parts, lifetime_seconds=lifetime_seconds)
        return self.connection.call(self._uploads.SignUploadParts, request)

    def record_upload_parts(self, upload_id: str, parts: Iterable[PartToRecord]) -> Sequence[RecordedPart]:
        """Have at most MAX_SIGNED parts recorded that were PUT; return what became of each, in their order."""
        request = RecordUploadPartsRequest(upload_id=upload_id, parts=parts)
        return self.connection.call(self._uploads.RecordUploadParts, request).parts

    def complete_upload(self, upload_id: str) -> CompleteUploadResponse:
        """Ask for the object to become visible; answers within some 2 s, then `get_upload` tells how it goes."""
        return self.connection.call(self._uploads.CompleteUpload, CompleteUploadRequest(upload_id=upload_id))

    def abort_upload(self, upload_id: str) -> Upload:
        """Give an upload up and free what it holds."""
        return self.connection.call(self._uploads.AbortUpload, AbortUploadRequest(upload_id=upload_id)).upload

    def list_uploads(self, request: ListUploadsRequest) -> Iterator[Upload]:
        """Yield the uploads that keep the request's conditions, newest first."""
        for page in self.connection.pages(self._uploads.ListUploads, request):
            yield from page.uploads

    def get_object(self, object_id: str, *, allow_unpublished: bool = False) -> StoredObject:
        """Return one visible object."""
        request = GetObjectRequest(object_id=object_id, allow_unpublished=allow_unpublished)
        return self.connection.call(self._objects.GetObject, request).stored_object

    def batch_get_objects(
        self, object_ids: Iterable[str], *, allow_unpublished: bool = False
    ) -> BatchGetObjectsResponse:
        """Return the objects in the order asked, and the ids that hold none. Any number: asks in batches of 500."""
        everything = BatchGetObjectsResponse()
        for batch in _batches(object_ids):
            request = BatchGetObjectsRequest(object_ids=batch, allow_unpublished=allow_unpublished)
            everything.MergeFrom(self.connection.call(self._objects.BatchGetObjects, request))
        return everything

    def list_objects(self, request: ListObjectsRequest) -> Iterator[StoredObject]:
        """Yield the objects that keep the request's conditions and that the caller may read, newest first."""
        for page in self.connection.pages(self._objects.ListObjects, request):
            yield from page.stored_objects

    def verify_object(self, object_id: str) -> StoredObject:
        """Have Score read all bytes of an object again, or attach; `get_object` tells how it goes."""
        request = VerifyObjectRequest(object_id=object_id)
        return self.connection.call(self._objects.VerifyObject, request).stored_object

    def delete_object(self, object_id: str, reason: str, *, generation: int = 0) -> StoredObject:
        """Delete an object for good and return what it was. Repeated, it raises ObjectNotFoundError.

        With a `generation` that one, or GenerationChangedError. Without, the call is not repeated where no answer
        comes, for that might delete what somebody has put there meanwhile: UnreachableError or DeadlineExceededError
        leave open whether it was deleted.
        """
        request = DeleteObjectRequest(object_id=object_id, reason=reason, generation=generation)
        answer = self.connection.call(self._objects.DeleteObject, request, may_repeat_unanswered=bool(generation))
        return answer.stored_object

    def sign_download(self, request: SignDownloadRequest) -> SignDownloadResponse:
        """Return URLs that need no credential, for the object or ranges of it; treat them as secrets."""
        return self.connection.call(self._downloads.SignDownload, request)

    def get_chunk_manifest(
        self, object_id: str, *, generation: int = 0, allow_unpublished: bool = False
    ) -> GetChunkManifestResponse:
        """Return the object and all its parts, those of one generation: 0 means the current one."""
        request = GetChunkManifestRequest(
            object_id=object_id, generation=generation, allow_unpublished=allow_unpublished, page_size=MAX_PARTS
        )
        manifest = GetChunkManifestResponse()
        for page in self.connection.pages(self._downloads.GetChunkManifest, request):
            manifest.stored_object.CopyFrom(page.stored_object)
            manifest.parts.extend(page.parts)
            # Later pages must not be of bytes that came to replace these.
            request.generation = page.stored_object.generation
        return manifest

    @property
    def _uploads(self) -> UploadServiceStub:
        return UploadServiceStub(self.channel)

    @property
    def _objects(self) -> ObjectServiceStub:
        return ObjectServiceStub(self.channel)

    @property
    def _downloads(self) -> DownloadServiceStub:
        return DownloadServiceStub(self.channel)


def _batches(object_ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(object_ids)
    while batch := list(islice(rest, MAX_BATCH)):
        yield batch
