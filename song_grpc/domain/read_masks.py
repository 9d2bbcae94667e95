"""Which fields of an analysis are read."""

from collections.abc import Iterable

from song_grpc.domain.errors import ParameterError

FIELDS = (
    *("analysis_id", "study_id", "state", "analysis_type", "samples", "files", "data_json", "create_time"),
    *("update_time", "first_publish_time", "publish_time", "state_changes", "etag"),
)
"""In the contract's order."""
ALL = frozenset(FIELDS)
WITHOUT_DATA = ALL - {"samples", "data_json", "state_changes"}
"""What a caller sees who may not see data; reasons of changes of state may tell of data."""
LONG = frozenset({"samples", "files", "data_json", "state_changes"})
"""Without these, the largest page is far below its bytes."""
FROM_HISTORY = frozenset({"first_publish_time", "publish_time", "state_changes"})


def parse(paths: Iterable[str]) -> frozenset[str]:
    """Return the fields that a mask names; none or `*` means all. Raises ParameterError."""
    wanted = frozenset(paths)
    if not wanted <= ALL | {"*"}:
        raise ParameterError("read_mask", f"give '*', or some of {', '.join(FIELDS)}")
    return ALL if not wanted or "*" in wanted else wanted
