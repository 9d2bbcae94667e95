"""URLs with places for values: `https://host/{study}/samples/{value}`."""

import re
from collections.abc import Collection, Mapping
from urllib.parse import quote, urlsplit

from song_grpc.domain.limits import MAX_URL_TEMPLATE_CHARS

_PLACE = re.compile(r"\{([^{}]*)\}")
_ALLOWED = re.compile(r"[!-~]+")


def problem(template: str, names: Collection[str]) -> str:
    """Return what is wrong with a template for these names, each of which it must have; empty where nothing is."""
    if not 0 < len(template) <= MAX_URL_TEMPLATE_CHARS:
        return f"has 1 to {MAX_URL_TEMPLATE_CHARS} characters"
    if _ALLOWED.fullmatch(template) is None:
        return "has a character that no URL has: percent-encode it"
    found = _PLACE.findall(template)
    places = " and ".join(f"{{{name}}}" for name in names)
    if set(found) != set(names) or re.search(r"[{}]", _PLACE.sub("", template)):
        return f"has the places {places}, and no other braces"
    return _address_problem(template)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return the URL, the values percent-encoded: none of them can become more than one piece of it."""
    return _PLACE.sub(lambda place: _encode(values[place[1]]), template)


def _address_problem(template: str) -> str:
    try:
        parts = urlsplit(template)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in {"http", "https"} or not host:
        return "is http://HOST/… or https://HOST/…"
    if "{" in parts.netloc:
        return "has no place in its host"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "has no user, no password and no fragment"
    return ""


def _encode(value: str) -> str:
    # `.` and `..` alone would be steps in the path.
    return quote(value, safe="") if value.strip(".") else value.replace(".", "%2E")
