"""A server with every stream taken by small objects keeps within its memory."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from score.v1.download_service_pb2 import ReadObjectsRequest
from score.v1.upload_service_pb2 import (
    AnnounceObjects,
    FinishSmallObject,
    OpenSmallObject,
    SmallObjectChunk,
    WriteObjectsRequest,
)

from tests.servers.processes import ServiceProcess
from tests.servers.raw_score import MIB, RawScore
from tests.servers.registry_song import TOKEN, RegistrySong

STREAMS = 64
OBJECTS = 5
LIMIT_MIB = 256
BASE = os.urandom(MIB - 8)


def content(stream: int, number: int) -> bytes:
    return (stream * OBJECTS + number).to_bytes(8) + BASE


def object_ids(stream: int) -> list[str]:
    return [f"object-{stream}-{number}" for number in range(OBJECTS)]


def test_all_streams_at_once_with_the_largest_objects_that_are_held(tmp_path: Path, song: RegistrySong) -> None:
    for stream in range(STREAMS):
        for number, object_id in enumerate(object_ids(stream)):
            song.register(object_id, MIB, hashlib.md5(content(stream, number)).hexdigest())
    settings = {"PORT": "0", "DATA_DIR": str(tmp_path), "SONG_ADDRESS": song.address, "SERVICE_TOKEN": TOKEN}
    environment = {f"SCORE_SERVER_{name}": value for name, value in settings.items()}
    server = ServiceProcess(["-m", "score_grpc"], tmp_path / "log", environment)

    def write(stream: int) -> int:
        raw = RawScore(server.address)
        stored = sum(answer.HasField("stored_object") for answer in raw.uploads.WriteObjects(_messages(stream)))
        raw.channel.close()
        return stored

    def read(stream: int) -> int:
        raw = RawScore(server.address)
        request = ReadObjectsRequest(object_ids=object_ids(stream), allow_unpublished=True)
        whole = sum(answer.HasField("end") for answer in raw.downloads.ReadObjects(request))
        raw.channel.close()
        return whole

    try:
        with ThreadPoolExecutor(STREAMS) as pool:
            assert sum(pool.map(write, range(STREAMS))) == STREAMS * OBJECTS
            assert server.peak_mib() <= LIMIT_MIB
            assert sum(pool.map(read, range(STREAMS))) == STREAMS * OBJECTS
            assert server.peak_mib() <= LIMIT_MIB
    finally:
        server.terminate()


def _messages(stream: int) -> Iterator[WriteObjectsRequest]:
    yield WriteObjectsRequest(announce=AnnounceObjects(object_ids=object_ids(stream)))
    for number, object_id in enumerate(object_ids(stream)):
        yield WriteObjectsRequest(open=OpenSmallObject(object_id=object_id, size_bytes=MIB))
        yield WriteObjectsRequest(chunk=SmallObjectChunk(data=content(stream, number)))
        yield WriteObjectsRequest(finish=FinishSmallObject())
