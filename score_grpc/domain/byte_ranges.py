"""The header `Range` of HTTP (RFC 9110, section 14): one range of bytes, inclusive there, first and length here."""

import re

from score_grpc.domain.errors import RangeInvalidError, SignatureInvalidError

_ONE_RANGE = re.compile(r"bytes=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})\s*", re.ASCII | re.IGNORECASE)


def asked_range(header: str, size_bytes: int, bound: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the first byte and the length to answer with; None for the whole.

    What is no single range counts as no header, as the RFC wants it. `bound` is the only range that may be read, where
    there is one: no header asks for all of it. Raises RangeInvalidError where no byte is asked for, and
    SignatureInvalidError where the range begins outside the bound.
    """
    asked = _ONE_RANGE.fullmatch(header)
    if asked is None or not (asked[1] or asked[2]) or (asked[1] and asked[2] and int(asked[2]) < int(asked[1])):
        return bound
    last = size_bytes - 1
    if not asked[1]:  # the last bytes, so many
        first = max(0, size_bytes - int(asked[2]))
    else:
        first = int(asked[1])
        last = min(last, int(asked[2])) if asked[2] else last
    if first >= size_bytes:
        raise RangeInvalidError(
            f"the object has {size_bytes} bytes: the range asked for begins after them", size_bytes=str(size_bytes)
        )
    if bound is not None:
        end = bound[0] + bound[1]
        if not bound[0] <= first < end:
            raise SignatureInvalidError("the range asked for lies outside the one that this URL was signed for")
        last = min(last, end - 1)
    return first, last - first + 1
