"""Text from outside on its way to a terminal: a server's words, other people's file names, what a manifest says.

Everything that the commands show to people comes through here. JSON does not: its own escapes make it harmless.
"""

import sys
from unicodedata import category


def plain(text: str, *, keep: str = "") -> str:
    r"""Return the text with an escape, such as `\x1b`, for whatever is not seen as itself.

    Those are the characters that control a terminal, change the direction of text or have no width, and halves of
    surrogate pairs, which stand for bytes of file names that are no text. Those of `keep` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(char if _is_seen(char) or char in keep else _escape(char) for char in text)


def plain_lines(text: str) -> str:
    """Return the text as `plain` does, its lines after the first indented: none looks like the program's own."""
    first, *rest = plain(text, keep="\n\t").split("\n")
    return "\n".join([first, *(f"  {line.lstrip()}" for line in rest)])


def print_message(program: str, text: str) -> None:
    """Print a message on stderr, in the program's name."""
    print(f"{program}: {plain_lines(text)}", file=sys.stderr, flush=True)  # noqa: T201 - the one place that does


def _is_seen(char: str) -> bool:
    return char.isprintable() or category(char) == "Zs"  # spaces of all widths


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
