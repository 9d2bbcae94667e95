"""Ids. Entities and objects have ids derived from what they are, so that every server makes the same ones."""

import re
from uuid import NAMESPACE_OID, uuid4, uuid5

from song_grpc.domain.errors import ParameterError
from song_grpc.domain.limits import MAX_STUDY_ID_CHARS

STUDY_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_STUDY_ID_CHARS - 1}}}")
RESERVED_STUDY_ID = "all"  # a route of Overture's REST interface
MAX_ID_CHARS = 64


def new_analysis_id() -> str:
    """Make a random analysis id."""
    return str(uuid4())


def new_event_id() -> str:
    """Make a random event id."""
    return str(uuid4())


def entity_id(study_id: str, submitter_id: str) -> str:
    """Return the id of a donor, specimen or sample. The kind is not in it: two kinds may share one id."""
    return str(uuid5(NAMESPACE_OID, f"{study_id}:{submitter_id}"))


def object_id(analysis_id: str, file_name: str) -> str:
    """Return the id of a file, which is its object's in Score."""
    return str(uuid5(NAMESPACE_OID, f"{analysis_id}:{file_name}"))


def check_study_id(study_id: str) -> None:
    """Raise ParameterError unless a study may be created under this id."""
    if STUDY_ID.fullmatch(study_id) is None:
        raise ParameterError(
            "study.study_id",
            f"give 1 to {MAX_STUDY_ID_CHARS} characters of A-Z a-z 0-9 . _ -, the first a letter or digit",
        )
    if study_id == RESERVED_STUDY_ID:
        raise ParameterError("study.study_id", f"'{RESERVED_STUDY_ID}' is reserved")


def can_exist(identifier: str) -> bool:
    """Say whether anything could be stored under this id: a database need not be asked otherwise."""
    return 0 < len(identifier) <= MAX_ID_CHARS and "\0" not in identifier
