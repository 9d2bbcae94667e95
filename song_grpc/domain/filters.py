"""The filter language of lists: a subset of AIP-160, see https://google.aip.dev/160."""

# expression  = factor {"AND" factor}
# factor      = term {"OR" term}
# term        = ["NOT" | "-"] (restriction | "(" expression ")")
# restriction = name {"." name} operator value

import re

from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.filter_tree import (
    And,
    Comparator,
    Comparison,
    DataComparison,
    DataPresence,
    Holding,
    Node,
    Not,
    Or,
    Part,
    names_state,
)
from song_grpc.domain.filter_values import FIELDS, MEMBERS, BadValueError, Written, read_data_value
from song_grpc.domain.limits import MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_TERMS

_SPACE = re.compile(r"\s*")
_AND = re.compile(r"AND(?![\w.-])")
_OR = re.compile(r"OR(?![\w.-])")
_NOT = re.compile(r"NOT(?![\w.-])|-")
_NAME = re.compile(r'(?P<word>[\w-]+)|"(?P<quoted>(?:[^"\\]|\\.)*)"', re.DOTALL)
_VALUE = re.compile(r'(?P<word>[\w+.-][\w+.:-]*)|"(?P<quoted>(?:[^"\\]|\\.)*)"', re.DOTALL)
_OPERATOR = re.compile(r"!=|<=|>=|[=<>:]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_UNASKABLE_NAME = re.compile(r'["\\\x00-\x1f\u2028\u2029]')
"""JSON text spells these as escapes, and one name in more than one way."""
_HAS = ":"

PUBLISHED_ONLY = Comparison("state", Comparator.EQUAL, AnalysisState.PUBLISHED)
"""What is listed where a filter has no condition on the state."""


