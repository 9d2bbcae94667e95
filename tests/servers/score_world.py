"""A Score over real gRPC, on each store, with a Song that knows what a test registers."""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from score.v1.upload_pb2 import UPLOAD_STATE_COMPLETING, Upload
from score.v1.upload_service_pb2 import (
    CompleteUploadRequest,
    CompleteUploadResponse,
    GetUploadRequest,
    StartUploadRequest,
)

from score_grpc.__main__ import Score, start_score
from score_grpc.settings import ScoreSettings
from tests.servers import azurite, seaweedfs
from tests.servers.postgresql import new_database
from tests.servers.raw_score import MIB, RawScore, chunks_of
from tests.servers.registry_song import TOKEN, RegistrySong

PART = 5 * MIB


@dataclass
class World:
    """A running Score and what belongs to it."""

    song: RegistrySong
    score: Score
    raw: RawScore
    settings: ScoreSettings

    def register(self, object_id: str, data: bytes, **facts: object) -> bytes:
        """Register a file with these bytes."""
        self.song.register(object_id, len(data), hashlib.md5(data).hexdigest(), **facts)  # type: ignore[arg-type]  # facts of register
        return data

    def start(self, object_id: str) -> Upload:
        """Start an upload in parts of 5 MiB."""
        return self.raw.uploads.StartUpload(StartUploadRequest(object_id=object_id, part_size_hint_bytes=PART)).upload

    def send(self, upload: Upload, data: bytes, *part_numbers: int, replace: bool = False) -> None:
        """Send parts, all unless told otherwise."""
        for number in part_numbers or range(1, upload.part_total + 1):
            part = data[(number - 1) * PART : number * PART]
            answers = self.raw.write(upload.upload_id, chunks_of(number, part, replace=replace))
            assert [answer.ack.part.part_number for answer in answers] == [number]

    def complete(self, upload: Upload) -> CompleteUploadResponse:
        """Complete, and wait until it has an end."""
        answer = self.raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload.upload_id))
        while answer.upload.state == UPLOAD_STATE_COMPLETING:
            seen = self.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id))
            answer = CompleteUploadResponse(upload=seen.upload, stored_object=seen.stored_object)
        return answer

    def store(self, object_id: str, data: bytes, **facts: object) -> Upload:
        """Register, upload and complete."""
        self.register(object_id, data, **facts)
        upload = self.start(object_id)
        self.send(upload, data)
        assert self.complete(upload).stored_object.size_bytes == len(data)
        return upload


def random_bytes(size: int, seed: int = 1) -> bytes:
    """Bytes that differ at every offset, the same ones for the same seed."""
    return random.Random(seed).randbytes(size)


@pytest.fixture
def song() -> Iterator[RegistrySong]:
    song = RegistrySong()  # type: ignore[abstract] # the rest is not asked for
    yield song
    song.stop()


@pytest.fixture(params=["local", "local, postgresql", "s3", "azure"])
def store_settings(request: pytest.FixtureRequest) -> dict[str, object]:
    """Settings of each store, and of each database."""
    if request.param == "local":
        return {"store": "local"}
    if request.param == "local, postgresql":
        return {"store": "local", "database_url": new_database(request)}
    if request.param == "azure":
        emulator: azurite.Azurite = request.getfixturevalue("azurite")
        return azurite.settings(emulator)
    server: seaweedfs.SeaweedFS = request.getfixturevalue("seaweedfs")
    return {
        "store": "s3",
        "s3_bucket": seaweedfs.BUCKET,
        "s3_endpoint": server.endpoint,
        "s3_region": seaweedfs.REGION,
        "s3_access_key": seaweedfs.ACCESS_KEY_ID,
        "s3_secret_key": seaweedfs.SECRET_ACCESS_KEY,
    }


@pytest.fixture
def open_world(song: RegistrySong, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Open worlds with other settings; all are closed at the end."""
    opened: list[World] = []

    def open_one(**changes: object) -> World:
        values = {"port": 0, "song_address": song.address, "service_token": TOKEN, "data_dir": tmp_path / "score"}
        settings = ScoreSettings.model_validate(values | {"drain_seconds": 0.5} | changes)
        score = start_score(settings)
        opened.append(World(song, score, RawScore(score.address), settings))
        return opened[-1]

    yield open_one
    for world in opened:
        world.raw.channel.close()
        world.score.stop()


@pytest.fixture
def world(open_world: Callable[..., World]) -> World:
    """A Score on the local store."""
    return open_world()


@pytest.fixture
def any_world(open_world: Callable[..., World], store_settings: dict[str, object]) -> World:
    """A Score on each store."""
    return open_world(**store_settings)
