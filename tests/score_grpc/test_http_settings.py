"""Settings of the HTTP/1.1 side, and what `song-score serve` makes of them."""

import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from score_grpc.settings import ScoreSettings
from score_grpc.url_keys import kept_url_key, parse_url_keys

SECRET = "a-secret-of-at-least-32-characters"


@pytest.mark.parametrize(
    "keys",
    ["short:secret", SECRET, f"a b:{SECRET}", f"a:{SECRET},a:{SECRET}x", f"a:{SECRET},b:{SECRET},c:{SECRET}"],
)
def test_keys_that_can_not_be_are_refused_without_being_shown(keys: str) -> None:
    with pytest.raises(ValidationError, match="give one or two keys") as raised:
        ScoreSettings.model_validate({"url_keys": keys})
    assert SECRET not in str(raised.value)


def test_two_keys_are_read_and_masked() -> None:
    settings = ScoreSettings.model_validate({"url_keys": f"new:{SECRET}, old:{SECRET}:x"})
    keys = parse_url_keys(settings.url_keys.get_secret_value())
    assert [(key.key_id, key.secret) for key in keys] == [("new", SECRET.encode()), ("old", f"{SECRET}:x".encode())]
    assert SECRET not in str(settings.masked()) + repr(keys)


@pytest.mark.parametrize("url", ["score.example.org", "ftp://a", "http://", "http://a?b", "http://u:p@a", "http://a b"])
def test_a_public_url_is_one(url: str) -> None:
    with pytest.raises(ValidationError, match="give http:// or https://"):
        ScoreSettings.model_validate({"public_http_url": url})


def test_workers_share_one_http_port() -> None:
    facts: dict[str, Any] = {"workers": 2, "database_url": "postgresql+psycopg://a@b/c", "store": "s3"}
    assert ScoreSettings.model_validate(facts | {"http_port": 8087}).http_port == 8087
    with pytest.raises(ValidationError, match="name the http_port that they share"):
        ScoreSettings.model_validate(facts | {"http_port": 0})


def test_processes_that_make_the_key_at_once_keep_one(tmp_path: Path) -> None:
    path = tmp_path / "data" / "url-key"
    script = (
        "import sys; from pathlib import Path; from score_grpc.url_keys import kept_url_key;"
        "print(kept_url_key(Path(sys.argv[1]))[0].secret.decode())"
    )
    command = [sys.executable, "-c", script, str(path)]
    made = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    secrets = {process.communicate(timeout=120)[0] for process in made}
    assert secrets == {kept_url_key(path)[0].secret.decode() + "\n"}
    assert list(path.parent.iterdir()) == [path]


def test_serve_has_the_http_of_score_on(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "song-score"), "serve", "--data-dir", str(tmp_path / "data")]
    ports = ["--song-port=0", "--score-port=0", "--song-http-port=0"]
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen([*command, *ports], stderr=log)
        try:
            deadline = time.monotonic() + 120
            pattern = r"Song's HTTP (\S+:\d+), Score's HTTP (\S+:\d+)"
            while (found := re.search(pattern, (tmp_path / "log").read_text())) is None:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            asked = {"song": "song.v1.StudyService/ListStudies", "score": "score.v1.ObjectService/ListObjects"}
            for address, method in zip(found.groups(), asked.values(), strict=True):
                body = b'{"studyId": "ABC"}' if "ListObjects" in method else b"{}"
                headers = {"Content-Type": "application/json"}
                request = urllib.request.Request(f"http://{address}/{method}", body, headers)
                with urllib.request.urlopen(request, timeout=60) as answer:
                    assert answer.status == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
