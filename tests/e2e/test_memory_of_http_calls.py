"""Memory of a server is bounded also with as many calls over HTTP/1.1 as it takes, each as large as may be."""

import gzip
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime_grpc.http_side import HTTP_WORKERS
from score_grpc.domain import limits
from tests.servers.processes import ServiceProcess
from tests.servers.registry_song import TOKEN, RegistrySong

LIMIT_MIB = 256
MOST = limits.HTTP_MESSAGE_MAX_BYTES
ROUNDS = 6
SIGN, FIND = "/score.v1.UploadService/SignUploadParts", "/score.v1.ObjectService/BatchGetObjects"


@pytest.fixture
def score(song: RegistrySong, tmp_path: Path) -> Iterator[ServiceProcess]:
    facts = {"PORT": "0", "HTTP_PORT": "0", "SONG_ADDRESS": song.address, "SERVICE_TOKEN": TOKEN}
    facts["DATA_DIR"] = str(tmp_path / "data")
    settings = {f"SCORE_SERVER_{name}": value for name, value in facts.items()}
    process = ServiceProcess(["-m", "score_grpc"], tmp_path / "score.log", settings)
    yield process
    process.kill()


def filled(begin: bytes, each: bytes, end: bytes) -> bytes:
    """Return JSON with as much of `each` as fits, which ends with a comma."""
    return begin + (each * ((MOST - len(begin + end)) // len(each)))[:-1] + end


BODIES = {
    "one text": (SIGN, "application/json", "identity", b'{"uploadId":"' + b"x" * (MOST - 100) + b'"}'),
    "empty objects": (SIGN, "application/json", "identity", filled(b'{"uploadId":"a","parts":[', b"{},", b"]}")),
    "packed": (SIGN, "application/json", "gzip", gzip.compress(filled(b'{"parts":[', b"{},", b"]}"))),
    "short texts": (FIND, "application/json", "identity", filled(b'{"objectIds":[', b'"a",', b"]}")),
    "empty messages": (SIGN, "application/proto", "identity", b"\x12\x00" * (MOST // 2)),
    "empty texts": (FIND, "application/proto", "identity", b"\x0a\x00" * (MOST // 2)),
}


@pytest.mark.parametrize("kind", BODIES)
def test_memory_is_bounded_with_many_large_messages(score: ServiceProcess, tmp_path: Path, kind: str) -> None:
    path, content_type, encoding, body = BODIES[kind]
    assert len(body) <= MOST
    (listening,) = [line for line in (tmp_path / "score.log").read_text().splitlines() if '"listening"' in line]
    address = json.loads(listening)["http_address"]

    def ask(_: int) -> int:
        connection = http.client.HTTPConnection(address, timeout=120)
        connection.request("POST", path, body, {"Content-Type": content_type, "Content-Encoding": encoding})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    before = score.peak_mib()
    with ThreadPoolExecutor(HTTP_WORKERS) as pool:
        statuses = list(pool.map(ask, range(ROUNDS * HTTP_WORKERS)))
    print(before, score.peak_mib())
    assert set(statuses) <= {400, 404, 503}
    assert set(statuses) != {503}
    assert score.peak_mib() < LIMIT_MIB
