"""Memory of a server is bounded also with many streams at once, half of them writing, half reading.

On S3 the SDK takes 35 MiB, and a stream that writes holds more while the store is slow: there 256 MiB do for half
as many streams; all 64 have taken 295 MiB.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from score.v1.download_service_pb2 import OpenObject, ReadObjectRequest, ReadRange
from score.v1.upload_pb2 import UPLOAD_STATE_COMPLETED, UPLOAD_STATE_COMPLETING
from score.v1.upload_service_pb2 import CompleteUploadRequest, GetUploadRequest, StartUploadRequest, UploadChunk

from tests.servers import seaweedfs as seaweed
from tests.servers.processes import ServiceProcess
from tests.servers.raw_score import MIB, RawScore, chunks_of
from tests.servers.registry_song import TOKEN, RegistrySong
from tests.servers.score_world import random_bytes

STREAMS_EACH_WAY = {"local": 32, "s3": 16}
LIMIT_MIB = 256
PART = 16 * MIB
SIZE = 2 * PART


@pytest.fixture(params=["local", "s3"])
def score(request: pytest.FixtureRequest, song: RegistrySong, tmp_path: Path) -> Iterator[ServiceProcess]:
    settings: dict[str, object] = {
        "port": 0,
        "song_address": song.address,
        "service_token": TOKEN,
        "data_dir": str(tmp_path / "data"),
    }
    if request.param == "s3":
        server: seaweed.SeaweedFS = request.getfixturevalue("seaweedfs")
        settings |= {"store": "s3", "s3_bucket": seaweed.BUCKET, "s3_endpoint": server.endpoint}
        settings |= {"s3_access_key": seaweed.ACCESS_KEY_ID, "s3_secret_key": seaweed.SECRET_ACCESS_KEY}
    command = ["tests/servers/dying_score.py", "nowhere", "1", json.dumps(settings)]
    process = ServiceProcess(command, tmp_path / "score.log", {"PYTHONPATH": str(Path.cwd())})
    yield process
    process.kill()


def write(address: str, object_id: str, data: bytes, meet: Callable[[], object]) -> None:
    """Upload, after the first chunk only when all have come so far."""
    raw = RawScore(address)
    upload = raw.uploads.StartUpload(StartUploadRequest(object_id=object_id)).upload

    def chunks() -> Iterator[UploadChunk]:
        for number in range(1, upload.part_total + 1):
            for chunk in chunks_of(number, data[(number - 1) * PART : number * PART]):
                yield chunk
                if (number, chunk.offset) == (1, 0):
                    meet()

    raw.write(upload.upload_id, chunks())
    raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload.upload_id))
    while True:
        state = raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id)).upload.state
        if state != UPLOAD_STATE_COMPLETING:
            break
        time.sleep(0.2)
    assert state == UPLOAD_STATE_COMPLETED
    raw.channel.close()


def read(address: str, object_id: str, md5: str, meet: Callable[[], object]) -> None:
    """Download, after the first answer only when all have come so far."""
    raw, digest = RawScore(address), hashlib.md5()
    requests = [
        ReadObjectRequest(open=OpenObject(object_id=object_id, allow_unpublished=True)),
        ReadObjectRequest(range=ReadRange(read_id=0, offset=0)),
    ]
    for answer in raw.downloads.ReadObject(iter(requests)):
        if answer.HasField("stored_object"):
            meet()
        digest.update(answer.data.data)
    assert digest.hexdigest() == md5
    raw.channel.close()


def test_memory_is_bounded_with_many_streams(
    score: ServiceProcess, song: RegistrySong, request: pytest.FixtureRequest
) -> None:
    each_way = STREAMS_EACH_WAY[request.node.callspec.params["score"]]
    data = random_bytes(SIZE)
    md5 = hashlib.md5(data).hexdigest()
    run = score.process.pid
    ids = [f"many-{run}-{number}" for number in range(each_way + 1)]
    for object_id in ids:
        song.register(object_id, SIZE, md5)
    write(score.address, ids[0], data, lambda: None)
    before = score.peak_mib()
    barrier = threading.Barrier(2 * each_way, timeout=120)
    with ThreadPoolExecutor(2 * each_way) as pool:
        moved = [pool.submit(write, score.address, object_id, data, barrier.wait) for object_id in ids[1:]]
        moved += [pool.submit(read, score.address, ids[0], md5, barrier.wait) for _ in range(each_way)]
        for each in moved:
            each.result(300)
    print(before, score.peak_mib())
    assert score.peak_mib() < LIMIT_MIB
