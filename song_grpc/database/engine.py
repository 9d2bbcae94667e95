"""The engine that Song's queries and use cases run on."""

from runtime_grpc.database import Database

__all__ = ["MIGRATIONS", "Database"]

MIGRATIONS = "song_grpc.database:migrations"
