"""The order of a list of analyses."""

import re
from dataclasses import dataclass
from enum import Enum

from song_grpc.domain.errors import ParameterError

_ORDER = re.compile(r"\s*(?P<time>\w+)(?P<descends>\s+desc)?\s*", re.ASCII)


class OrderTime(Enum):
    """The time that a list is ordered by."""

    CREATE_TIME = "create_time"
    UPDATE_TIME = "update_time"
    PUBLISH_TIME = "publish_time"


@dataclass(frozen=True, slots=True)
class Ordering:
    """By a time, then by id; descending turns the whole order round."""

    time: OrderTime = OrderTime.CREATE_TIME
    is_descending: bool = False


def parse(text: str) -> Ordering:
    """Return the order that `order_by` names; empty means the oldest first. Raises ParameterError."""
    if not text.strip():
        return Ordering()
    match = _ORDER.fullmatch(text)
    names = [time.value for time in OrderTime]
    if match is None or match["time"] not in names:
        raise ParameterError("order_by", f"give one of {', '.join(names)}, with ' desc' for the latest first")
    return Ordering(OrderTime(match["time"]), match["descends"] is not None)
