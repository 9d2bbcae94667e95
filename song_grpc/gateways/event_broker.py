"""The port to the broker that takes events to other services."""

from collections.abc import Sequence
from typing import Protocol

from song_grpc.domain.events import EventMessage


class EventBrokerError(Exception):
    """The broker did not take every message; the text says why, in few words and without secrets."""


class EventBroker(Protocol):
    """Takes events."""

    def send(self, messages: Sequence[EventMessage]) -> None:
        """Send messages in their order, and wait until the broker holds all of them for good.

        Raises EventBrokerError: some may have arrived, but none without those before it, so that sending all again
        keeps the order. Takes `limits.BROKER_SEND_SECONDS` and little more; later than that none arrives.
        """

    def close(self) -> None:
        """Let go of the broker."""
