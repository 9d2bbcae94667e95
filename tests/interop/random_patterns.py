"""Random patterns of Java's syntax, and texts for them, from a seed."""

from collections.abc import Callable
from random import Random

_LITERALS: list[str] = [*"abcAB12_- &]}^\n\réÉ#:,=<ks", "\u0085"]
_ESCAPES = [
    *(r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", r"\h", r"\H", r"\v", r"\V", r"\R", r"\A", r"\z", r"\Z", r"\G", r"\B"),
    *(r"\b", r"\.", r"\-", r"\n", r"\t", r"\x41", r"\x{61}", r"\u0061", r"\0141", r"\07", r"\cA", r"\e", r"\a", r"\_"),
    *(r"\p{Alpha}", r"\p{L}", r"\pL", r"\P{L}", r"\p{Lu}", r"\P{Lower}", r"\p{Punct}", r"\p{IsAlphabetic}", r"\é"),
    *(r"\p{javaLowerCase}", r"\p{IsLatin}", r"\p{Space}", r"\1", r"\2", r"\11", r"\k<n>", r"\Qa.b\E", r"\Q-]\E"),
    *(r"\E", r"\j", r"\X", r"\p{InGreek}", r"\ "),
]
_REPETITIONS = ["*", "+", "?", "{2}", "{1,}", "{0,2}", "{1,3}", "{2,2}", "{0}"]
_GROUPS = ["(", "(", "(", "(?:", "(?>", "(?=", "(?!", "(?<=", "(?<!", "(?<n>"]
_FLAG_GROUPS = ["(?i:", "(?-i:", "(?s:", "(?m:", "(?i-s:", "(?x:", "(?d:"]
_FLAGS = ["(?i)", "(?-i)", "(?s)", "(?m)", "(?x)", "(?d)", "(?md)", "(?iu)", "(?im-s)", "(?)"]
_TEXT = [*"aaabbcABC12_- &]^.\n#kKsS,\t\x0bé", "É", "\r\n", "\u0085", "\u2028", "\u017f", "\u212a", "\u0660", "ß", "ж"]
_DEEPEST = 4


class RandomPatterns:
    """Makes patterns: one kind of all that Java has, one of groups, repetitions and references to few letters."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def of_all_syntax(self) -> tuple[str, list[str]]:
        """Return a pattern and texts."""
        pattern = self._alternatives(self._any_atom, 0)
        texts = [self._text(_TEXT) + self._random.choice(["", "", "\n", "\r\n", "\r"]) for _ in range(12)]
        if "\\b" in pattern or "\\B" in pattern:
            # Before version 19, Java's boundary of a word was that of Unicode, although its `\w` was not.
            texts = [text.encode("ascii", "ignore").decode() for text in texts]
        return pattern, texts

    def of_structure(self) -> tuple[str, list[str]]:
        """Return a pattern and texts."""
        pattern = self._alternatives(self._plain_atom, 0)
        pattern = self._random.choice(["^", ""]) + f"(?:{pattern})" + self._random.choice(["$", ""])
        return pattern, [self._text([*"aaabbbAB"]) for _ in range(12)]

    def _text(self, characters: list[str]) -> str:
        return "".join(self._random.choice(characters) for _ in range(self._random.randint(0, 7)))

    def _alternatives(self, atom: Callable[[int], str], depth: int) -> str:
        return "|".join(self._sequence(atom, depth) for _ in range(self._random.choice([1, 1, 1, 2, 3])))

    def _sequence(self, atom: Callable[[int], str], depth: int) -> str:
        parts = []
        for _ in range(self._random.randint(0, 4)):
            parts.append(atom(depth))
            if self._random.random() < 0.35:
                parts.append(self._random.choice(_REPETITIONS) + self._random.choice(["", "", "", "?", "+"]))
        return "".join(parts)

    def _plain_atom(self, depth: int) -> str:
        kind = self._random.random()
        if kind < 0.45 or depth > _DEEPEST:
            return self._random.choice("ab")
        if kind < 0.52:
            return self._random.choice([".", "[ab]", "[^a]", "^", "$", r"\b"])
        if kind < 0.6:
            return self._random.choice([r"\1", r"\2", r"\k<n>", r"(?i:\1)"])
        return self._random.choice(_GROUPS) + self._alternatives(self._plain_atom, depth + 1) + ")"

    def _any_atom(self, depth: int) -> str:  # noqa: PLR0911 - one for each kind
        kind = self._random.random()
        if kind < 0.42:
            return self._random.choice(_LITERALS)
        if kind < 0.5:
            return self._random.choice([".", "^", "$"])
        if kind < 0.65:
            return self._random.choice(_ESCAPES)
        if kind < 0.78:
            return self._set(0)
        if depth >= _DEEPEST:
            return "a"
        if kind < 0.9:
            return self._random.choice(_GROUPS + _FLAG_GROUPS) + self._alternatives(self._any_atom, depth + 1) + ")"
        return self._random.choice(_FLAGS)

    def _set(self, depth: int) -> str:
        parts = []
        for _ in range(self._random.randint(1, 4)):
            kind = self._random.random()
            if kind < 0.45:
                parts.append(self._random.choice(_LITERALS))
            elif kind < 0.6:
                parts.append(self._random.choice("abcA1!-&") + "-" + self._random.choice("abcz9]&-["))
            elif kind < 0.8:
                parts.append(self._random.choice([escape for escape in _ESCAPES if escape != r"\b"]))
            elif kind < 0.9 and depth < 3:
                parts.append(self._set(depth + 1))
            else:
                parts.append("&&" + (self._set(depth + 1) if self._random.random() < 0.6 else ""))
        return "[" + self._random.choice(["", "", "^"]) + "".join(parts) + "]"
