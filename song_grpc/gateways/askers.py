"""Threads that ask another service several questions at once."""

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Generic, TypeVar

from song_grpc.domain.limits import (
    OUTBOUND_CALLS,
    OUTBOUND_CALLS_TOGETHER,
    OUTBOUND_PLACE_SECONDS,
    OUTBOUND_WAITERS,
)

_LOOK_SECONDS = 0.5

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class NoPlaceError(Exception):
    """Too many calls wait for the service already."""


class CallerGoneError(Exception):
    """Nobody waits for the answers any more."""


class Askers(Generic[Question, Answer]):
    """Asks for all callers together at most `OUTBOUND_CALLS` questions at once, for one at most 8."""

    def __init__(self, ask: Callable[[Question, float], Answer]) -> None:
        """`ask` gets a deadline of the monotonic clock, and keeps it."""
        self._ask = ask
        # A service that hangs would else take every thread of the server, one call at a time.
        self._places = threading.BoundedSemaphore(OUTBOUND_WAITERS)
        self._threads = ThreadPoolExecutor(OUTBOUND_CALLS, "outbound")

    def ask_all(
        self, questions: Collection[Question], timeout_seconds: float, is_wanted: Callable[[], bool]
    ) -> dict[Question, Answer]:
        """Return the answers that came in time. The first error of a question ends all, and is raised.

        Raises NoPlaceError, CallerGoneError.
        """
        if not questions:
            return {}
        if not self._places.acquire(timeout=OUTBOUND_PLACE_SECONDS):
            raise NoPlaceError
        try:
            return self._ask_all(questions, time.monotonic() + timeout_seconds, is_wanted)
        finally:
            self._places.release()

    def close(self) -> None:
        """Begin no more; what is asked ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask_all(
        self, questions: Collection[Question], deadline: float, is_wanted: Callable[[], bool]
    ) -> dict[Question, Answer]:
        waiting = iter(questions)
        asked: dict[Future[Answer], Question] = {}
        answers: dict[Question, Answer] = {}
        try:
            while True:
                for question in islice(waiting, OUTBOUND_CALLS_TOGETHER - len(asked)):
                    asked[self._threads.submit(self._ask, question, deadline)] = question
                left_seconds = deadline - time.monotonic()
                if not asked or left_seconds <= 0:
                    return answers
                done, _ = wait(asked, min(left_seconds, _LOOK_SECONDS), FIRST_COMPLETED)
                for future in done:
                    answers[asked.pop(future)] = future.result()
                if not is_wanted():
                    raise CallerGoneError
        finally:
            for future in asked:
                future.cancel()
