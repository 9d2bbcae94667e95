"""One file goes up and down again while things fail, perhaps in the place of another one. All is drawn from a seed."""

import hashlib
import json
import re
import signal
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_store
from tests.chaos.client import Order
from tests.chaos.drawn import PART, SIZES
from tests.chaos.place import Place
from tests.chaos.proxy import Direction
from tests.servers.raw_score import MIB

ATTEMPTS = 25
"""How often a client is run, at most, until it has to be done."""
HEALED_AFTER = 8
"""Attempts after which nothing more is broken."""
CLIENT_SECONDS = 90
"""No client may take longer, whatever happens: both sides come to rest."""


class OneFile:
    """A scenario, run once."""

    def __init__(self, place: Place) -> None:
        self._place, self._folder = place, place.folder
        self._data, self._md5, self._generation = b"", "", 0
        self._former_md5 = ""
        """Of the generation before."""
        self._file, self._target = self._folder / "reads.bam", self._folder / "downloaded.bam"
        self._notes = self._folder / "notes"
        self._persisted: dict[int, str] = {}
        self._upload_id = ""
        self._broken_clients = 0
        """Killed, or ended with an error."""
        self._unkept_bytes = 0

    def run(self) -> None:
        """Upload and download; raises AssertionError where something does not hold."""
        place = self._place
        with place:
            self._put()
            if place.drawn.shape == "replacement":
                self._get_some()
                self._put()
            self._get()
        self._check_store()

    # What is done

    def _put(self) -> None:
        """Upload other bytes than before."""
        place = self._place
        self._former_md5, self._generation = self._md5, self._generation + 1
        is_empty = self._generation > 1 and not self._data
        self._data = place.draw.randbytes(place.draw.choice(SIZES[1:] if is_empty else SIZES))
        self._md5 = hashlib.md5(self._data).hexdigest()
        self._file.write_bytes(self._data)
        place.around.song.register(place.name, len(self._data), self._md5)
        self._persisted = {}
        self._upload_id = place.servers.start_upload(place.name, replace=self._generation > 1).upload_id
        place.plan("up", len(self._data))
        self._repeat("up", self._file)
        self._check_transfer("up")

    def _get_some(self) -> None:
        """Download until the client is killed, to leave a part of a generation that will be replaced."""
        self._place.plan("down", len(self._data))
        self._run_client("down", self._target)
        self._place.heal()
        self._notes.unlink(missing_ok=True)
        self._target.unlink(missing_ok=True)
        self._place.count_moved("down", self._place.line.count("down"))

    def _get(self) -> None:
        self._place.plan("down", len(self._data))
        self._repeat("down", self._target)
        found = hashlib.md5(self._target.read_bytes()).hexdigest()
        assert found == self._md5, "the downloaded file is not the right one"
        self._check_transfer("down")
        left = [path.name for path in self._folder.iterdir() if "downloaded.bam" in path.name]
        assert left == [self._target.name], "the client left something behind"

    def _repeat(self, direction: Direction, path: Path) -> None:
        """Run the client until it is done, as its user would: the same command again."""
        for attempt in range(ATTEMPTS):
            if attempt == HEALED_AFTER:
                self._place.heal()
            self._check_visible()
            kept_bytes = self._persisted_bytes() if direction == "up" else self._journaled_bytes()
            verified_bytes = self._noted("verified")
            ended = self._run_client(direction, path)
            verified_bytes = self._noted("verified") - verified_bytes
            if not self._place.flipped:
                assert verified_bytes <= len(self._data) - kept_bytes, "what was kept went again"
            if direction == "down":
                # Verified in memory, and not yet synced to the disk: that is not kept by a client that is killed.
                self._unkept_bytes += max(kept_bytes + verified_bytes - self._journaled_bytes(), 0)
            if ended.returncode == 0:
                assert json.loads(ended.stdout)["md5"] == self._md5
                return
            self._broken_clients += 1
        raise AssertionError(f"the {direction} client is not done after {ATTEMPTS} times: {ended} {self._tail()}")

    def _run_client(self, direction: Direction, path: Path) -> subprocess.CompletedProcess[str]:
        """Run it once; if it ends with an error, it is a clear one."""
        place = self._place
        transport = place.drawn.transport(place.draw)
        place.figures.attempts[transport.value] += 1
        order = Order(
            direction=direction,
            address=place.address,
            http_url=place.http_url,
            transport=transport,
            object_id=place.name,
            path=str(path),
            state_dir=str(self._folder / "state"),
            notes=str(self._notes),
            streams=place.drawn.streams,
            bytes_per_second=place.client_rate(len(self._data)),
            replace=self._generation > 1,
        )
        ended = place.clients.run(order.command(), {}, CLIENT_SECONDS)
        if ended.returncode not in {0, -signal.SIGKILL}:
            assert ended.stdout, f"no clear error: {ended.stderr}"
            error = json.loads(ended.stdout)
            place.check_error(error["reason"], error["error"], error["message"])
        return ended

    # What must hold

    def _check_visible(self) -> None:
        """One generation or the other is visible, whole."""
        stored = self._place.servers.objects([self._place.name]).get(self._place.name)
        if stored is None:
            assert not self._former_md5, "the former generation is gone"
            return
        wanted = {self._generation: self._md5, self._generation - 1: self._former_md5}
        assert wanted.get(stored.generation) == stored.md5, stored

    def _noted(self, kind: str) -> int:
        """Return the bytes that the clients of this direction noted as such."""
        return sum(int(line.split()[1]) for line in self._note_lines() if line.startswith(kind))

    def _note_lines(self) -> list[str]:
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    def _journaled_bytes(self) -> int:
        """Return the bytes of the parts that the download's journal has, all of them once it is done."""
        journal = self._folder / f".{self._target.name}.score"
        if not journal.exists():
            return len(self._data) if self._target.exists() else 0
        text = journal.read_text()
        if f'"generation": {self._generation},' not in text.partition("\n")[0]:
            return 0  # parts of other bytes
        return self._bytes_of({int(found) for found in re.findall(r'"part": (\d+), "xxh3_128": "\w+".*}\n', text)})

    def _persisted_bytes(self) -> int:
        """Return the bytes of the persisted parts; what was persisted still is, with the same digests."""
        now = {part.part_number: part.xxh3_128 for part in self._place.servers.parts(self._upload_id)}
        if not self._place.flipped:
            # A part that went to a signed URL of the store has no such digest before it is read again.
            known = {number: digest if self._persisted.get(number) else "" for number, digest in now.items()}
            assert self._persisted.items() <= known.items(), "persisted parts are gone"
        self._persisted = now
        return self._bytes_of(now.keys())

    def _bytes_of(self, part_numbers: Iterable[int]) -> int:
        return sum(min(PART, len(self._data) - (number - 1) * PART) for number in part_numbers)

    def _check_transfer(self, direction: Direction) -> None:
        """No acknowledged part went twice, and of the others no more than what was under way at each fault."""
        place, streams = self._place, self._place.drawn.streams
        broken = sum(line.startswith("broken") for line in self._note_lines())
        if not place.flipped:
            assert self._noted("verified") <= len(self._data) + self._unkept_bytes, "what was kept went again"
            assert not self._noted("withdrawn"), "what was kept was lost"
            if not place.store_hurt:  # then the server asks for parts again by itself
                # Each stream notes its own end, and the end of a client is that of all its streams.
                ends = broken + (self._broken_clients + 1) * streams + place.line.refused_urls
                most = len(self._data) * 1.02 + ends * (2 * PART + 2 * MIB) + self._unkept_bytes
                assert place.line.count(direction) <= most
        self._notes.unlink(missing_ok=True)
        self._broken_clients = self._unkept_bytes = 0
        place.count_moved(direction, len(self._data))

    def _check_store(self) -> None:
        """One object, and no staging but what deaths and lost answers of the store left, for the collector."""
        place = self._place
        endpoint = {"s3_endpoint": f"http://127.0.0.1:{place.around.s3_port}", "s3_public_endpoint": ""}
        is_on_s3 = place.drawn.is_on_s3
        settings = ScoreSettings.model_validate(place.servers.settings() | (endpoint if is_on_s3 else {}))
        store = open_store(settings)
        key = f"data/{place.name}"
        try:
            left = list(store.stagings(key, datetime.now(UTC) + timedelta(days=1)))
            stored = [store.stat(key), *(store.stat(f"{key}.{attempt}") for attempt in (2, 3))]
        finally:
            store.close()
        assert len(self._data) in [each.size_bytes for each in stored if each is not None]
        lost_answers = place.store_faults or (place.client_faults and place.drawn.way != "stream")
        assert place.servers.deaths or place.flipped or lost_answers or not left, left

    def _tail(self) -> str:
        return f"{self._note_lines()[-20:]}\n{self._place.servers.log()}"
