"""The engine that Song's queries and use cases run on."""

from runtime_grpc.database import Database, DatabaseUnavailableError

__all__ = ["MIGRATIONS", "Database", "DatabaseUnavailableError"]

MIGRATIONS = "song_grpc.database:migrations"
