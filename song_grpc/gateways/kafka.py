"""Kafka, by librdkafka: an idempotent producer that waits for the acknowledgement of all in-sync replicas."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from song_grpc.domain.events import EventMessage
from song_grpc.domain.limits import BROKER_SEND_SECONDS
from song_grpc.gateways.event_broker import EventBrokerError

_POLL_SECONDS = 0.1
_SILENT = logging.getLogger("song_grpc.kafka")
_SILENT.disabled = True  # what matters comes as an error; the rest says who connects
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""What librdkafka takes; what the broker takes is the topic's own `max.message.bytes`."""


@dataclass(frozen=True, slots=True)
class KafkaLogin:
    """A user of Kafka."""

    mechanism: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """Where Kafka is, and how to get in."""

    servers: str
    """`host:port`, more of them separated by commas."""
    topic: str
    security: str = "plaintext"
    """plaintext, ssl, sasl_plaintext or sasl_ssl."""
    ca_file: str = ""
    login: KafkaLogin | None = None


class KafkaBroker:
    """The broker; see the port. Connects in the background: Song starts while Kafka is down."""

    def __init__(self, options: KafkaOptions) -> None:
        """Raise ValueError where the options contradict each other."""
        self._options = options
        self._last_error = ""
        try:
            self._producer: Producer | None = self._new_producer()
        except KafkaException as error:
            raise ValueError(f"Kafka can't be used with these settings: {_text(error)}") from None

    def send(self, messages: Sequence[EventMessage]) -> None:
        """Send messages and wait; see the port."""
        producer = self._producer or self._new_producer()
        self._producer = producer
        delivered: list[int] = []
        failures: list[KafkaError] = []

        def note(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                delivered.append(1)
            else:
                failures.append(error)

        deadline = time.monotonic() + BROKER_SEND_SECONDS + 1
        try:
            for message in messages:
                producer.produce(
                    self._options.topic, message.value, message.key, on_delivery=note, headers=list(message.headers)
                )
                producer.poll(0)
            while len(delivered) < len(messages) and not failures and time.monotonic() < deadline:
                producer.poll(_POLL_SECONDS)
        except (KafkaException, BufferError) as error:
            self.close()
            raise EventBrokerError(_remedy(_text(error))) from None
        if len(delivered) < len(messages):
            # A new producer begins anew with all of them: none of these may come after its own.
            self.close()
            said = [error.str() for error in failures if error.code() not in _VAGUE]
            raise EventBrokerError(_remedy(self._last_error or (said[0] if said else "no acknowledgement in time")))

    def close(self) -> None:
        """Let go of the connections; what is not acknowledged is dropped."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.poll(0)

    def _new_producer(self) -> Producer:
        milliseconds = int(BROKER_SEND_SECONDS * 1000)
        self._last_error = ""
        return Producer(
            {
                "bootstrap.servers": self._options.servers,
                "client.id": "song",
                "acks": "all",
                "enable.idempotence": True,
                # A message that fails takes all later ones with it: their order is kept.
                "enable.gapless.guarantee": True,
                "message.timeout.ms": milliseconds,
                "request.timeout.ms": milliseconds - 1000,
                "socket.timeout.ms": milliseconds,
                "reconnect.backoff.max.ms": 1000,
                "linger.ms": 5,
                "compression.type": "lz4",
                # Java's producers choose so too: an analysis stays in its partition when Song's writer changes.
                "partitioner": "murmur2_random",
                "message.max.bytes": _MAX_MESSAGE_BYTES,
                "queue.buffering.max.kbytes": 4 * _MAX_MESSAGE_BYTES // 1024,
                "error_cb": self._note_error,
                "logger": _SILENT,
                **_access(self._options),
            }
        )

    def _note_error(self, error: KafkaError) -> None:
        self._last_error = error.str()


def _access(options: KafkaOptions) -> dict[str, str]:
    access = {"security.protocol": options.security}
    if options.ca_file:
        access["ssl.ca.location"] = options.ca_file
    if options.login is not None:
        access["sasl.mechanism"] = options.login.mechanism
        access["sasl.username"] = options.login.user
        access["sasl.password"] = options.login.password
    return access


_VAGUE = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._MSG_TIMED_OUT}  # noqa: SLF001 - so named


def _remedy(text: str) -> str:
    if "Message size too large" in text:  # librdkafka's words for the broker's answer
        return (
            "an event is larger than the topic takes, and later ones wait for it: raise the topic's max.message.bytes"
        )
    return text


def _text(error: KafkaException | BufferError) -> str:
    first = error.args[0] if error.args else None
    return first.str() if isinstance(first, KafkaError) else "too much waits for Kafka already"
