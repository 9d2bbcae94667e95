"""What an Overture Score has written about an object: read with distrust, for anything may lie in a bucket.

`<data_dir>/<object_id>.meta` holds JSON: objectId, objectSize, objectMd5, and parts with partNumber, partSize, offset
and sourceMd5. Its signed URLs are dead and are not looked at.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from score_grpc.domain import limits
from score_grpc.domain.parts import PartPlan, plan_parts

_MD5 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Specification:
    """What can be believed of it."""

    plan: PartPlan
    part_md5s: Sequence[str]
    """By part, 32 lower-case hexadecimal digits, empty where not known. Empty as a whole where no part is."""
    md5: str
    """Of the whole, as the uploader said it; empty where not known."""


def read_specification(text: bytes, object_id: str, size_bytes: int) -> Specification:
    """Read the content of a `.meta`; `size_bytes` is what the store has. What does not fit counts as not there."""
    plan = plan_parts(size_bytes, 0)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Specification(plan, (), "")
    if not isinstance(found, dict) or found.get("objectId", object_id) != object_id:
        return Specification(plan, (), "")
    md5 = _md5(found.get("objectMd5"))
    if found.get("objectSize") != size_bytes:
        return Specification(plan, (), md5)
    parts = _parts(found.get("parts"), size_bytes)
    if not parts:
        return Specification(plan, (), md5)
    return Specification(PartPlan(size_bytes, parts[0][0]), [part_md5 for _, part_md5 in parts], md5)


def md5_of_header(value: str) -> str:
    """Return the MD5 of a header that has it in base64, as 32 lower-case hexadecimal digits; empty where it is none."""
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return digest.hex() if len(digest) == 16 else ""  # noqa: PLR2004 - bytes of an MD5


def _parts(found: object, size_bytes: int) -> Sequence[tuple[int, str]]:
    """Return (size, MD5) of each part if they are all there, in our shape: equal ones, the last may be shorter."""
    if not isinstance(found, list) or not 1 <= len(found) <= limits.PARTS_MAX or not size_bytes:
        return ()
    parts: list[tuple[int, str]] = []
    offset = 0
    for number, part in enumerate(found, 1):
        if not isinstance(part, dict):
            return ()
        size = part.get("partSize")
        if (part.get("partNumber"), part.get("offset")) != (number, offset) or not isinstance(size, int) or size < 1:
            return ()
        parts.append((size, _md5(part.get("sourceMd5"))))
        offset += size
    first = parts[0][0]
    is_even = all(size == first for size, _ in parts[:-1]) and parts[-1][0] <= first
    return parts if is_even and offset == size_bytes else ()


def _md5(value: object) -> str:
    """Return it in lower case; empty where it is none, as the `<missing>` that Overture writes."""
    return value.lower() if isinstance(value, str) and _MD5.fullmatch(value) else ""
