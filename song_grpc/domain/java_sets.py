"""Sets in brackets, `[a-z&&[^bc]]`, as Java reads them since version 9."""

from song_grpc.domain import character_sets
from song_grpc.domain.character_sets import CharacterSet
from song_grpc.domain.java_escapes import read_escape
from song_grpc.domain.java_source import Source
from song_grpc.domain.limits import MAX_PATTERN_DEPTH

_AMBIGUOUS = "an intersection '&&' needs a set on both sides, and ends its brackets: write [[…]&&[…]]"


def with_case(source: Source, found: CharacterSet, flags: frozenset[str], start: int) -> CharacterSet:
    """Add the characters that differ in case only, as the flags say. Raises PatternError."""
    if "i" not in flags or found.ranges is None:
        return found
    if "u" not in flags:
        return character_sets.with_ascii_case(found)
    folded = character_sets.with_unicode_case(found)
    if folded is None:
        raise source.error("Java's versions disagree on the case of these letters under (?iu): name all of them", start)
    return folded


class SetReader:
    """Reads one set; the bracket that opens it is taken."""

    def __init__(self, source: Source, flags: frozenset[str]) -> None:
        self._source, self._flags = source, flags

    def read(self, depth: int) -> CharacterSet:
        """Pass the set with its closing bracket. Raises PatternError."""
        start = self._source.at - 1
        if depth > MAX_PATTERN_DEPTH:
            raise self._source.error(f"is nested more than {MAX_PATTERN_DEPTH} levels deep", start)
        is_complement = self._source.take_if("^")
        found = self._operands(depth, start)
        self._source.take()
        return found.complement() if is_complement else found

    def _operands(self, depth: int, start: int) -> CharacterSet:
        """Read until the closing bracket, which is left."""
        found: list[CharacterSet] = []
        while True:
            mark = self._source.mark()
            if mark == "":
                raise self._source.error(
                    "a set of characters has no end: ']' is missing, or '[' needs a backslash", start
                )
            if mark == "]" and found:
                return character_sets.union(found)
            if self._source.starts("&&"):
                if not found:
                    raise self._source.error(_AMBIGUOUS)
                self._source.take_if("&&")
                return character_sets.union(found).intersection(self._right(depth, start))
            found.append(self.read(depth + 1) if self._source.take_if("[") else self._item())

    def _right(self, depth: int, start: int) -> CharacterSet:
        """Read what stands after `&&`: Java lets the rest of the brackets be of it."""
        at = self._source.at
        if self._source.mark() in {"]", "&"} or depth > MAX_PATTERN_DEPTH:
            raise self._source.error(_AMBIGUOUS, at)
        if self._source.mark() != "[":
            return self._operands(depth + 1, start)
        found: list[CharacterSet] = []
        while self._source.take_if("["):
            found.append(self.read(depth + 1))
        if self._source.starts("&&"):
            self._source.take_if("&&")
            return character_sets.union(found).intersection(self._right(depth + 1, start))
        if self._source.mark() not in {"]", ""}:
            raise self._source.error(_AMBIGUOUS)
        return character_sets.union(found)

    def _item(self) -> CharacterSet:
        start = self._source.at
        first = self._character()
        if isinstance(first, CharacterSet):
            return first
        last = first
        if self._source.mark() == "-" and self._source.mark(1) not in {"]", "[", ""}:
            self._source.take()
            end = self._character()
            if isinstance(end, CharacterSet) or end < first:
                raise self._source.error("a range of characters ends before it begins: '-' may need a backslash", start)
            last = end
        return with_case(self._source, character_sets.of_ranges([(first, last)]), self._flags, start)

    def _character(self) -> CharacterSet | int:
        start = self._source.at
        mark = self._source.mark()
        if "x" in self._flags and mark and mark in " \t\n\x0b\f\r#":
            raise self._source.error("a space or '#' in a set is ambiguous under (?x): write \\x20 or \\x23", start)
        if not self._source.take_if("\\"):
            return ord(self._source.take())
        if self._source.take_if("b"):
            return 0x08  # Python's; Java has none in a set
        is_vertical = self._source.mark() == "v"
        found = read_escape(self._source, self._flags)
        if is_vertical and self._source.mark() == "-":
            raise self._source.error(r"'\v' before '-' is ambiguous: write \x0b, or the '-' first", start)
        return found
