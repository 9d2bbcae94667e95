"""How downloaded files are named."""

from enum import StrEnum


class OutputLayout(StrEnum):
    """How files are named below the output folder."""

    FILENAME = "filename"
    """`<file name>`"""
    BUNDLE = "bundle"
    """`<analysis id>/<file name>`"""
    ID = "id"
    """`<object id>`"""
