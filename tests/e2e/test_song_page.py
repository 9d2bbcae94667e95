"""docs/song.md, run as it stands."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.servers.processes import ServiceProcess

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    script = "".join(BLOCK.findall((ROOT / "docs" / "song.md").read_text()))
    settings = {"SONG_SERVER_PORT": "0", "SONG_SERVER_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    song = ServiceProcess(["-m", "song_grpc"], tmp_path / "log", settings)
    try:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "SONG_URL": song.address, "XDG_CONFIG_HOME": str(tmp_path)}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    finally:
        song.terminate()
    assert done.stderr == ""
    assert "some analyses would be refused" in done.stdout
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"eventId"')]
    assert [event["action"] for event in events] == ["CREATE"] * 4 + ["UPDATE"] * 3 + ["SUPPRESS"]
    assert len(list((tmp_path / "exported" / "TOUR").glob("*.json"))) == 4
