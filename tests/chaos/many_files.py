"""Many files, most of them small, go up and down by one command that is run until it is done."""

import hashlib
import json
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED

from tests.chaos.drawn import PART
from tests.chaos.place import Place
from tests.chaos.proxy import Direction
from tests.chaos.scenario import ATTEMPTS, HEALED_AFTER

SMALL_FILES = 60
SMALL_BYTES = 60_000
LARGER_BYTES = (1024 * 1024 + 1, PART + 17)
"""Of files that go by themselves."""
OVERHEAD_BYTES = 4096
"""What a file needs besides its bytes: calls and answers, headers, URLs."""
COMMAND_SECONDS = 180
"""No command may take longer, whatever happens."""


class ManyFiles:
    """A scenario, run once."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._out = place.folder / "out"
        self._files: dict[str, bytes] = {}
        """By object id."""
        self._ids: dict[str, str] = {}
        """Object ids by file names."""

    def run(self) -> None:
        """Upload and download; raises AssertionError where something does not hold."""
        place = self._place
        manifest = self._make_files()
        with place:
            self._repeat("up", ["upload", "--manifest", str(manifest)])
            there = place.servers.objects(list(self._files))
            assert {name: stored.md5 for name, stored in there.items()} == {
                name: hashlib.md5(data).hexdigest() for name, data in self._files.items()
            }
            assert all(stored.verification == VERIFICATION_VERIFIED for stored in there.values())
            self._repeat(
                "down", ["download", "--manifest", str(manifest), "--unpublished", "--output-dir", str(self._out)]
            )
            found = {path.name: path.read_bytes() for path in self._out.iterdir()}
            assert found == {name: self._files[object_id] for name, object_id in self._ids.items()}

    def _make_files(self) -> Path:
        place, draw = self._place, self._place.draw
        folder = place.folder / "files"
        folder.mkdir()
        sizes = [draw.randrange(SMALL_BYTES) for _ in range(SMALL_FILES)]
        lines = ["an-analysis\t\t"]
        for number, size_bytes in enumerate([*sizes, *LARGER_BYTES]):
            object_id, name, data = f"{place.name}-{number}", f"reads{number}.bai", draw.randbytes(size_bytes)
            self._files[object_id], self._ids[name] = data, object_id
            md5 = hashlib.md5(data).hexdigest()
            place.around.song.register(object_id, size_bytes, md5, file_name=name)
            (folder / name).write_bytes(data)
            lines.append(f"{object_id}\t{folder / name}\t{md5}")
        manifest = place.folder / "manifest.txt"
        manifest.write_text("\n".join(lines))
        return manifest

    def _repeat(self, direction: Direction, arguments: list[str]) -> None:
        """Run the command until it is done."""
        place, done = self._place, set[str]()
        place.plan(direction, self._bytes_of(self._files))
        for attempt in range(ATTEMPTS):
            if attempt == HEALED_AFTER:
                place.heal()
            done = self._done(direction, done)
            before, faults = place.line.count(direction), self._breaks()
            code, events = self._run_command(arguments)
            again = [event["file"] for event in events if event["object_id"] in done and event.get("moved_bytes")]
            if not place.flipped:
                assert not again, "what was done before went again"
            if not (place.flipped or place.store_hurt):
                # What was not done may go again after each fault.
                rest = self._files.keys() - done
                most = self._bytes_of(rest) * 1.05 + len(rest) * OVERHEAD_BYTES
                most = most * (1 + self._breaks() - faults) + len(self._files) * OVERHEAD_BYTES
                assert place.line.count(direction) - before <= most
            if code == 0:
                place.count_moved(direction, self._bytes_of(self._files))
                return
        raise AssertionError(f"the command is not done after {ATTEMPTS} times: {events} {place.servers.log()}")

    def _run_command(self, arguments: list[str]) -> tuple[int, list[dict[str, Any]]]:
        """Run it once; return its exit code and what it said of each file's end."""
        place = self._place
        transport = place.drawn.transport(place.draw)
        place.figures.attempts[transport.value] += 1
        program = [sys.executable, "-c", "from song_score_client.commands.score import main; main()", "--json"]
        environment = {
            "SCORE_URL": place.address,
            "SCORE_HTTP": place.http_url,
            "SCORE_TRANSPORT": transport,
            "XDG_CONFIG_HOME": str(place.folder / "config"),
            "XDG_STATE_HOME": str(place.folder / "state"),
        }
        limited = ["--max-rate", str(round(place.client_rate(self._bytes_of(self._files))))]
        ended = place.clients.run([*program, *arguments, *limited], environment, COMMAND_SECONDS)
        lines = [line for line in ended.stdout.splitlines() if line.endswith("}")]  # the last one may be torn
        said = [json.loads(line) for line in lines]
        events = [event for event in said if event["event"] in {"done", "failed"}]
        failed = [event for event in events if event["event"] == "failed"]
        for event in failed:
            is_error = event["reason"].endswith("Error")  # its class, where there is no reason
            place.check_error("" if is_error else event["reason"], event["reason"], event["message"])
        if ended.returncode not in {0, -signal.SIGKILL}:
            assert failed or "error" in ended.stdout + ended.stderr, f"no clear error: {ended}"
            assert "Traceback" not in ended.stderr, ended.stderr
        return ended.returncode, events

    def _done(self, direction: Direction, before: set[str]) -> set[str]:
        """Return which objects need not be moved again; once done is done for good."""
        if direction == "up":
            done = set(self._place.servers.objects(list(self._files)))
        else:
            named = list(self._out.iterdir()) if self._out.exists() else []
            done = {self._ids[path.name] for path in named if path.name in self._ids}
            if not self._place.flipped:
                whole = [
                    path.read_bytes() == self._files[self._ids[path.name]] for path in named if path.name in self._ids
                ]
                assert all(whole), "a file has its name and is not whole"
        assert done >= before, "what was done is gone"
        return done

    def _breaks(self) -> int:
        """Return how often anything broke that streams depend on."""
        return self._place.client_faults + self._place.servers.deaths

    def _bytes_of(self, object_ids: Collection[str]) -> int:
        return sum(len(self._files[object_id]) for object_id in object_ids)
