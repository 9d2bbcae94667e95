"""Score as a program without our SDK meets it: raw messages over raw stubs."""

from collections.abc import Iterable, Iterator

import grpc
from score.v1.download_service_pb2 import OpenObject, ReadObjectRequest, ReadObjectResponse, ReadRange
from score.v1.download_service_pb2_grpc import DownloadServiceStub
from score.v1.object_service_pb2_grpc import ObjectServiceStub
from score.v1.upload_service_pb2 import OpenUpload, UploadChunk, WriteUploadRequest, WriteUploadResponse
from score.v1.upload_service_pb2_grpc import UploadServiceStub
from song_score_client.errors import ServiceError, from_rpc_error
from xxhash import xxh3_64_intdigest

MIB = 1024 * 1024
CHUNK = MIB


class RawScore:
    """Stubs, and the streams as plain lists."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.uploads = UploadServiceStub(self.channel)
        self.downloads = DownloadServiceStub(self.channel)
        self.objects = ObjectServiceStub(self.channel)

    def write(self, upload_id: str, chunks: Iterable[UploadChunk]) -> list[WriteUploadResponse]:
        """Write chunks over one stream and return all answers. Raises ServiceError."""

        def requests() -> Iterator[WriteUploadRequest]:
            yield WriteUploadRequest(open=OpenUpload(upload_id=upload_id))
            for chunk in chunks:
                yield WriteUploadRequest(chunk=chunk)

        try:
            return list(self.uploads.WriteUpload(requests()))
        except grpc.RpcError as error:
            raise self.error(error) from error

    def read(
        self, object_id: str, *ranges: tuple[int, int | None], generation: int = 0, unpublished: bool = False
    ) -> list[ReadObjectResponse]:
        """Read ranges (offset, length) over one stream and return all answers. Raises ServiceError."""
        opened = OpenObject(object_id=object_id, generation=generation, allow_unpublished=unpublished)
        requests = [ReadObjectRequest(open=opened)]
        for number, (offset, size_bytes) in enumerate(ranges):
            wanted = ReadRange(read_id=number, offset=offset, size_bytes=size_bytes)
            requests.append(ReadObjectRequest(range=wanted))
        try:
            return list(self.downloads.ReadObject(iter(requests)))
        except grpc.RpcError as error:
            raise self.error(error) from error

    def error(self, error: grpc.RpcError) -> ServiceError:
        """Decode what grpc raised."""
        return from_rpc_error(error, "score", self.address)


def chunks_of(part_number: int, data: bytes, *, replace: bool = False, start: int = 0) -> Iterator[UploadChunk]:
    """Cut a part's bytes into chunks, from offset `start` on."""
    for offset in range(start, len(data), CHUNK):
        piece = data[offset : offset + CHUNK]
        yield UploadChunk(
            part_number=part_number,
            offset=offset,
            data=piece,
            xxh3_64=xxh3_64_intdigest(piece),
            replace_part=replace and offset == 0,
        )


def bytes_of(answers: Iterable[ReadObjectResponse], read_id: int = 0) -> bytes:
    """Return the bytes of one range, checking order and digests."""
    found = bytearray()
    first: int | None = None
    for answer in answers:
        if answer.WhichOneof("message") != "data" or answer.data.read_id != read_id:
            continue
        first = answer.data.offset if first is None else first
        assert answer.data.offset == first + len(found)
        assert answer.data.xxh3_64 == xxh3_64_intdigest(answer.data.data)
        found += answer.data.data
    return bytes(found)
