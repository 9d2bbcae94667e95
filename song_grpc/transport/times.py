"""Times on the wire."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(time: datetime) -> Timestamp:
    """Return a UTC time as Timestamp."""
    message = Timestamp()
    message.FromDatetime(time)
    return message
