"""Locks that last until the transaction ends. SQLite needs none: its writing transactions take turns."""

from sqlalchemy import Connection, bindparam, select

from song_grpc.database import tables

# Rows that refer to the study may still be added meanwhile.
_STUDY = (
    select(tables.studies.c.study_id)
    .where(tables.studies.c.study_id == bindparam("study_id"))
    .with_for_update(key_share=True)
)


def lock_new_studies(connection: Connection) -> None:
    """Let studies be created one at a time."""
    _lock(connection, "studies")


def lock_new_types(connection: Connection) -> None:
    """Let types be registered one at a time: versions have no gaps."""
    _lock(connection, "analysis_types")


def lock_new_entities(connection: Connection) -> None:
    """Let donors, specimens and samples with ids of an id service be added one transaction at a time, in all studies.

    Taken after the study's lock.
    """
    _lock(connection, "entities")


def lock_study(connection: Connection, study_id: str) -> None:
    """Let analyses be added to a study one at a time: duplicates and shared entities are seen."""
    connection.execute(_STUDY, {"study_id": study_id}).one()


def _lock(connection: Connection, name: str) -> None:
    connection.execute(select(tables.locks.c.name).where(tables.locks.c.name == name).with_for_update()).one()
