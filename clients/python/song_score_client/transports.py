"""The two ways of bytes between this machine and Score's store."""

from enum import StrEnum


class Transport(StrEnum):
    """Which way is taken. A way that was asked for by its name is never exchanged for the other."""

    AUTO = "auto"
    """Streams where they pass, else signed URLs."""
    STREAM = "stream"
    """Through Score, over gRPC."""
    SIGNED = "signed"
    """Straight to the store, by signed URLs over HTTP."""
