"""What kind of scenario a seed stands for."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from song_score_client.transports import Transport

from tests.servers.dying_score import PLACES, SIGNED_PLACES, SMALL_OBJECT_PLACES
from tests.servers.raw_score import MIB

PART = 5 * MIB
SIZES = (0, PART, 2 * PART + 17, 4 * PART, 4 * PART + 1, 6 * PART, 5 * PART + MIB + 3, 8 * PART + 1)
SLOW_SECONDS = 4.0
"""How long a file takes at least, each way, where URLs are short-lived: so that they end in the middle."""
REPLACING_PLACES = ("before the object is marked", "after the object is marked")

Shape = Literal["one file", "replacement", "many files"]
Way = Literal["stream", "signed", "mixed"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """All that is fixed for a run; faults are drawn later, by the same generator."""

    shape: Shape
    way: Way
    """mixed: each client has another transport."""
    is_on_s3: bool
    is_on_postgresql: bool
    replicas: int
    score_signs: bool
    """Signed URLs lead to Score, not to the store."""
    url_seconds: int
    """How long signed URLs hold; 0: as long as usual."""
    flips: bool
    """Whether bytes may change on the way. Less can be demanded then: peers were told other things than were said."""
    place: str
    """Where the first server dies by itself."""
    place_count: int
    streams: int

    @property
    def themes(self) -> Sequence[str]:
        """What is special about it."""
        found = [self.shape, self.way, "s3" if self.is_on_s3 else "local"]
        found += ["postgresql"] if self.is_on_postgresql else []
        found += ["two replicas"] if self.replicas > 1 else []
        found += ["short-lived URLs"] if self.url_seconds else []
        found += ["Score's URLs" if self.score_signs else "the store's URLs"] if self.way != "stream" else []
        found += ["flips"] if self.flips else []
        found += ["failpoint"] if self.place != "nowhere" else []
        return found

    def transport(self, draw: random.Random) -> Transport:
        """Return how the next client moves its bytes."""
        if self.way == "mixed":
            return draw.choice(list(Transport))
        return Transport(self.way)


def draw_scenario(draw: random.Random) -> Drawn:
    """Draw one."""
    shape: Shape = draw.choice(("one file", "one file", "replacement", "many files"))
    way: Way = draw.choice(("stream", "signed", "mixed"))
    is_on_s3, is_on_postgresql = draw.random() < 0.6, draw.random() < 0.5
    score_signs = not is_on_s3 or draw.random() < 0.4
    has_two = is_on_s3 and is_on_postgresql and draw.random() < 0.6
    is_short_lived = way != "stream" and draw.random() < 0.4
    places = {"one file": PLACES, "replacement": (*PLACES, *REPLACING_PLACES), "many files": SMALL_OBJECT_PLACES}[shape]
    places = places if way == "stream" else (*places, *SIGNED_PLACES)
    place = draw.choice(places) if draw.random() < 0.4 else "nowhere"
    return Drawn(
        shape=shape,
        way=way,
        is_on_s3=is_on_s3,
        is_on_postgresql=is_on_postgresql,
        replicas=2 if has_two else 1,
        score_signs=score_signs,
        # A store's begin with a whole second, so that 1 may leave nothing.
        url_seconds=(draw.choice((1, 2)) if score_signs else 2) if is_short_lived else 0,
        flips=draw.random() < 0.25,
        place=place,
        place_count=draw.randrange(1, 20) if "small object" in place else draw.randrange(1, 3),
        streams=1 if is_short_lived else draw.randrange(1, 5),  # so that parts begin when a URL has ended
    )
