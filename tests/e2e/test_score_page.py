"""docs/score.md, run as it stands."""

import hashlib
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
    script = "".join(BLOCK.findall((ROOT / "docs" / "score.md").read_text()))
    arguments = ["-m", "song_score", "serve", "--song-port=0", "--score-port=0", f"--data-dir={tmp_path / 'data'}"]
    both = ServiceProcess(arguments, tmp_path / "log", {"PYTHONPATH": str(ROOT)})
    folder = tmp_path / "empty"
    folder.mkdir()
    try:
        song, score = both.address.replace(",", "").split()[1:4:2]
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "SONG_URL": song,
            "SCORE_URL": score,
            "XDG_CONFIG_HOME": str(tmp_path),
            "XDG_STATE_HOME": str(tmp_path / "state"),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    finally:
        both.terminate()
    for told in ["one part differs", "mended", "the pipe broke off"]:
        assert f"\n{told}\n" in done.stdout
    assert "is PUBLISHED already" in done.stderr
    assert "already stored, MD5" in done.stderr
    calls = (folder / "run" / "calls.vcf").read_bytes()
    assert hashlib.md5(calls).hexdigest() in done.stdout
    assert (folder / "first-100-bytes").read_bytes() == calls[:100]
    assert sorted(path.name for path in (folder / "with-index").iterdir()) == ["calls.vcf", "calls.vcf.tbi"]
    assert [path.name for path in (folder / "alone").iterdir()] == ["calls.vcf"]
    assert (folder / "pieces" / "notes.txt.range-1000-500").stat().st_size == 500
    findings = json.loads(done.stdout[done.stdout.rindex('[\n  {\n    "check"') :].split("\n]\n")[0] + "]")
    assert {finding["verdict"] for finding in findings} <= {"ok", "warning", "skipped"}
