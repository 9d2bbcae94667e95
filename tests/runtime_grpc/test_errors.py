"""From an exception to a status that travels whole, whatever it says."""

from urllib.parse import quote

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from hypothesis import given
from hypothesis import strategies as st

from runtime_grpc.errors import MAX_DETAILS_BYTES, MAX_MESSAGE_BYTES, Entry, ErrorTable


class RefusedError(Exception):
    """An error of a made-up domain."""

    def __init__(self, message: str, metadata: dict[str, str], violations: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.metadata, self.violations = metadata, violations


TABLE = ErrorTable(
    "test",
    {RefusedError: Entry(grpc.StatusCode.NOT_FOUND, "REFUSED", 1.5)},
    Entry(grpc.StatusCode.INTERNAL, "UNKNOWN_ERROR"),
)
TEXT = st.text(max_size=3000) | st.integers(0, 3000).map(lambda count: "🧬" * count)


@given(TEXT, st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), TEXT), st.lists(st.tuples(TEXT, TEXT), max_size=30))
def test_a_status_stays_small_and_keeps_its_code_and_reason(
    message: str, metadata: dict[str, str], violations: list[tuple[str, str]]
) -> None:
    status = TABLE.status_of(RefusedError(message, metadata, violations), "/test/Method")
    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert len(quote(status.message, safe="")) <= 3 * MAX_MESSAGE_BYTES
    assert sum(1 if " " <= c <= "~" and c != "%" else 3 * len(c.encode()) for c in status.message) <= MAX_MESSAGE_BYTES
    assert status.ByteSize() <= MAX_DETAILS_BYTES
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, set(info.metadata)) == ("REFUSED", "test", set(metadata))


def test_twenty_object_ids_travel_whole() -> None:
    ids = ",".join(f"6ebf7fc9-5548-5f76-acb9-6c93560000{number:02}" for number in range(20))
    status = TABLE.status_of(RefusedError("missing", {"object_ids": ids}, []), "/test/Method")
    info = ErrorInfo()
    status.details[0].Unpack(info)
    assert info.metadata["object_ids"] == ids


def test_violations_are_cut_to_what_fits() -> None:
    violations = [(f"/files/{number}", "x" * 1000) for number in range(10_000)]
    status = TABLE.status_of(RefusedError("bad", {}, violations), "/test/Method")
    bad_request = BadRequest()
    assert status.details[2].Unpack(bad_request)
    assert len(bad_request.field_violations) == 20


@pytest.mark.parametrize("error", [KeyError("secret"), RuntimeError("postgresql://user:secret@host")])
def test_an_unexpected_error_says_nothing_of_itself(error: Exception) -> None:
    status = TABLE.status_of(error, "/test/Method")
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert b"secret" not in status.SerializeToString()
