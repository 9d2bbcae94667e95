"""A client as a process of its own, to be killed: uploads or downloads one file with the SDK.

Run as a program: `uploader.py up|down ADDRESS OBJECT_ID PATH STATE_DIR [bytes per second]`. Prints the result as JSON.
"""

import json
import sys
from pathlib import Path

from song_score_client.score import ScoreClient
from song_score_client.transfer.download import download_object
from song_score_client.transfer.rate import RateLimit
from song_score_client.transfer.upload import upload_file

from byte_path.allocator import tune_allocator


def main() -> None:
    direction, address, object_id, path, state_dir, *rest = sys.argv[1:]
    rate = RateLimit(float(rest[0])) if rest else None
    tune_allocator()
    with ScoreClient.open(address) as score:
        if direction == "up":
            up = upload_file(score, object_id, Path(path), state_dir=Path(state_dir), rate=rate)
            result: dict[str, object] = {"kept": up.kept_part_total, "bytes": up.sent_bytes}
        else:
            down = download_object(score, object_id, Path(path), allow_unpublished=True, rate=rate)
            result = {"kept": down.kept_part_total, "bytes": down.fetched_bytes, "md5": down.md5}
    (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    print(json.dumps({**result, "peak_mib": int(peak.split()[1]) / 1024}))


if __name__ == "__main__":
    main()
