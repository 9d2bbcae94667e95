"""A server killed while parts go by signed URLs of the store: none is PUT twice, and the object is right."""

import hashlib
import json
import os
import random
import time
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from score.v1.stored_object_pb2 import StoredObject
from score.v1.upload_pb2 import UPLOAD_STATE_OPEN
from score.v1.upload_service_pb2 import (
    CompleteUploadRequest,
    GetUploadRequest,
    PartToRecord,
    PartToSign,
    RecordUploadPartsRequest,
    SignUploadPartsRequest,
    StartUploadRequest,
)

from tests.servers.dying_score import SIGNED_PLACES
from tests.servers.processes import ServiceProcess, free_port
from tests.servers.raw_score import MIB, RawScore, bytes_of
from tests.servers.registry_song import TOKEN, RegistrySong
from tests.servers.seaweedfs import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, SeaweedFS

PART = 5 * MIB
DATA = random.Random(7).randbytes(3 * PART + MIB + 17)
NUMBERS = [1, 2, 3, 4]
DYING_SCORE = "tests/servers/dying_score.py"
SHORTER = {"LEASE_SECONDS": 2, "SWEEP_PERIOD_SECONDS": 0.2}
"""So that a completion is taken up again soon."""
END_SECONDS = 120


class Uploader:
    """A client with nothing but the contract and HTTP, which looks where things stand after each error."""

    def __init__(self, folder: Path, settings: dict[str, object], failpoint: str) -> None:
        self.object_id = str(uuid.uuid4())
        self.puts: list[int] = []
        self.deaths = 0
        self._folder, self._settings, self._failpoint = folder, settings, failpoint
        self._start()

    def upload(self) -> StoredObject:
        """Go on until the object is stored."""
        end = time.monotonic() + END_SECONDS
        while time.monotonic() < end:
            try:
                if stored := self._step():
                    return stored
            except grpc.RpcError as error:
                is_late = self.raw.error(error).reason == "UPLOAD_NOT_OPEN"
                if error.code() is not grpc.StatusCode.UNAVAILABLE and not is_late:
                    raise
                if not self.process.is_running():
                    self.deaths += 1
                    self.raw.channel.close()
                    self._start()
        raise AssertionError("the upload does not come to its end")

    def close(self) -> None:
        self.raw.channel.close()
        self.process.kill()

    def _start(self) -> None:
        failpoint = "nowhere" if self.deaths else self._failpoint
        arguments = [DYING_SCORE, failpoint, "1", json.dumps(self._settings), json.dumps(SHORTER)]
        paths = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
        self.process = ServiceProcess(arguments, self._folder / "score.log", {"PYTHONPATH": paths})
        self.raw = RawScore(self.process.address)

    def _step(self) -> StoredObject | None:
        uploads = self.raw.uploads
        started = uploads.StartUpload(StartUploadRequest(object_id=self.object_id, part_size_hint_bytes=PART))
        if started.HasField("stored_object"):
            return started.stored_object
        if started.upload.state != UPLOAD_STATE_OPEN:
            time.sleep(0.1)
            return None
        upload_id = started.upload.upload_id
        seen = uploads.GetUpload(GetUploadRequest(upload_id=upload_id, with_unrecorded_parts=True))
        self._record(upload_id, [(part.part_number, part.store_etag) for part in seen.unrecorded_parts])
        held = {part.part_number for part in seen.parts} | {part.part_number for part in seen.unrecorded_parts}
        missing = [number for number in NUMBERS if number not in held]
        if missing:
            parts = [PartToSign(part_number=number, md5=md5_of(number)) for number in missing]
            signed = uploads.SignUploadParts(SignUploadPartsRequest(upload_id=upload_id, parts=parts)).signed_parts
            etags = []
            for part in signed:
                headers = {header.name: header.value for header in part.request.headers}
                body = part_of(part.part_number)
                put = urllib.request.Request(part.request.url, body, headers, method=part.request.method)
                with urllib.request.urlopen(put, timeout=60) as answer:
                    etags.append((part.part_number, answer.headers["ETag"]))
                self.puts.append(part.part_number)
            self._record(upload_id, etags)
        completed = uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload_id))
        return completed.stored_object if completed.HasField("stored_object") else None

    def _record(self, upload_id: str, etags: Sequence[tuple[int, str]]) -> None:
        if etags:
            parts = [PartToRecord(part_number=number, md5=md5_of(number), store_etag=etag) for number, etag in etags]
            answer = self.raw.uploads.RecordUploadParts(RecordUploadPartsRequest(upload_id=upload_id, parts=parts))
            assert all(part.HasField("part") for part in answer.parts), answer


def part_of(number: int) -> bytes:
    return DATA[(number - 1) * PART : number * PART]


def md5_of(number: int) -> str:
    return hashlib.md5(part_of(number)).hexdigest()


@pytest.mark.parametrize("failpoint", SIGNED_PLACES)
def test_a_server_killed_between_signed_parts_loses_none(
    tmp_path: Path, song: RegistrySong, seaweedfs: SeaweedFS, failpoint: str
) -> None:
    settings: dict[str, object] = {
        "port": free_port(),
        "song_address": song.address,
        "service_token": TOKEN,
        "data_dir": str(tmp_path / "data"),
        "store": "s3",
        "s3_bucket": BUCKET,
        "s3_endpoint": seaweedfs.endpoint,
        "s3_access_key": ACCESS_KEY_ID,
        "s3_secret_key": SECRET_ACCESS_KEY,
    }
    client = Uploader(tmp_path, settings, failpoint)
    try:
        song.register(client.object_id, len(DATA), hashlib.md5(DATA).hexdigest())
        stored = client.upload()
        assert client.deaths == 1
        assert stored.md5 == hashlib.md5(DATA).hexdigest()
        assert sorted(client.puts) == NUMBERS
        assert bytes_of(client.raw.read(client.object_id, (0, None), unpublished=True)) == DATA
    finally:
        client.close()
