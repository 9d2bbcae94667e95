"""How soon a dead worker is replaced, and awkward moments to stop. What else workers do: tests/e2e/test_workers.py."""

import signal
import subprocess
import sys
import time

import pytest

from runtime_grpc.workers import (
    _SPAWN,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    STEADY_SECONDS,
    _bury,
    _Place,
)


def pause_after_death(place: _Place, lived_seconds: float) -> float:
    """Let a worker die that lived so long; return after how many seconds its place may be filled."""
    place.process = _SPAWN.Process(target=int)
    place.process.start()
    place.process.join()
    now = time.monotonic()
    place.started = now - lived_seconds
    _bury(place)
    assert place.process is None
    return place.due - now


def test_workers_that_die_young_are_replaced_after_longer_and_longer_pauses() -> None:
    place = _Place()
    pauses = [pause_after_death(place, 0.0) for _ in range(3)]
    assert pauses == pytest.approx([FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS], abs=0.3)
    place.failures = 1000
    assert pause_after_death(place, 0.0) == pytest.approx(LONGEST_PAUSE_SECONDS, abs=0.3)


def test_after_a_steady_life_the_pause_is_the_shortest_again() -> None:
    place = _Place(failures=10)
    assert pause_after_death(place, STEADY_SECONDS + 1) == pytest.approx(FIRST_PAUSE_SECONDS, abs=0.3)


def test_a_worker_that_begins_to_listen_while_all_are_stopped_drains_like_the_others() -> None:
    command = [sys.executable, "-m", "tests.servers.slow_worker"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        while supervisor.stdout.readline().strip() != "starting":
            assert supervisor.poll() is None
        supervisor.send_signal(signal.SIGTERM)
        rest, errors = supervisor.communicate(timeout=60)
    assert "drained" in rest.split(), (rest, errors)
    assert "Broken pipe" not in rest + errors
    assert supervisor.returncode == 0
