"""The engine that Song's queries and use cases run on."""

from sqlalchemy import Connection

from runtime_grpc.database import Database

__all__ = ["MIGRATIONS", "Connection", "Database"]

MIGRATIONS = "song_grpc.database:migrations"
