"""Sets of characters as Java's patterns name them, written for the `regex` library.

A set is known by its ranges of code points, or, where a Unicode property is in it, by its text alone.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

LAST_CODE = 0x10FFFF
_LAST_CASED_CODE = 0x1E943
_KEPT_CASES = 256

Ranges = tuple[tuple[int, int], ...]
"""Code points, both ends inclusive; sorted, apart from each other."""


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """A set of characters, each of them one code point."""

    text: str
    """The set in the syntax of `regex`, version 1: one item, fit to stand alone or in another set."""
    ranges: Ranges | None
    """None where only the library knows what is in the set."""

    def intersection(self, other: "CharacterSet") -> "CharacterSet":
        """Return what is in both."""
        if self.ranges is not None and other.ranges is not None:
            return union([self.complement(), other.complement()]).complement()
        return CharacterSet(f"[{self.text}&&{other.text}]", None)

    def complement(self) -> "CharacterSet":
        """Return every other character."""
        if self.ranges is None:
            return CharacterSet(f"[^{self.text}]", None)
        gaps: list[tuple[int, int]] = []
        start = 0
        for first, last in self.ranges:
            gaps.append((start, first - 1))
            start = last + 1
        gaps.append((start, LAST_CODE))
        return of_ranges(gap for gap in gaps if gap[0] <= gap[1])


def union(sets: Sequence[CharacterSet]) -> CharacterSet:
    """Return what is in any of these sets, in time about proportional to their sizes."""
    if len(sets) == 1:
        return sets[0]
    plain = [one.ranges for one in sets if one.ranges is not None]
    joined = of_ranges(pair for ranges in plain for pair in ranges)
    if len(plain) == len(sets):
        return joined
    texts = ([joined.text] if plain else []) + [one.text for one in sets if one.ranges is None]
    return CharacterSet(f"[{''.join(texts)}]", None)


def of_ranges(ranges: Iterable[tuple[int, int]]) -> CharacterSet:
    """Return the set of these ranges, in any order, overlapping or not."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    if not joined:
        return CharacterSet(f"[^{_item(0, LAST_CODE)}]", ())
    return CharacterSet(f"[{''.join(_item(*one) for one in joined)}]", tuple(joined))


def of_characters(characters: str) -> CharacterSet:
    """Return the set of these characters."""
    return of_ranges((ord(one), ord(one)) for one in characters)


def escape(code: int) -> str:
    """Write a character so that it means itself wherever it stands in a pattern of `regex`."""
    character = chr(code)
    if character.isascii() and character.isalnum():
        return character
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"  # noqa: PLR2004 - the last one of four digits


@lru_cache(maxsize=_KEPT_CASES)
def with_ascii_case(characters: CharacterSet) -> CharacterSet:
    """Add the other case of each ASCII letter: what Java's `(?i)` means. The set has ranges."""
    ranges = characters.ranges or ()
    other = [ord(letter.swapcase()) for letter in _LETTERS if any(a <= ord(letter) <= b for a, b in ranges)]
    return of_ranges((*ranges, *((code, code) for code in other)))


@lru_cache(maxsize=_KEPT_CASES)
def with_unicode_case(characters: CharacterSet) -> CharacterSet | None:
    """Add what folds to the same character: what Java's `(?iu)` means. The set is one range.

    None where Java's versions, or the places a letter can stand in, disagree: beyond pairs of two letters, and
    where a range holds one of a pair only.
    """
    ranges = characters.ranges or ()
    folds, cased = _folds(), _cased()
    found: set[int] = set()
    for first, last in ranges:
        for code in cased[bisect_left(cased, first) : bisect_right(cased, last)]:
            if code > _LAST_ASCII and not _is_pair(code, folds[code]):
                return None
            found.update(folds[code])
    if ranges[0][0] != ranges[0][1]:
        upper = {code: _upper(code) for code in found}
        if not all(
            _holds(ranges, code) or _holds(ranges, up) or _holds(ranges, _lower(up)) for code, up in upper.items()
        ):
            return None
    return of_ranges((*ranges, *((code, code) for code in found)))


@lru_cache(maxsize=1)
def _folds() -> dict[int, tuple[int, ...]]:
    """Return, for each character that has a case, all that fold to what it folds to."""
    by_fold: dict[int, list[int]] = {}
    for code in range(_LAST_CASED_CODE + 1):
        by_fold.setdefault(_lower(_upper(code)), []).append(code)
    return {code: tuple(group) for group in by_fold.values() if len(group) > 1 for code in group}


@lru_cache(maxsize=1)
def _cased() -> Sequence[int]:
    return sorted(_folds())


def _holds(ranges: Ranges, code: int) -> bool:
    return any(first <= code <= last for first, last in ranges)


def _is_pair(code: int, partners: tuple[int, ...]) -> bool:
    return set(partners) == {_upper(code), _lower(_upper(code))}


def _upper(code: int) -> int:
    """Return the one character that is the upper case, where Python may write several."""
    whole = chr(code).upper()
    whole = whole if len(whole) == 1 else chr(code).title()
    return ord(whole) if len(whole) == 1 else code


def _lower(code: int) -> int:
    whole = chr(code).lower()
    return ord(whole[0])  # only U+0130 has two, of which the first is the one


def _item(first: int, last: int) -> str:
    return escape(first) if first == last else f"{escape(first)}-{escape(last)}"


