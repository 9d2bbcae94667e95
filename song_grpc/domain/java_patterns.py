r"""Java's patterns, translated for the `regex` library: where `java.util.regex` finds, it finds.

Sets of characters become code points, flags become sets and anchors: no flag is left for the library. Taken beside
is what only Python has: `(?P<name>…)`, `(?P=name)`, `(?#…)`, `{,3}`, a `{` that begins no repetition,
`\UXXXXXXXX`. What can't be translated faithfully is refused.
"""

import re
from dataclasses import dataclass

from song_grpc.domain import character_sets
from song_grpc.domain.character_sets import CharacterSet
from song_grpc.domain.java_escapes import read_escape
from song_grpc.domain.java_sets import SetReader, with_case
from song_grpc.domain.java_source import Source
from song_grpc.domain.limits import MAX_PATTERN_DEPTH, MAX_PATTERN_REPETITIONS

_WORD = character_sets.WORD.text
# Each anchor by whether `(?m)` and whether `(?d)` holds.
_CARETS = {
    (False, False): r"\A",
    (False, True): r"\A",
    (True, False): r"(?:(?!\Z)(?:\A|(?<=[\n\x85\u2028\u2029])|(?<=\r)(?!\n)))",
    (True, True): r"(?:(?!\Z)(?:\A|(?<=\n)))",
}
_DOLLARS = {
    (False, False): r"(?:\Z|(?=\r\n\Z|[\r\x85\u2028\u2029]\Z|(?<!\r)\n\Z))",
    (False, True): r"(?:\Z|(?=\n\Z))",
    (True, False): r"(?:\Z|(?=[\r\x85\u2028\u2029])|(?<!\r)(?=\n))",
    (True, True): r"(?:\Z|(?=\n))",
}
_ANCHORS = {
    "A": r"\A",
    "G": r"\A",
    "z": r"\Z",
    "b": rf"(?:(?<={_WORD})(?!{_WORD})|(?<!{_WORD})(?={_WORD}))",
    "B": rf"(?:(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD}))",
    "R": rf"(?:\r\n|{character_sets.VERTICAL.text})",
}
_FLAGS = re.compile(r"(?P<on>[idmsuxa]*)(?:-(?P<off>[idmsuxa]*))?(?P<end>[:)])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DIGITS = "0123456789"
_ZERO_WIDTH_GROUPS = ("?=", "?!", "?<=", "?<!")


@dataclass(frozen=True, slots=True)
class _Part:
    """A translated part of a pattern."""

    text: str
    may_be_empty: bool
    """Whether it may be found in no character at all."""


_NOTHING = _Part("", may_be_empty=True)


@dataclass(frozen=True, slots=True)
class Translation:
    """A pattern for the `regex` library, version 1."""

    text: str
    has_properties: bool
    """Whether it names Unicode properties; where not, the library need not know of Unicode."""


def translate(pattern: str) -> Translation:
    """Translate a pattern. Raises PatternError."""
    return _Parser(pattern).translate()


class _Parser:
    """Reads one pattern from left to right, and writes its translation."""

    def __init__(self, pattern: str) -> None:
        self._source = Source(pattern)
        self._flags: frozenset[str] = frozenset()
        self._names: dict[str, int] = {}
        self._groups = 0
        self._unreliable: dict[int, str] = {}
        """Groups that no reference may lead to now, with the reason."""
        self._kept: set[int] = set()
        """Groups that Java goes on to remember where it has gone back before them."""
        self._lookbehinds = 0
        self._depth = 0
        self._has_properties = False
        self._folds_reference: int | None = None

    def translate(self) -> Translation:
        text = self._alternatives().text
        if self._source.mark() == ")":
            raise self._source.error("this ')' closes no group: write \\) for the character")
        if self._has_properties and self._folds_reference is not None:
            text = "a reference under (?i) beside Unicode properties is not understood: leave one of them out"
            raise self._source.error(text, self._folds_reference)
        return Translation(text, self._has_properties)

    def _alternatives(self) -> _Part:
        groups = self._groups
        branches = [self._sequence()]
        while self._source.take_if("|"):
            self._forget_kept(groups)
            branches.append(self._sequence())
        if len(branches) > 1:
            self._forget_kept(groups)
        return _Part("|".join(one.text for one in branches), any(one.may_be_empty for one in branches))

    def _sequence(self) -> _Part:
        parts: list[_Part] = []
        while True:
            self._skip_free_spacing()
            if self._source.mark() in {"", "|", ")"}:
                return _Part("".join(one.text for one in parts), all(one.may_be_empty for one in parts))
            groups = self._groups
            atom = self._atom()
            if atom.text:  # else it only set flags
                parts.append(self._repeated(atom, groups))

    def _atom(self) -> _Part:  # noqa: PLR0911 - one for each kind
        start = self._source.at
        mark = self._source.mark()
        if mark in {"*", "+", "?"} or (mark == "{" and self._is_repetition()):
            raise self._source.error(f"there is nothing for '{mark}' to repeat: write \\{mark} for the character")
        if self._source.take_if("("):
            return self._group(start)
        if self._source.take_if("["):
            return self._set(SetReader(self._source, self._flags).read(self._depth + 1))
        if self._source.take_if("."):
            return _Part(self._dot(), may_be_empty=False)
        if self._source.take_if("^"):
            return _Part(_CARETS["m" in self._flags, "d" in self._flags], may_be_empty=True)
        if self._source.take_if("$"):
            return _Part(_DOLLARS["m" in self._flags, "d" in self._flags], may_be_empty=True)
        if self._source.take_if("\\"):
            return self._escape(start)
        return self._character(ord(self._source.take()), start)

    def _dot(self) -> str:
        if "s" in self._flags:
            return "(?s:.)"
        return r"[^\n]" if "d" in self._flags else character_sets.LINE_ENDS.complement().text

    def _character(self, code: int, start: int) -> _Part:
        if "i" not in self._flags:
            return _Part(character_sets.escape(code), may_be_empty=False)
        found = with_case(self._source, character_sets.of_ranges([(code, code)]), self._flags, start)
        is_alone = found.ranges == ((code, code),)
        return _Part(character_sets.escape(code) if is_alone else found.text, may_be_empty=False)

    def _set(self, found: CharacterSet) -> _Part:
        if found.ranges is None:
            self._has_properties = True
        return _Part(found.text, may_be_empty=False)

    def _escape(self, start: int) -> _Part:
        mark = self._source.mark()
        if mark and mark in "123456789":
            return self._reference_by_number(start)
        if self._source.take_if("k"):
            return self._reference_by_name(start, "<", ">")
        if mark == "Z":
            self._source.take()
            return _Part(_DOLLARS[False, "d" in self._flags], may_be_empty=True)
        if self._source.starts("b{"):
            raise self._source.error("'\\b{…}' is not understood: '\\b' is the boundary of a word", start)
        if mark in _ANCHORS:
            return _Part(_ANCHORS[self._source.take()], may_be_empty=mark != "R")
        found = read_escape(self._source, self._flags)
        return self._set(found) if isinstance(found, CharacterSet) else self._character(found, start)

    # References.

    def _reference_by_number(self, start: int) -> _Part:
        """Take a second digit only where there is such a group, as Java does."""
        number = int(self._source.take())
        while self._source.mark() and self._source.mark() in _DIGITS:
            longer = number * 10 + int(self._source.mark())
            if longer > self._groups:
                break
            number = longer
            self._source.take()
        if "x" in self._flags and self._source.mark().isspace():
            raise self._source.error("a space after a reference is ambiguous under (?x): write (?:\\1)", start)
        return self._reference(number, start)

    def _reference_by_name(self, start: int, begin: str, end: str) -> _Part:
        name = self._source.take_until(end) if self._source.take_if(begin) else ""
        if name not in self._names:
            raise self._source.error(f"there is no group '{name[:64]}' before it", start)
        return self._reference(self._names[name], start)

    def _reference(self, number: int, start: int) -> _Part:
        if number > self._groups:
            raise self._source.error(f"a reference leads to group {number}, which does not begin before it", start)
        if number in self._unreliable:
            raise self._source.error(f"a reference leads to group {number}, {self._unreliable[number]}", start)
        if self._lookbehinds:
            raise self._source.error(
                "a reference in a lookbehind is not understood: spell out what it stands for", start
            )
        if "i" not in self._flags:
            return _Part(rf"(?:\{number})", may_be_empty=True)
        if "u" in self._flags:
            raise self._source.error("a reference under (?iu) is not understood: leave the 'u' out", start)
        self._folds_reference = start
        return _Part(rf"(?i:\{number})", may_be_empty=True)

    # Groups.

    def _group(self, start: int) -> _Part:  # noqa: PLR0911 - one for each kind
        if self._depth >= MAX_PATTERN_DEPTH:
            raise self._source.error(f"is nested more than {MAX_PATTERN_DEPTH} levels deep", start)
        if "x" in self._flags and self._source.mark().isspace():
            raise self._source.error("a space after '(' is ambiguous under (?x): leave it out")
        for kind in _ZERO_WIDTH_GROUPS:
            if self._source.take_if(kind):
                return self._lookaround(start, kind)
        if self._source.take_if("?:"):
            return self._body(start, "(?:")
        if self._source.take_if("?>"):
            self._refuse_in_lookbehind(start, "an atomic group")
            groups = self._groups
            body = self._body(start, "(?>")
            self._kept.update(range(groups + 1, self._groups + 1))
            return body
        if self._source.take_if("?P="):
            self._source.at -= 1
            return self._reference_by_name(start, "=", ")")
        if self._source.take_if("?#"):
            self._source.take_until(")")
            return _NOTHING
        if self._source.take_if("?P<") or self._source.take_if("?<"):
            return self._capture(start, self._source.take_until(">"))
        if self._source.take_if("?"):
            return self._flag_group(start)
        return self._capture(start, None)

    def _capture(self, start: int, name: str | None) -> _Part:
        self._groups += 1
        number = self._groups
        if name is not None:
            if not _NAME.fullmatch(name):
                raise self._source.error("a group's name begins with a letter and has letters and digits only", start)
            if name in self._names:
                raise self._source.error(f"a group has the name '{name[:64]}' already: choose another", start)
            self._names[name] = number
        self._unreliable[number] = "which does not end before it"
        body = self._body(start, "(")
        del self._unreliable[number]
        return body

    def _lookaround(self, start: int, kind: str) -> _Part:
        groups = self._groups
        self._lookbehinds += "<" in kind
        body = self._body(start, f"({kind}")
        self._lookbehinds -= "<" in kind
        self._kept.update(range(groups + 1, self._groups + 1))
        if "!" in kind:
            self._forget_kept(groups)
        return _Part(body.text, may_be_empty=True)

    def _forget_kept(self, groups: int) -> None:
        """Refuse references from now on to groups after the first so many, that Java may remember too well."""
        for number in self._kept:
            if number > groups:
                self._unreliable[number] = "which Java may remember from a way it has gone back on"

    def _flag_group(self, start: int) -> _Part:
        text = ""
        while (mark := self._source.mark()) and mark in "-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:)":
            text += self._source.take()
            if mark in ":)":
                break
        found = _FLAGS.fullmatch(text)
        if found is None:
            hint = "the flags are i, d, m, s, u, x; 'U' has no faithful translation: name the sets, [\\p{L}\\p{Nd}_]"
            raise self._source.error(f"this kind of group, or one of its flags, is not known ({hint})", start)
        before = self._flags
        self._flags = (self._flags | set(found["on"])) - set(found["off"] or "")
        if found["end"] == ")":
            return _NOTHING  # the flags hold to the end of the group around
        body = self._body(start, "(?:")
        self._flags = before
        return body

    def _body(self, start: int, begin: str) -> _Part:
        """Read a group to its end; flags set in it end with it."""
        flags = self._flags
        self._depth += 1
        found = self._alternatives()
        if not self._source.take_if(")"):
            raise self._source.error("this group has no end: ')' is missing, or '(' needs a backslash", start)
        self._depth -= 1
        self._flags = flags
        return _Part(f"{begin}{found.text})", found.may_be_empty)

    # Repetitions.

    def _repeated(self, atom: _Part, groups: int) -> _Part:
        """Read the repetition after an atom, if there is one; groups after the first so many are in the atom."""
        self._skip_free_spacing()
        start = self._source.at
        bounds = self._bounds(start)
        if bounds is None:
            return atom
        text = f"(?>{atom.text})" if atom.text == _ANCHORS["R"] else atom.text  # repeated, it is not gone back into
        if atom.may_be_empty:
            for number in range(groups + 1, self._groups + 1):
                self._unreliable[number] = "in a repetition of what may be empty, of which Java leaves out rounds"
        self._skip_free_spacing()
        mode = self._source.take() if self._source.mark() in {"?", "+"} else ""
        if mode == "+":
            self._refuse_in_lookbehind(start, "a possessive repetition")
            self._kept.update(range(groups + 1, self._groups + 1))
            # Java never goes back into one of the rounds, not even to reach the least number of them.
            text = f"(?>{text})"
        is_optional = bounds[0] in "*?" or bounds.startswith("{0")
        if is_optional:
            self._forget_kept(groups)
        return _Part(f"(?:{text}){bounds}{mode}", atom.may_be_empty or is_optional)

    def _bounds(self, start: int) -> str | None:
        """Pass a repetition; None where none comes next."""
        mark = self._source.mark()
        if mark and mark in "*+?":
            if mark != "?":
                self._refuse_in_lookbehind(start, "a repetition without end")
            return self._source.take()
        if mark != "{" or not self._is_repetition():
            return None
        self._source.take()
        least, comma, most = self._source.take_until("}").partition(",")
        first, last = int(least or "0"), int(most or "0") if most or not comma else None
        last = first if not comma else last
        if max(first, last or 0) > MAX_PATTERN_REPETITIONS:
            raise self._source.error(f"repeats more than {MAX_PATTERN_REPETITIONS} times: write {{n,}}", start)
        if last is not None and last < first:
            raise self._source.error("a repetition's most is less than its least: write {least,most}", start)
        if last is None:
            self._refuse_in_lookbehind(start, "a repetition without end")
        return f"{{{first}}}" if not comma else f"{{{first},{'' if last is None else last}}}"

    def _is_repetition(self) -> bool:
        """Say whether `{` begins one: `{2}`, `{2,}`, `{2,3}`; `{,3}` and `{,}` are Python's."""
        place = 1
        while self._source.mark(place) and self._source.mark(place) in _DIGITS:
            place += 1
        has_digits = place > 1
        if self._source.mark(place) == ",":
            place += 1
            while self._source.mark(place) and self._source.mark(place) in _DIGITS:
                place += 1
            has_digits = True
        return has_digits and self._source.mark(place) == "}"

    def _refuse_in_lookbehind(self, start: int, what: str) -> None:
        if self._lookbehinds:
            raise self._source.error(f"{what} can't stand in a lookbehind: write {{n,m}}, or spell it out", start)

    def _skip_free_spacing(self) -> None:
        if "x" in self._flags:
            self._source.skip_free_spacing("\n" if "d" in self._flags else "\n\r\x85\u2028\u2029")
