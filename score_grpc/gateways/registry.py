"""Song as Score sees it: a registry of files. The port, and the cache that every use case asks."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from score_grpc.domain import limits
from score_grpc.domain.registrations import Registration


class Registry(Protocol):
    """Tells what is registered now."""

    def resolve(self, object_ids: Sequence[str]) -> Mapping[str, Registration]:
        """Return what is registered under each of these ids; unknown ones are left out.

        Raises SongUnavailableError.
        """


class CachedRegistry:
    """Answers from memory while the answer is young. What is unknown is not remembered."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, tuple[float, Registration]] = OrderedDict()
        """Until when each answer holds, oldest answer first."""

    def known(self, object_id: str) -> Registration | None:
        """Return what Song said last, however old; None where that is forgotten. For telling, not for deciding."""
        with self._lock:
            _, registration = self._answers.get(object_id, (0.0, None))
            return registration

    def resolve(self, object_ids: Sequence[str], *, fresh: bool = False) -> Mapping[str, Registration]:
        """As Registry.resolve, with answers up to SONG_CACHE_SECONDS old unless they must be `fresh`."""
        now = self._clock()
        known: dict[str, Registration] = {}
        if not fresh:
            with self._lock:
                for wanted in object_ids:
                    until, registration = self._answers.get(wanted, (now, None))
                    if registration is not None and until > now:
                        known[wanted] = registration
        if asked := [wanted for wanted in object_ids if wanted not in known]:
            found = self._registry.resolve(asked)
            known |= found
            with self._lock:
                for wanted in asked:
                    self._answers.pop(wanted, None)
                    if wanted in found:
                        self._answers[wanted] = (now + limits.SONG_CACHE_SECONDS, found[wanted])
                while len(self._answers) > limits.SONG_CACHE_ENTRIES:
                    self._answers.popitem(last=False)
        return known
