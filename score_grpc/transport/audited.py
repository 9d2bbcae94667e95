"""A servicer whose calls leave entries in the audit: who asked for what, with what result.

Kept are starts, abortions, reads, signed URLs, verifications, refusals of small objects, and of every other method what
was denied. A read leaves an entry when it opens, and another with its ranges when it ends; a small object, which is
read whole, leaves one when it opens, and another only if it can't be read to its end. Not here but with the change
itself are kept deletions, and what completions come to, of small objects too: that may be long after the call.

Every method of the contract is named here, or the server does not start.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from score.v1.error_reason_pb2 import ErrorReason

from byte_path.codec import ReadData, SmallChunk
from runtime_grpc.authentication import TokenRefusedError
from runtime_grpc.metrics import count_bytes
from score_grpc.domain.audit import AuditEntry
from score_grpc.domain.errors import UploadNotFoundError
from score_grpc.transport.caller import Callers, call_facts
from score_grpc.transport.errors import ERRORS
from score_grpc.use_cases.audit import Audit
from score_grpc.use_cases.environment import Environment

_ACTIONS = {
    "StartUpload": "start",
    "CompleteUpload": "complete",
    "AbortUpload": "abort",
    "SignUploadParts": "sign",
    "SignDownload": "sign",
    "VerifyObject": "verify",
    "DeleteObject": "delete",
}
_ONLY_DENIALS = {
    "RecordUploadParts",
    "GetUpload",
    "ListUploads",
    "GetChunkManifest",
    "GetObject",
    "BatchGetObjects",
    "ListObjects",
}
_WRITTEN_WITH_THE_CHANGE = {"CompleteUpload", "DeleteObject"}
_DENIALS = {"ANALYSIS_NOT_PUBLISHED", "ANALYSIS_NOT_UNPUBLISHED", "DELETE_REFUSED"} | {
    entry.reason
    for entry in ERRORS.entries.values()
    if entry.code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
}
"""Who may not, and what the state of an analysis forbids."""
_SHOWN = 20
"""Parts or ranges that one entry lists."""

Behavior = Callable[[Any, grpc.ServicerContext], Any]


class Audited:
    """Calls a servicer of ours; every method of its service is a method of this."""

    def __init__(
        self,
        service: str,
        servicer: object,
        environment: Environment,
        callers: Callers,
        audit: Audit,
    ) -> None:
        """Take the servicer of this service, by its full name.

        Raises LookupError where it has a method of which nobody has said what is kept.
        """
        self._servicer, self._environment, self._callers, self._audit = servicer, environment, callers, audit
        self._streams: dict[str, Callable[..., Iterator[Any]]] = {
            "ReadObject": self._read_object,
            "ReadObjects": self._read_objects,
            "WriteObjects": self._write_objects,
            "WriteUpload": partial(self._stream, "WriteUpload"),
        }
        unary = {*_ACTIONS, *_ONLY_DENIALS}
        for method in Default().FindServiceByName(service).methods:
            if method.name not in (self._streams if method.client_streaming or method.server_streaming else unary):
                raise LookupError(f"{method.full_name}: say in {__name__} what the audit keeps of it")

    def __getattr__(self, method: str) -> Behavior:
        behavior = getattr(self._servicer, method)
        if method in self._streams:
            return partial(self._streams[method], behavior)
        return partial(self._unary, method, behavior)

    def _unary(self, method: str, behavior: Behavior, request: Message, context: grpc.ServicerContext) -> Message:
        action = _ACTIONS.get(method)
        try:
            response: Message = behavior(request, context)
        except Exception as error:
            reason = _reason(error)
            if action is not None or reason in _DENIALS:
                self._note(context, action or method, reason, request)
            raise
        if action is not None and method not in _WRITTEN_WITH_THE_CHANGE:
            self._note(context, action, "OK", request, response)
        return response

    def _stream(
        self, method: str, behavior: Behavior, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        try:
            for response in behavior(requests, context):
                if response.WhichOneof("message") == "ack":
                    count_bytes("up", response.ack.part.size_bytes)
                yield response
        except Exception as error:
            if (reason := _reason(error)) in _DENIALS:
                self._note(context, method, reason)
            raise

    def _read_object(self, behavior: Behavior, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        opened: list[Message] = []
        ranges: list[str] = []
        range_total = size_bytes = 0
        opening: Message | None = None

        def noted() -> Iterator[Any]:
            nonlocal range_total
            for request in requests:
                if request.WhichOneof("message") == "open":
                    opened.append(request.open)
                elif range_total < _SHOWN:
                    ranges.append(_range(request.range))
                range_total += request.WhichOneof("message") == "range"
                yield request

        result = "CANCELLED"
        try:
            for response in behavior(noted(), context):
                if isinstance(response, ReadData):
                    size_bytes += response.data.nbytes
                elif opening is None:
                    opening = response
                    self._note(context, "read", "OK", opened[0], response)
                yield response
            result = "OK"
        except Exception as error:
            result = _reason(error)
            if opening is None:
                self._note(context, "read", result, opened[0] if opened else None)
            raise
        finally:
            count_bytes("down", size_bytes)
            if opening is not None:
                told = {"ranges": ",".join(ranges), "range_total": str(range_total), "sent_bytes": str(size_bytes)}
                self._note(context, "read-end", result, opened[0], opening, told)

    def _read_objects(self, behavior: Behavior, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ANN401 - the method's
        try:
            for response in behavior(request, context):
                match response.WhichOneof("message"):
                    case "stored_object":
                        self._note_object(context, "read", "OK", response.stored_object)
                    case "refusal":
                        result = _item_reason(response.refusal)
                        self._note(context, "read", result, object_id=request.object_ids[response.index])
                yield response
        except Exception as error:
            if (reason := _reason(error)) in _DENIALS:
                self._note(context, "read", reason)
            raise

    def _write_objects(
        self, behavior: Behavior, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        opened: dict[int, str] = {}
        """Ids of those without an answer, by their index."""
        total = 0

        def noted() -> Iterator[Any]:
            nonlocal total
            for request in requests:
                if not isinstance(request, SmallChunk) and request.WhichOneof("message") == "open":
                    opened[total] = request.open.object_id
                    total += 1
                yield request
                del request  # the next one comes while this one would still be held

        try:
            for response in behavior(noted(), context):
                object_id = opened.pop(response.index, "")
                if response.WhichOneof("result") == "refusal":
                    self._note(context, "write", _item_reason(response.refusal), object_id=object_id)
                yield response
        except Exception as error:
            if (reason := _reason(error)) in _DENIALS:
                self._note(context, "write", reason)
            raise

    def _note_object(self, context: grpc.ServicerContext, action: str, result: str, stored: Any) -> None:  # noqa: ANN401 - a message
        told = {"generation": str(stored.generation)}
        self._note(context, action, result, told=told, object_id=stored.object_id, study_id=stored.study_id)

    def _note(
        self,
        context: grpc.ServicerContext,
        action: str,
        result: str,
        request: Message | None = None,
        response: Message | None = None,
        told: dict[str, str] | None = None,
        object_id: str = "",
        study_id: str = "",
    ) -> None:
        facts = _facts(request, response) | (told or {}) | call_facts(context)
        object_id = object_id or getattr(request, "object_id", "") or self._object_of(facts.get("upload_id", ""))
        if not study_id:
            registration = self._environment.registry.known(object_id)
            study_id = getattr(request, "study_id", "") if registration is None else registration.study_id
        self._audit.note(AuditEntry(datetime.now(UTC), self._name(context), action, object_id, study_id, result, facts))

    def _name(self, context: grpc.ServicerContext) -> str:
        try:
            return self._callers.of(context).name
        except TokenRefusedError:
            return "unknown"

    def _object_of(self, upload_id: str) -> str:
        if not upload_id:
            return ""
        try:
            upload, _ = self._environment.ledger.part(upload_id, 0)
        except UploadNotFoundError:
            return ""
        return upload.object_id


def _reason(error: Exception) -> str:
    return (ERRORS.entry_of(error) or ERRORS.unknown).reason


def _item_reason(refusal: Any) -> str:  # noqa: ANN401 - a message
    return ErrorReason.Name(refusal.reason).removeprefix("ERROR_REASON_")


def _facts(request: Any, response: Any) -> dict[str, str]:  # noqa: ANN401 - messages of many kinds
    """Return what the messages tell that is worth keeping: never a URL."""
    facts: dict[str, str] = {}
    if upload_id := getattr(request, "upload_id", "") or _field(response, "upload", "upload_id"):
        facts["upload_id"] = upload_id
    if generation := _field(response, "stored_object", "generation"):
        facts["generation"] = str(generation)
    if getattr(request, "replace", False):
        facts["replace"] = "true"
    if reason := getattr(request, "reason", ""):
        facts["reason"] = reason
    if parts := getattr(request, "parts", ()):
        facts["parts"] = ",".join(str(part.part_number) for part in parts[:_SHOWN])
        facts["part_total"] = str(len(parts))
    if ranges := getattr(request, "ranges", ()):
        facts["ranges"] = ",".join(map(_range, ranges[:_SHOWN]))
        facts["range_total"] = str(len(ranges))
    return facts


def _field(message: Any, name: str, inner: str) -> Any:  # noqa: ANN401 - messages of many kinds
    """Return a field of a message in a message, None where there is no such message."""
    if message is None or name not in message.DESCRIPTOR.fields_by_name or not message.HasField(name):
        return None
    return getattr(getattr(message, name), inner)


def _range(wanted: Any) -> str:  # noqa: ANN401 - ReadRange or RangeToSign
    """Return a range as offset+length; without the length where it goes to the end."""
    to_end = "size_bytes" in {field.name for field in wanted.DESCRIPTOR.fields if field.has_presence}
    return (
        f"{wanted.offset}+" if to_end and not wanted.HasField("size_bytes") else f"{wanted.offset}+{wanted.size_bytes}"
    )
