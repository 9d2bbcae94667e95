r"""What a backslash means in Java's patterns, but for anchors and references."""

import unicodedata

from song_grpc.domain import character_sets
from song_grpc.domain.character_sets import LAST_CODE, CharacterSet
from song_grpc.domain.java_source import QUOTED, Source

_SETS = {
    "d": character_sets.DIGIT,
    "w": character_sets.WORD,
    "s": character_sets.SPACE,
    "h": character_sets.HORIZONTAL,
    "v": character_sets.VERTICAL,
}
_CHARACTERS = {"t": 0x09, "n": 0x0A, "r": 0x0D, "f": 0x0C, "a": 0x07, "e": 0x1B}
_REFUSED = {
    "c": r"'\c' needs a letter: \cA",
    "X": r"'\X', a grapheme cluster, is not understood: spell out the characters",
    "N": r"'\N' needs the name of a character: \N{EN DASH}",
    "Z": r"'\Z' is no character: it can't stand in a set",
    "E": r"'\E' ends no quotation: '\Q' is missing",
}
_HIGH_SURROGATES = range(0xD800, 0xDC00)
_SURROGATES = range(0xD800, 0xE000)


def read_escape(source: Source, flags: frozenset[str]) -> CharacterSet | int:  # noqa: PLR0911 - one for each kind
    """Pass an escape, its backslash taken; return a set of characters, or the code of one. Raises PatternError."""
    start = source.at - 1
    letter = source.take()
    if letter.lower() in _SETS:
        found = _SETS[letter.lower()]
        return found if letter.islower() else found.complement()
    if letter in "pP":
        return _property(source, start, is_complement=letter == "P", any_case="i" in flags)
    if letter in _CHARACTERS:
        return _CHARACTERS[letter]
    if letter == "c" and source.mark() and source.mark() not in {"\\", QUOTED}:
        return ord(source.take()) ^ 64
    if letter == "0":
        return _octal(source, flags)
    if letter in "xuU":
        return _hexadecimal(source, start, letter)
    if letter == "N" and source.take_if("{"):
        return _by_name(source, start)
    if letter.isascii() and letter.isalnum():
        text = _REFUSED.get(letter, f"there is no escape '\\{letter}': without its backslash a letter means itself")
        raise source.error(text, start)
    return ord(letter)


def _property(source: Source, start: int, *, is_complement: bool, any_case: bool) -> CharacterSet:
    name = source.take_until("}") if source.take_if("{") else source.take()
    found = character_sets.named(name, any_case=any_case)
    if found is None:
        raise source.error(
            f"the property '{name[:64]}' is not known to mean the same as in Java: name ranges of characters, "
            r"\x{…}-\x{…}, or a general category such as \p{Lu}",
            start,
        )
    return found.complement() if is_complement else found


def _octal(source: Source, flags: frozenset[str]) -> int:
    first = source.mark()
    digits = source.octal_digits(3 if first and first in "0123" else 2)
    if "x" in flags and source.mark().isspace():
        raise source.error("a space after an octal number is ambiguous: write the character as \\xhh")
    return int(digits or "0", 8)


def _hexadecimal(source: Source, start: int, letter: str) -> int:
    if letter == "x" and source.take_if("{"):
        digits = source.take_until("}")
        code = int(digits, 16) if digits and all(digit in "0123456789abcdefABCDEF" for digit in digits) else -1
    else:
        count = {"x": 2, "u": 4, "U": 8}[letter]
        digits = source.digits(count)
        code = int(digits, 16) if len(digits) == count else -1
        if code in _HIGH_SURROGATES and letter == "u" and source.take_if("\\u"):
            low = source.digits(4)
            code = ord((chr(code) + chr(int(low, 16))).encode("utf-16", "surrogatepass").decode("utf-16", "replace")[0])
            code = -1 if len(low) < 4 or code <= 0xFFFF else code  # noqa: PLR2004 - digits and code of one pair
    if not 0 <= code <= LAST_CODE or code in _SURROGATES:
        raise source.error(f"'\\{letter}' needs the hexadecimal code of a character: \\xhh, \\uhhhh, \\x{{h…}}", start)
    return code


def _by_name(source: Source, start: int) -> int:
    name = source.take_until("}")
    try:
        found = unicodedata.lookup(name)
    except KeyError:
        found = ""
    if len(found) != 1:
        raise source.error(f"no character has the name '{name[:64]}': write its code, \\x{{h…}}", start)
    return ord(found)
