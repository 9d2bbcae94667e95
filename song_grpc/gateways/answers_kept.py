"""Good answers of other services, kept for a while. Bad ones never are."""

import threading
import time
from collections import OrderedDict


class AnswersKept:
    """A bounded memory of texts: what was not asked for longest makes room."""

    def __init__(self, max_entries: int, kept_seconds: float) -> None:
        self._max_entries, self._kept_seconds = max_entries, kept_seconds
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, tuple[str, float]] = OrderedDict()

    def get(self, question: object) -> str | None:
        """Return the answer, None where none is kept."""
        with self._lock:
            found = self._kept.get(question)
            if found is None:
                return None
            if found[1] <= time.monotonic():
                del self._kept[question]
                return None
            self._kept.move_to_end(question)
            return found[0]

    def put(self, question: object, answer: str) -> None:
        """Keep an answer."""
        with self._lock:
            self._kept[question] = (answer, time.monotonic() + self._kept_seconds)
            self._kept.move_to_end(question)
            while len(self._kept) > self._max_entries:
                self._kept.popitem(last=False)
