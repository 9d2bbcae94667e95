"""Files go up and down while networks, clients, servers, stores, disks and databases fail.

What a seed stands for is in `drawn.py`; what must hold, in `scenario.py` and `many_files.py`.

`make chaos` runs scenarios of new seeds for CHAOS_SECONDS. A seed that failed is run again with CHAOS_SEED.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.chaos.drawn import draw_scenario
from tests.chaos.figures import Figures
from tests.chaos.many_files import ManyFiles
from tests.chaos.place import Place
from tests.chaos.scenario import OneFile
from tests.chaos.servers import Surroundings
from tests.servers import seaweedfs as seaweed
from tests.servers.postgresql import new_database
from tests.servers.registry_song import RegistrySong

SEEDS = (26, 34, 59, 74, 88)
"""Of the short run: every theme occurs."""
THEMES = {
    "one file",
    "replacement",
    "many files",
    "stream",
    "signed",
    "mixed",
    "local",
    "s3",
    "postgresql",
    "two replicas",
    "short-lived URLs",
    "Score's URLs",
    "the store's URLs",
    "flips",
    "failpoint",
}


def children_of(process: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [process]
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in children.read_text().split():
            found += children_of(int(child))
    return found


@pytest.fixture
def around(request: pytest.FixtureRequest) -> Iterator[Surroundings]:
    server: seaweed.SeaweedFS = request.getfixturevalue("seaweedfs")
    postgresql = request.getfixturevalue("postgresql")
    song = RegistrySong()  # type: ignore[abstract] # the rest is not asked for
    yield Surroundings(
        song=song,
        s3_settings={
            "store": "s3",
            "s3_bucket": seaweed.BUCKET,
            "s3_region": seaweed.REGION,
            "s3_access_key": seaweed.ACCESS_KEY_ID,
            "s3_secret_key": seaweed.SECRET_ACCESS_KEY,
        },
        s3_port=urlsplit(server.endpoint).port or 0,
        new_database=lambda: new_database(request),
        postgresql_processes=lambda: children_of(postgresql.get_pid()),
    )
    song.stop()


def run(seed: int, around: Surroundings, folder: Path, figures: Figures) -> None:
    print(f"seed {seed}")
    folder.mkdir()
    since = time.monotonic()
    place = Place(seed, around, folder, figures)
    print(place.drawn)
    (ManyFiles if place.drawn.shape == "many files" else OneFile)(place).run()
    figures.runs += 1
    figures.themes.update(place.drawn.themes)
    print(f"{time.monotonic() - since:.1f} s")


def test_the_short_run_has_every_theme() -> None:
    found = {theme for seed in SEEDS for theme in draw_scenario(random.Random(seed)).themes}
    assert found == THEMES


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_acknowledged_is_lost_and_the_right_bytes_come_out(
    seed: int, around: Surroundings, tmp_path: Path
) -> None:
    figures = Figures()
    run(seed, around, tmp_path / "run", figures)
    print(figures)


@pytest.mark.timeout(0)
def test_nothing_is_lost_for_as_long_as_there_is_time(around: Surroundings, tmp_path: Path) -> None:
    figures, until = Figures(), time.monotonic() + float(os.environ["CHAOS_SECONDS"])
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    while time.monotonic() < until:
        run(seed, around, tmp_path / str(seed), figures)
        for path in sorted((tmp_path / str(seed)).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        print(figures, flush=True)
        seed += 1