def parse(text: str) -> Node:
    """Return what a filter says, with the condition on the state that it implies. Raises ParameterError."""
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise ParameterError("filter", f"has more than {MAX_FILTER_BYTES} bytes")
    if "\0" in text:
        raise ParameterError("filter", "has a NUL character, which nothing stored has")
    if not text.strip():
        return PUBLISHED_ONLY
    node = _Parser(text).parse()
    return node if names_state(node) else And((PUBLISHED_ONLY, node))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._terms = 0

    def parse(self) -> Node:
        node = self._expression(0)
        if self._skip_space() < len(self._text):
            raise self._expected("AND, OR or the end")
        return node

    def _expression(self, depth: int) -> Node:
        terms = [self._factor(depth)]
        while self._take(_AND):
            terms.append(self._factor(depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _factor(self, depth: int) -> Node:
        terms = [self._term(depth)]
        while self._take(_OR):
            terms.append(self._term(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _term(self, depth: int) -> Node:
        if self._take(_NOT):
            return Not(self._simple(depth))
        return self._simple(depth)

    def _simple(self, depth: int) -> Node:
        if not self._take_character("("):
            return self._restriction()
        if depth == MAX_FILTER_DEPTH:
            raise self._error(f"more than {MAX_FILTER_DEPTH} parentheses in each other", self._at - 1)
        node = self._expression(depth + 1)
        if not self._take_character(")"):
            raise self._expected("AND, OR or ')'")
        return node

    def _restriction(self) -> Node:
        self._terms += 1
        if self._terms > MAX_FILTER_TERMS:
            raise self._error(f"more than {MAX_FILTER_TERMS} terms", self._skip_space())
        start = self._skip_space()
        names = [self._name("a field, NOT or '('")]
        while self._take_character(".", skips_space=False):
            names.append(self._name("a member's name", skips_space=False))
        operator = self._operator(start, names)
        match names:
            case ["data", *path]:
                return self._data(tuple(path), operator, start)
            case [part, *rest] if part in {Part.FILES.value, Part.SAMPLES.value}:
                return self._holding(Part(part), ".".join(rest), operator, start)
        return self._comparison(".".join(names), operator, start)

    def _operator(self, start: int, names: list[str]) -> str:
        match = self._take(_OPERATOR)
        if match is not None:
            return match[0]
        if names[0] not in {"data", *(field.split(".")[0] for field in FIELDS), *(part.value for part in Part)}:
            raise self._unknown_field(start)
        raise self._expected("an operator: = != < <= > >= :")

    def _data(self, path: tuple[str, ...], operator: str, start: int) -> Node:
        if not path:
            raise self._error("expected a path after 'data', as in data.experiment.libraryStrategy", start)
        if any(_UNASKABLE_NAME.search(name) for name in path):
            raise self._error("a member's name with a quote, a backslash or a control character", start)
        if operator == _HAS:
            if not self._take_character("*"):
                raise self._expected("'*': dynamic data take ':' for presence only")
            return DataPresence(path)
        at = self._skip_space()
        try:
            return DataComparison(path, Comparator(operator), read_data_value(self._value()))
        except BadValueError as error:
            raise self._error(f"expected {error}", at) from None

    def _holding(self, part: Part, member: str, operator: str, start: int) -> Node:
        read = MEMBERS[part].get(member)
        if read is None:
            raise self._error(f"expected {part.value}.X with X one of {', '.join(MEMBERS[part])}", start)
        if operator != _HAS:
            raise self._error(f"{part.value} take ':' only", start)
        at = self._skip_space()
        try:
            return Holding(part, member, read(self._value()))
        except BadValueError as error:
            raise self._error(f"expected {error}", at) from None

    def _comparison(self, field: str, operator: str, start: int) -> Node:
        kind = FIELDS.get(field)
        if kind is None:
            raise self._unknown_field(start)
        if operator not in {comparator.value for comparator in kind.comparators}:
            allowed = " ".join(comparator.value for comparator in kind.comparators)
            raise self._error(f"{field} takes {allowed}", start)
        at = self._skip_space()
        try:
            return Comparison(field, Comparator(operator), kind.read(self._value()))
        except BadValueError as error:
            raise self._error(f"{field}: expected {error}", at) from None

    def _name(self, expected: str, *, skips_space: bool = True) -> str:
        match = self._take(_NAME, skips_space=skips_space)
        if match is None:
            raise self._error(f"expected {expected}", self._skip_space() if skips_space else self._at)
        return match["word"] or self._unescaped(match)

    def _value(self) -> Written:
        match = self._take(_VALUE)
        if match is None:
            raise self._expected("a value: a word, or text in double quotes")
        if match["word"] is not None:
            return Written(match["word"], is_quoted=False)
        return Written(self._unescaped(match), is_quoted=True)

    def _unescaped(self, match: re.Match[str]) -> str:
        for escape in _ESCAPE.finditer(match["quoted"]):
            if escape[1] not in {'"', "\\"}:
                at = match.start("quoted") + escape.start()
                raise self._error('in quotes, a backslash stands before " or \\ only', at)
        return _ESCAPE.sub(r"\1", match["quoted"])

    def _take(self, pattern: re.Pattern[str], *, skips_space: bool = True) -> re.Match[str] | None:
        match = pattern.match(self._text, self._skip_space() if skips_space else self._at)
        if match is not None:
            self._at = match.end()
        return match

    def _take_character(self, character: str, *, skips_space: bool = True) -> bool:
        at = self._skip_space() if skips_space else self._at
        found = self._text.startswith(character, at)
        if found:
            self._at = at + 1
        return found

    def _skip_space(self) -> int:
        match = _SPACE.match(self._text, self._at)
        return self._at if match is None else match.end()

    def _unknown_field(self, start: int) -> ParameterError:
        return self._error(f"expected a field: {', '.join(FIELDS)}, data.PATH, files.X or samples.X", start)

    def _expected(self, what: str) -> ParameterError:
        return self._error(f"expected {what}", self._skip_space())

    def _error(self, what: str, at: int) -> ParameterError:
        return ParameterError("filter", f"at offset {at}: {what}")
