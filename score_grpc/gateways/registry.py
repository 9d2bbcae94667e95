"""Song as Score sees it: a registry of files. The port, and a cache in front of any adapter."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from score_grpc.domain import limits
from score_grpc.domain.registrations import Registration


class Registry(Protocol):
    """Tells what is registered."""

    def resolve(self, object_ids: Sequence[str], *, fresh: bool = False) -> Mapping[str, Registration]:
        """Return what is registered under each of these ids; unknown ones are left out.

        `fresh` allows no answer from memory. Raises SongUnavailableError.
        """


class CachedRegistry:
    """Answers from memory while the answer is young: for reads, never for starting or completing an upload."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, tuple[float, Registration | None]] = OrderedDict()

    def resolve(self, object_ids: Sequence[str], *, fresh: bool = False) -> Mapping[str, Registration]:
        """As Registry.resolve, with answers up to SONG_CACHE_SECONDS old."""
        now = self._clock()
        with self._lock:
            known = {} if fresh else {wanted: self._answers[wanted] for wanted in object_ids if wanted in self._answers}
        young = {wanted: found for wanted, (until, found) in known.items() if until > now}
        if asked := [wanted for wanted in object_ids if wanted not in young]:
            answer = self._registry.resolve(asked, fresh=fresh)
            with self._lock:
                for wanted in asked:
                    found = answer.get(wanted)
                    age = limits.SONG_CACHE_MISSING_SECONDS if found is None else limits.SONG_CACHE_SECONDS
                    self._answers[wanted] = (now + age, found)
                    self._answers.move_to_end(wanted)
                    young[wanted] = found
                while len(self._answers) > limits.SONG_CACHE_ENTRIES:
                    self._answers.popitem(last=False)
        return {wanted: found for wanted, found in young.items() if found is not None}
