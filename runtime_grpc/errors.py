"""From an exception to `google.rpc.Status`, by one table per service.

A service's domain raises its own errors; its `transport/errors.py` says, once per error class, which gRPC
code and which reason of the contract it becomes. Everything else becomes the table's `unknown` entry, with an
id that leads to the log, never with a driver's text or a stack trace.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from uuid import uuid4

import grpc
import structlog
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

# Details travel in HTTP/2 trailers, where peers refuse more than some 8 KiB.
MAX_DETAILS_BYTES = 6 * 1024
MAX_MESSAGE_BYTES = 1024
"""Of the message as it travels: percent-encoded."""
MAX_METADATA_VALUE_BYTES = 1024
MAX_METADATA_BYTES = 3 * 1024
"""Of all values together."""
MAX_VIOLATIONS = 20
MAX_VIOLATION_BYTES = 200

_log = structlog.get_logger()


@runtime_checkable
class DescribedError(Protocol):
    """What an error of a service's domain offers: its text is the message for people."""

    metadata: Mapping[str, str]
    """Facts for programs, sent as ErrorInfo.metadata."""

    violations: Sequence[tuple[str, str]]
    """(field or JSON Pointer, what is wrong), sent as BadRequest: the first 20."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What an error class becomes on the wire."""

    code: grpc.StatusCode
    reason: str
    """Name in the contract's ErrorReason, without the prefix."""
    retry_after_seconds: float | None = None
    """Sent as RetryInfo; None says that a repetition is no use."""


class ErrorTable:
    """The error classes of one service, each with its code and reason."""

    def __init__(self, domain: str, entries: Mapping[type[Exception], Entry], unknown: Entry) -> None:
        self.domain = domain
        self.entries = dict(entries)
        self.unknown = unknown

    def entry_of(self, error: BaseException) -> Entry | None:
        """Return the entry of the error's class or its nearest mapped ancestor."""
        return next((self.entries[kind] for kind in type(error).__mro__ if kind in self.entries), None)

    def status_of(self, error: BaseException, method: str) -> Status:
        """Return the status to send; an error without an entry is logged under an id that the message names."""
        entry = self.entry_of(error)
        if entry is None:
            error_id = uuid4().hex[:12]
            _log.error("unexpected error", method=method, error_id=error_id, exc_info=error)
            text = f"internal error {error_id}: the server's log has the details under this id"
            return self._status(self.unknown, text, {"error_id": error_id}, [])
        metadata = error.metadata if isinstance(error, DescribedError) else {}
        violations = error.violations if isinstance(error, DescribedError) else []
        return self._status(entry, str(error), metadata, violations)

    def _status(
        self, entry: Entry, message: str, metadata: Mapping[str, str], violations: Sequence[tuple[str, str]]
    ) -> Status:
        status = Status(code=entry.code.value[0], message=_cut(message, MAX_MESSAGE_BYTES, _encoded_bytes))
        left, cut = MAX_METADATA_BYTES, {}
        for key, value in metadata.items():
            cut[key] = _cut(value, min(MAX_METADATA_VALUE_BYTES, left))
            left -= len(cut[key].encode())
        _pack(status, ErrorInfo(reason=entry.reason, domain=self.domain, metadata=cut))
        if entry.retry_after_seconds is not None:
            nanos = round(entry.retry_after_seconds * 1e9)
            delay = Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)
            _pack(status, RetryInfo(retry_delay=delay))
        if violations:
            bad_request = BadRequest()
            room = MAX_DETAILS_BYTES - status.ByteSize() - 64  # 64: the Any around it
            for field, description in violations[:MAX_VIOLATIONS]:
                bad_request.field_violations.add(
                    field=_cut(field, MAX_VIOLATION_BYTES), description=_cut(description, MAX_VIOLATION_BYTES)
                )
                if bad_request.ByteSize() > room:
                    del bad_request.field_violations[-1]
                    break
            _pack(status, bad_request)
        return status


def _pack(status: Status, detail: Message) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)


def _character_bytes(character: str) -> int:
    return len(character.encode("utf-8", "replace"))


def _encoded_bytes(character: str) -> int:
    """Return how many bytes the character takes in the header `grpc-message`, which percent-encodes."""
    return 1 if " " <= character <= "~" and character != "%" else 3 * _character_bytes(character)


def _cut(text: str, limit_bytes: int, measure: Callable[[str], int] = _character_bytes) -> str:
    """Cut the text to so many bytes, with a mark where something is missing. What can't be encoded becomes '?'."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= limit_bytes and sum(map(measure, text)) <= limit_bytes:
        return text
    used, kept = measure("…"), []
    for character in text:
        used += measure(character)
        if used > limit_bytes:
            break
        kept.append(character)
    return "".join(kept) + "…"