def _between(pairs: str) -> CharacterSet:
    return of_ranges((ord(pairs[at]), ord(pairs[at + 1])) for at in range(0, len(pairs), 2))


def _property(name: str) -> CharacterSet:
    return CharacterSet(f"\\p{{{name}}}", None)


_LAST_ASCII = 0x7F
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ALL = of_ranges([(0, LAST_CODE)])
DIGIT = _between("09")
WORD = _between("09AZaz__")
SPACE = _between("\t\r  ")
HORIZONTAL = union([of_characters(" \t\xa0\u1680\u180e\u202f\u205f\u3000"), _between("\u2000\u200a")])
VERTICAL = of_characters("\n\x0b\f\r\x85\u2028\u2029")
LINE_ENDS = of_characters("\n\r\x85\u2028\u2029")

_CATEGORIES = (
    *("Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Me", "Mc", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"),
    *("Pd", "Ps", "Pe", "Pc", "Po", "Sm", "Sc", "Sk", "So", "Pi", "Pf", "L", "M", "N", "Z", "C", "P", "S", "LC"),
)
_CASED = _property("LC")
_ANY_CASE = {"Lu": _CASED, "Ll": _CASED, "Lt": _CASED}
_JAVA_WHITE_SPACE = _property("Z").intersection(of_characters("\xa0\u2007\u202f").complement())
_NAMED = {
    **{name: _property(name) for name in _CATEGORIES},
    "LD": union([_property("L"), _property("Nd")]),
    "L1": of_ranges([(0, 0xFF)]),
    "all": ALL,
    "ASCII": of_ranges([(0, _LAST_ASCII)]),
    "Alnum": _between("09AZaz"),
    "Alpha": _between("AZaz"),
    "Blank": of_characters(" \t"),
    "Cntrl": _between("\x00\x1f\x7f\x7f"),
    "Digit": DIGIT,
    "Graph": _between("!~"),
    "Lower": _between("az"),
    "Print": _between(" ~"),
    "Punct": _between("!/:@[`{~"),
    "Space": SPACE,
    "Upper": _between("AZ"),
    "XDigit": _between("09AFaf"),
    "javaLowerCase": _property("Lowercase"),
    "javaUpperCase": _property("Uppercase"),
    "javaTitleCase": _property("Lt"),
    "javaAlphabetic": _property("Alphabetic"),
    "javaDigit": _property("Nd"),
    "javaLetter": _property("L"),
    "javaLetterOrDigit": union([_property("L"), _property("Nd")]),
    "javaSpaceChar": _property("Z"),
    "javaWhitespace": union([_JAVA_WHITE_SPACE, _between("\t\r\x1c\x1f")]),
    "javaISOControl": _between("\x00\x1f\x7f\x9f"),
}
_ANY_CASE_NAMED = {
    **_ANY_CASE,
    "Lower": _between("AZaz"),
    "Upper": _between("AZaz"),
    **dict.fromkeys(("javaLowerCase", "javaUpperCase", "javaTitleCase"), None),
}
_BINARY = {
    **{name: _property(name) for name in ("ALPHABETIC", "LOWERCASE", "UPPERCASE", "IDEOGRAPHIC", "WHITE_SPACE")},
    "LETTER": _property("L"),
    "TITLECASE": _property("Lt"),
    "DIGIT": _property("Nd"),
    "CONTROL": _property("Cc"),
    "PUNCTUATION": _property("P"),
    "ASSIGNED": _property("Cn").complement(),
}
_ANY_CASE_BINARY = dict.fromkeys(("LOWERCASE", "UPPERCASE", "TITLECASE"), None)
# Those most used; the library and Java write the names of others in different ways.
_SCRIPTS = (
    *("Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Devanagari", "Bengali", "Thai", "Georgian"),
    *("Hangul", "Hiragana", "Katakana", "Han", "Common", "Inherited"),
)


def named(name: str, *, any_case: bool) -> CharacterSet | None:
    r"""Return the set of `\p{name}`, None where it is not known to be the same in Java and here."""
    if name in _SCRIPT_NAMES:
        return _SCRIPT_NAMES[name]
    prefix, is_keyed, value = name.partition("=")
    if is_keyed:
        if prefix.lower() in {"sc", "script"}:
            return _SCRIPT_NAMES.get(f"Is{value}")
        return _category(value, any_case=any_case) if prefix.lower() in {"gc", "general_category"} else None
    if name.startswith("Is"):
        own = name[2:]
        if own.upper() in _BINARY:
            return _ANY_CASE_BINARY.get(own.upper(), _BINARY[own.upper()]) if any_case else _BINARY[own.upper()]
        return _category(own, any_case=any_case)
    return _ANY_CASE_NAMED.get(name, _NAMED.get(name)) if any_case else _NAMED.get(name)


def _category(name: str, *, any_case: bool) -> CharacterSet | None:
    if name not in _CATEGORIES:
        return None
    return _ANY_CASE.get(name, _NAMED[name]) if any_case else _NAMED[name]


_SCRIPT_NAMES = {f"Is{name}": _property(f"Script={name}") for name in _SCRIPTS}
PROPERTY_NAMES = (*_NAMED, *_SCRIPT_NAMES, *(f"Is{name}" for name in _BINARY))
r"""What `\p{…}` may name, beside `Is…` before a general category, `gc=…` and `script=…`."""
