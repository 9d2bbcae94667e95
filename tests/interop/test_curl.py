"""docs/curl.md, run as it stands."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.http1_proxy import HttpOneProxy
from tests.servers.score_world import World, random_bytes

PAGE = Path(__file__).parents[2] / "docs" / "curl.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SIZE = 2 * 16 * 1024 * 1024 + 77


@pytest.mark.parametrize("store_settings", ["local", "s3"], indirect=True)
def test_the_page_moves_a_file_through_a_proxy_that_knows_no_http2(
    open_world: Callable[..., World], store_settings: dict[str, object], tmp_path: Path
) -> None:
    world = open_world(http_port=0, **store_settings)
    file = tmp_path / "local.bam"
    file.write_bytes(world.register("object-1", random_bytes(SIZE)))
    script = "set -eu\n" + "".join(BLOCK.findall(PAGE.read_text()))
    with HttpOneProxy(world.score.http_address) as proxy:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ | {"score": proxy.url, "object_id": "object-1", "file": str(file)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.stdout.splitlines() == [
        "part 1 is persisted, 16777216 bytes",
        "part 2 is persisted, 16777216 bytes",
        "part 3 is persisted, 77 bytes",
        "UPLOAD_STATE_COMPLETED",
        "the same bytes",
        '["not_found","OBJECT_NOT_REGISTERED"]',
    ], done.stderr
    assert done.returncode == 0
