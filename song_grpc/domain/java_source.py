"""The text of a pattern as its parser reads it: a place in it, and which of its characters were quoted."""

QUOTED = "\\Q"
"""The mark of a quoted character, whichever it is."""
_OCTAL = "01234567"
_HEXADECIMAL = "0123456789abcdefABCDEF"


class PatternError(Exception):
    """The pattern can't be used; `offset` in characters, from 0, where it is known."""

    def __init__(self, message: str, offset: int | None) -> None:
        super().__init__(message)
        self.offset = offset


class Source:
    r"""A pattern without its `\Q` and `\E`, which Java takes out before it reads anything else."""

    def __init__(self, pattern: str) -> None:
        self._characters: list[str] = []
        self._marks: list[str] = []
        self._offsets: list[int] = []
        self.at = 0
        at, quoted = 0, False
        while at < len(pattern):
            pair = pattern[at : at + 2]
            if pair == ("\\E" if quoted else "\\Q"):
                quoted = not quoted
                at += 2
                continue
            for character in pattern[at] if quoted or pattern[at] != "\\" else pair:
                self._characters.append(character)
                self._marks.append(QUOTED if quoted else character)
                self._offsets.append(at)
                at += 1
        self._offsets.append(len(pattern))

    def mark(self, ahead: int = 0) -> str:
        """Return an unquoted character, empty at the end; a quoted one is equal to none."""
        place = self.at + ahead
        return self._marks[place] if place < len(self._marks) else ""

    def starts(self, text: str) -> bool:
        """Say whether this text, unquoted, comes next."""
        return all(self.mark(ahead) == character for ahead, character in enumerate(text))

    def take(self) -> str:
        """Return the next character, quoted or not. Raises PatternError at the end."""
        if self.at >= len(self._characters):
            raise self.error("the pattern ends too early")
        self.at += 1
        return self._characters[self.at - 1]

    def take_if(self, text: str) -> bool:
        """Pass this text if it comes next, unquoted."""
        if not self.starts(text):
            return False
        self.at += len(text)
        return True

    def take_until(self, end: str) -> str:
        """Return the text before `end`, and pass both. Raises PatternError where there is no end."""
        start = self.at
        while self.mark() not in {end, ""}:
            self.at += 1
        text = "".join(self._marks[start : self.at])
        if not self.take_if(end):
            raise self.error(f"'{end}' is missing", start)
        if QUOTED in text:
            raise self.error("a quotation in the middle of an escape or a name is not understood", start)
        return text

    def digits(self, most: int, known: str = _HEXADECIMAL) -> str:
        """Pass and return digits, at most so many."""
        start = self.at
        while self.at - start < most and self.mark() and self.mark() in known:
            self.at += 1
        return "".join(self._marks[start : self.at])

    def octal_digits(self, most: int) -> str:
        """Pass and return octal digits, at most so many."""
        return self.digits(most, _OCTAL)

    def skip_free_spacing(self, line_ends: str) -> None:
        """Pass spaces and comments, as `(?x)` has them."""
        while self.mark() and self.mark() in "# \t\n\x0b\f\r":
            if not self.take_if("#"):
                self.at += 1
                continue
            while self.mark() and self.mark() not in line_ends:
                if self.mark() == QUOTED:
                    raise self.error("a quotation in a comment is not understood: leave it out")
                self.at += 1

    def error(self, message: str, at: int | None = None) -> PatternError:
        """Return the error for the character at a place, by default the next one."""
        return PatternError(message, self._offsets[min(self.at if at is None else at, len(self._offsets) - 1)])
