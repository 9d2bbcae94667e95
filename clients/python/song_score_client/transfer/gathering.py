"""One call for what many threads ask at the same time."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Question(Generic[Item, Answer]):
    """What one thread asked."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.answers: list[Answer] = []
        """One, once the call was made."""
        self.error: BaseException | None = None


class Gathering(Generic[Item, Answer]):
    """Gathers what is asked while a call is under way into the next call; the first of those who wait makes it."""

    def __init__(self, call: Callable[[Sequence[Item]], Sequence[Answer]], most: int) -> None:
        """`call` answers at most `most` items, each, in their order."""
        self._call, self._most = call, most
        self._lock = threading.Condition()
        self._waiting: list[_Question[Item, Answer]] = []
        self._is_calling = False

    def ask(self, item: Item) -> Answer:
        """Return the answer to an item. Raises what the call raised, to each whose item was in it."""
        question = _Question[Item, Answer](item)
        with self._lock:
            self._waiting.append(question)
        while not question.answers:
            with self._lock:
                while self._is_calling and not question.answers and question.error is None:
                    self._lock.wait()
                if question.error is not None:
                    raise question.error
                if question.answers:
                    break
                self._is_calling = True
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._make(batch)
        return question.answers[0]

    def _make(self, batch: list[_Question[Item, Answer]]) -> None:
        try:
            answers = self._call([question.item for question in batch])
            for question, answer in zip(batch, answers, strict=True):
                question.answers.append(answer)
        except BaseException as error:  # noqa: BLE001 - each of those who wait raises it
            for question in batch:
                question.error = error
        finally:
            with self._lock:
                self._is_calling = False
                self._lock.notify_all()
