"""`info`, what else a programme keeps about a study, a file or an entity, as requests bring it."""

from song_grpc.domain import json_text
from song_grpc.domain.errors import ParameterError, PayloadParsingError
from song_grpc.domain.schema_keywords import comparable


def read(text: str, field: str, max_bytes: int) -> str:
    """Return the text of a JSON object as it is stored: without null-valued keys, empty where nothing is left.

    Raises ParameterError, which names the field.
    """
    if len(text.encode()) > max_bytes:
        raise ParameterError(field, f"has more than {max_bytes} bytes")
    if not text:
        return ""
    try:
        return json_text.write_info(json_text.read_object(text, "info_json"))
    except PayloadParsingError as error:
        # The contract knows one error for a bad field of these requests.
        raise ParameterError(field, str(error)) from None


def is_same(stored: str, other: str) -> bool:
    """Say whether two stored texts say the same: the order of keys says nothing, nor a number's spelling."""
    return stored == other or form(stored) == form(other)


def form(stored: str) -> object:
    """Return something equal for stored texts that say the same."""
    return comparable(json_text.read_info(stored))
