"""What the calls of every noun stand on."""

from __future__ import annotations  # grpc's classes are generic in its types only

from song_score_client.connection import Connection


class Calls:
    """Calls over one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
