"""Bytes, rates and times, as people write and read them."""

import re

_UNITS = "KMGT"
_RATE = re.compile(rf"(\d+(?:\.\d+)?)\s*([{_UNITS}]?)(?:i?B)?(?:/s)?", re.IGNORECASE)


def parse_rate(text: str) -> float:
    """Return bytes per second of `50M`, `1.5G` or `800000`; K, M, G and T are powers of 1024. Raises ValueError."""
    match = _RATE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise ValueError(f"{text!r} is no rate: expected for example 50M, 1.5G or 800000, in bytes per second")
    exponent = _UNITS.index(match[2].upper()) + 1 if match[2] else 0
    return float(match[1]) * 1024.0**exponent


def format_bytes(size_bytes: float) -> str:
    """Return for example `20.0 MiB`."""
    size, unit = float(size_bytes), "bytes"
    for larger in _UNITS:
        if size < 1024:  # noqa: PLR2004 - the step from one unit to the next
            break
        size, unit = size / 1024, f"{larger}iB"
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


def count(number: int, thing: str) -> str:
    """Return for example `1 file` or `2 files`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def format_seconds(seconds: float) -> str:
    """Return for example `4.2 s`, `3:07` (minutes) or `1:02:03` (hours)."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
