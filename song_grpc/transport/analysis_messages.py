"""Analyses with their parts, as messages."""

from collections.abc import Sequence

from song.v1 import analysis_pb2, analysis_type_pb2

from song_grpc.domain import read_masks
from song_grpc.domain.analysis import Analysis, StateChange
from song_grpc.domain.limits import MAX_PAGE_BYTES
from song_grpc.domain.violations import Violation
from song_grpc.transport.entity_messages import sample_message
from song_grpc.transport.file import STATE_VALUES, file_message
from song_grpc.transport.times import timestamp

_VIOLATION_OVERHEAD_BYTES = 24  # tags and lengths


def analysis_message(analysis: Analysis, fields: frozenset[str] = read_masks.ALL) -> analysis_pb2.Analysis:
    """Return these fields of an analysis as message."""
    first, last = analysis.first_publish_time, analysis.publish_time
    message = analysis_pb2.Analysis(
        analysis_id=analysis.analysis_id,
        study_id=analysis.study_id,
        state=STATE_VALUES[analysis.state],
        analysis_type=analysis_type_pb2.AnalysisTypeReference(name=analysis.type_name, version=analysis.type_version),
        samples=map(sample_message, analysis.samples),
        files=map(file_message, analysis.files),
        data_json=analysis.data_json,
        create_time=timestamp(analysis.create_time),
        update_time=timestamp(analysis.update_time),
        first_publish_time=None if first is None else timestamp(first),
        publish_time=None if last is None else timestamp(last),
        state_changes=map(_change_message, analysis.state_changes),
        etag=analysis.etag,
    )
    for field in read_masks.ALL - fields:
        message.ClearField(field)  # type: ignore[arg-type] # the fields' names are the contract's
    return message


def _change_message(change: StateChange) -> analysis_pb2.StateChange:
    return analysis_pb2.StateChange(
        initial_state=STATE_VALUES[change.initial_state],
        updated_state=STATE_VALUES[change.updated_state],
        update_time=timestamp(change.time),
        actor=change.actor,
        reason=change.reason,
    )


def fitting_violations(violations: Sequence[Violation]) -> list[analysis_pb2.SchemaViolation]:
    """Return the first violations that fit into a response."""
    messages: list[analysis_pb2.SchemaViolation] = []
    total = 0
    for violation in violations:
        message = violation_message(violation)
        total += message.ByteSize() + _VIOLATION_OVERHEAD_BYTES
        if total > MAX_PAGE_BYTES:
            break
        messages.append(message)
    return messages


def violation_message(violation: Violation) -> analysis_pb2.SchemaViolation:
    """Return a violation as message."""
    return analysis_pb2.SchemaViolation(
        pointer=violation.pointer,
        keyword=violation.keyword,
        message=violation.message,
        schema_pointer=violation.schema_pointer,
    )
