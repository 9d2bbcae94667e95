"""Patterns against Java itself: what compiles there and here, finds the same."""

import shutil
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from song_grpc.domain import character_sets
from song_grpc.domain.java_source import PatternError
from song_grpc.domain.patterns import compile_pattern
from tests.interop.random_patterns import RandomPatterns

SOURCE = Path(__file__).parent / "FindsInJava.java"
PATTERN_SECONDS = 5.0
DOES_NOT_COMPILE, STUMBLES = "E", "S"

Case = tuple[str, Sequence[str]]
"""A pattern and texts."""
Java = Callable[[Sequence[Case]], list[str]]
"""Answers for each case with a 1 or 0 for each text, or one letter."""

TEXTS = (
    *(
        "",
        "a",
        "b",
        "ab",
        "ba",
        "abc",
        "aab",
        "aaa",
        "abab",
        "AB",
        "aB",
        "Ab",
        "abc/canada/",
        "abc/CaNaDa/",
        "ABC/canada/",
    ),
    *("a\n", "a\r\n", "a\r", "a\u0085", "a\u2028", "a\u2029", "a\n\n", "a\nb", "a\r\nb", "a\rb", "\n", "\r\n", "a\n\r"),
    *(" ", "\t", "\x0b", "\f", "\xa0", "\u2003", "\u180e", "_", "-", "a-b", "a.b", "axb", "1", "12", "a1", "\u0661"),
    *("]", "[", "^", "&", "&&", "{", "}", "a{x}", "$", "#", "a#b", "a b", "\\", "\\E", "{2}", "x{2}", "aa1", "a\x01"),
    *("é", "É", "ß", "ẞ", "ſ", "K", "K", "k", "s", "S", "i", "I", "ı", "İ", "α", "Α", "Ж", "ж", "µ", "μ", "å", "Å"),  # noqa: RUF001 - letters that look alike
    *("abcdefghij", "abcdefghijj1", "aa", "bb", "cc", "d", "e", "z", "A", "\x1b", "\x07", "\x00", "😀", "😂", "x😀y"),
    *("HG00096", "chr1:100-200", "ERR123", "err123", "EGAD00001000001", "C50.1", "SA-01", "sample_1.bam", "a@b.org"),
)
ACCEPTED = (
    # Flags: at the start, in mid-pattern, across alternatives, to the end of their group.
    *(r"^abc/(?i)(canada)/", r"(?i)^ab$", r"a(?i)b|c", r"^(?:a(?i)b|A)$", r"(a(?i)b)a", r"(?i:a)b", r"(?i)a(?-i:b)"),
    *(
        r"(?i)a(?-i)b",
        r"(?i)[a-b]$",
        r"(?i)[^a]",
        r"(?i)\x41",
        r"(?i)É",
        r"(?iu)É",
        r"(?iu)k",
        r"(?iu)[a-z]",
        r"(?iu)ж",
    ),
    *(r"(?s)a.b", r"a.b", r"(?i-s)A.B", r"(?m)^b", r"(?m)a$", r"(?m)^$", r"(?m)^", r"(?md)a$", r"(?d)a$", r"(?d)a.b"),
    *("(?x) a b # c", "(?x)a\\ b", "(?x) a + b", "(?x)#\na", "(?x:a b)a", r"(?idmsux)a", r"(?)a", r"(?-)a", r"(?i)ß"),
    # Anchors.
    *(r"^a$", r"a$", r"^$", r"\Aa\z", r"\Aa\Z", r"a\Z", r"(?d)a\Z", r"\Ga", r"a\G", r"$\n", r"\z", r"^*a", r"(?=a)*b"),
    # Sets of characters.
    *(r"\h", r"\H", r"\v", r"\V", r"\R", r"a\Rb", r"a\R+", r"^\R{2}$", r"\w", r"\W", r"\d", r"\D", r"\s", r"\S"),
    *(
        r"[\h]",
        r"[\v]",
        r"[^\h]",
        r"[^\v\h]",
        r"\p{Alpha}",
        r"\P{Alpha}",
        r"\p{L}",
        r"\pL",
        r"\PL",
        r"\p{Lu}",
        r"\p{IsLu}",
    ),
    *(r"\p{IsAlphabetic}", r"\p{javaLowerCase}", r"\p{IsGreek}", r"\p{script=Cyrillic}", r"\p{gc=Ll}", r"(?i)\p{Lu}"),
    *(r"(?i)\p{Lower}", r"\p{Punct}", r"[\p{L}&&[^a-z]]", r"[^\p{L}\d]", r"[\p{L}&&\p{ASCII}]", r"\p{all}", r"\p{L1}"),
    *(
        r"[a[bc]]",
        r"[a-z&&[^bc]]",
        r"[^a&&b]",
        r"[a-z&&b-c]",
        r"[a&&^b]",
        r"[[ab]&&[bc]&&[b]]",
        r"[a-c&&b[c]]",
        r"[]a]",
    ),
    *(
        r"[^]a]",
        r"[a^]",
        r"[\^a]",
        r"[a-]",
        r"[-a]",
        r"[a\-b]",
        r"[\w-.]",
        r"[\d-z]",
        r"[&a]",
        r"[a&]",
        r"[a&b]",
        r"[a-[b]]",
    ),
    *(
        r"[\]]",
        r"[\[]",
        r"[{}]",
        r"[$.*+?|()]",
        r"[\\]",
        r"[a||b]",
        r"[\w~~a]",
        r"[x[:alpha:]]",
        r"[\Qa-c]\E]",
        r"[\x41-\x43]",
    ),
    *(r"[\Qa\E-c]", r"[^\n]", r"[\x{1F600}-\x{1F602}]", r"[+--]", r"[!-/]"),
    # Escapes.
    *(r"\x41", r"\x{61}", r"\x{1F600}", r"\u0061", r"\ud83d\ude00", r"\0141", r"\0377", r"\07", r"\cA", r"\e", r"\a"),
    *(
        r"\t",
        r"\n",
        r"\f",
        r"\-",
        r"\_",
        r"\é",
        r"\Qa.b\E",
        r"\Q\E",
        r"\Qa\Eb",
        r"\Qa",
        r"\Qa{\E",
        r"a\Q\E+",
        r"\N{LATIN SMALL LETTER A}",
    ),
    *(r"\.", r"\/", r"\"", r"\@", r"\#", r"\ ", "😀", "^.$", "^..$"),
    # Groups, references, repetitions.
    *(
        r"(a)\1",
        r"(?<x>a)b\k<x>",
        r"(a)\11",
        r"(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)\101",
        r"(?i)(a)\1",
        r"(a)(?i)\1",
        r"(?:a|b)+",
    ),
    *(
        r"a++a",
        r"a*+b",
        r"a?+a",
        r"(?>a+)a",
        r"(?>a|ab)c",
        r"(?:a|ab){2}+",
        r"a{2}",
        r"a{1,}?b",
        r"a{0,1}+",
        r"(ab)*+a",
    ),
    *(
        r"(?=a)a",
        r"(?!a)b",
        r"(?<=a)b",
        r"(?<!a)b",
        r"(?<=a{1,3})b",
        r"(?<=^|b)a",
        r"a|",
        r"|a",
        r"()",
        r"(|a)b",
        r"]",
        r"}",
    ),
    # As people write them.
    *(
        r"^[A-Z]{2,}\d+$",
        r"^(?i)(err|srr|drr)\d{3,}$",
        r"^chr(?:[1-9]|1\d|2[0-2]|[XYM]):\d++-\d++\z",
        r"^EGA[DNSR]\d{11}$",
    ),
    *(
        r"^[\w.+-]+@[\w-]+\.\p{Alpha}{2,}$",
        r"^[A-TV-Z]\d[A-Z\d](?:\.[A-Z\d]{1,4})?$",
        r"^[^\p{Cntrl}\p{Space}]+$",
        r"(?i)\.(?:bam|cram)\z",
    ),
)
REFUSED_THOUGH_JAVAS = (
    *(
        r"\X",
        r"a\b{g}b",
        r"\p{InGreek}",
        r"\p{javaMirrored}",
        r"(?U)\w",
        r"(?i)\p{javaLowerCase}",
        r"(?i)\p{IsUppercase}",
    ),
    *(r"[a&&]", r"[&&a]", r"[a&&[b]&c]", r"[\v-x]", r"(?iu)[A-Z]", r"(?iu)ß", r"(?iu)(a)\1", r"(?i)(a)\1\p{L}"),
    *(
        r"\1(a)",
        r"(a\1)",
        r"\1",
        r"(?!(a))b\1",
        r"(?:(a?))*\1",
        r"(?:(?>(a))b|a)\1",
        r"(?<=a++)b",
        r"(?<=(?>a))b",
    ),
    *(
        r"{2}",
        r"a{2}{3}",
        r"(?x)[a b]",
        r"(?x)( ?:a)",
        r"(?x)(a)\1 1",
        r"(?x)\07 1",
        "(?x)a#\\Qb\\E",
        r"\p{\QL\E}",
        r"\ud83d",
    ),
)
"""What Java has and Song refuses: nothing beside."""
TAKEN_FROM_PYTHON = (
    *(r"(?P<x>a)b", r"(?P<x>a)(?P=x)", r"a(?#no word)b", r"a{,2}", r"a{x}", r"^a{,}$", r"\U0001F600", r"[\b]", r"\0"),
)


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Java:
    """Compile the Java program; return how to ask it."""
    compiler, runtime = shutil.which("javac"), shutil.which("java")
    if compiler is None or runtime is None:
        pytest.skip("needs java and javac, version 17 or later")
    folder = tmp_path_factory.mktemp("java")
    compiled = subprocess.run([compiler, "-d", folder, SOURCE], capture_output=True, text=True, check=False)
    if "HexFormat" in compiled.stderr:
        pytest.skip("needs javac 17 or later")
    assert compiled.returncode == 0, compiled.stderr

    def ask(cases: Sequence[Case]) -> list[str]:
        lines = "".join(",".join(text.encode().hex() for text in (pattern, *texts)) + "\n" for pattern, texts in cases)
        command: list[str] = [runtime, "-cp", str(folder), "FindsInJava"]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=120)
        answers: list[str] = done.stdout.splitlines()
        assert len(answers) == len(cases)
        return answers

    return ask


def answer(pattern: str, texts: Sequence[str]) -> str:
    """Answer as the Java program does."""
    try:
        compiled = compile_pattern(pattern)
    except PatternError:
        return DOES_NOT_COMPILE
    return "".join("01"[compiled.search(text, timeout=PATTERN_SECONDS) is not None] for text in texts)


def texts_for(pattern: str) -> list[str]:
    """Leave out texts on which Java's versions disagree: the boundary of a word was not always that of `\\w`."""
    return [text for text in TEXTS if text.isascii() or "\\b" not in pattern]


def test_what_is_accepted_finds_what_java_finds(java: Java) -> None:
    cases = [(pattern, texts_for(pattern)) for pattern in (*ACCEPTED, r"\bab\b", r"\Bb", r"\b")]
    for (pattern, texts), theirs in zip(cases, java(cases), strict=True):
        ours = answer(pattern, texts)
        assert theirs not in {DOES_NOT_COMPILE, STUMBLES}, pattern
        differing = [text for text, a, b in zip(texts, ours, theirs, strict=False) if a != b]
        assert ours == theirs, f"{pattern!r} on {differing!r}"


def test_what_java_has_and_we_refuse_is_a_short_list(java: Java) -> None:
    for pattern, theirs in zip(
        REFUSED_THOUGH_JAVAS, java([(pattern, ["a"]) for pattern in REFUSED_THOUGH_JAVAS]), strict=True
    ):
        assert theirs != DOES_NOT_COMPILE, f"{pattern!r} is not Java's: it has no place in this list"
        with pytest.raises(PatternError) as refused:
            compile_pattern(pattern)
        assert refused.value.offset is not None, pattern


def test_what_is_taken_from_python_has_no_meaning_in_java(java: Java) -> None:
    for pattern, theirs in zip(TAKEN_FROM_PYTHON, java([(one, ["a"]) for one in TAKEN_FROM_PYTHON]), strict=True):
        assert theirs == DOES_NOT_COMPILE, pattern
        compile_pattern(pattern)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [RandomPatterns.of_all_syntax, RandomPatterns.of_structure])
def test_random_patterns_find_what_java_finds(
    java: Java, kind: Callable[[RandomPatterns], tuple[str, list[str]]], seed: int
) -> None:
    patterns = RandomPatterns(seed)
    cases = [kind(patterns) for _ in range(2000)]
    outcomes: Counter[str] = Counter()
    for (pattern, texts), theirs in zip(cases, java(cases), strict=True):
        ours = answer(pattern, texts)
        if theirs == STUMBLES:
            outcomes["stumbled"] += 1
        elif DOES_NOT_COMPILE not in {ours, theirs}:
            outcomes["found" if "1" in theirs else "not found"] += 1
            assert ours == theirs, f"seed {seed}: {pattern!r} on {texts!r}"
        elif theirs == DOES_NOT_COMPILE:
            # Java wants lookbehinds of bounded length, and does not always see that one is.
            assert ours == DOES_NOT_COMPILE or "(?<" in pattern, f"seed {seed}: {pattern!r} is not Java's"
        else:
            outcomes["refused"] += 1
    assert outcomes["found"] > 300
    assert outcomes["stumbled"] < 20
    assert outcomes["refused"] < 0.35 * (outcomes["found"] + outcomes["not found"] + outcomes["refused"]), outcomes


def test_properties_are_those_of_java(java: Java) -> None:
    names = character_sets.PROPERTY_NAMES
    old = unicodedata.ucd_3_2_0  # what was assigned then is the same in every Java, but for a few
    codes = [code for code in range(0x20000) if code < 0x530 or code % 11 == 0]
    texts = [chr(code) for code in codes if old.category(chr(code)) not in {"Cn", "Cs"}]
    cases = [(pattern, texts) for name in names for pattern in (rf"\p{{{name}}}", rf"(?i)\P{{{name}}}")]
    for (pattern, _), theirs in zip(cases, java(cases), strict=True):
        ours = answer(pattern, texts)
        if ours == DOES_NOT_COMPILE and "(?i)" in pattern:
            continue  # where Java's versions disagree
        differing = [text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]
        assert len(differing) <= 20, f"{pattern}: {differing}"  # Unicode moved few of them


def test_letters_of_every_case_are_those_of_java(java: Java) -> None:
    letters = [chr(code) for code in range(0x2000) if chr(code).lower() != chr(code).upper()]
    near = {one: sorted({one, one.lower()[0], one.upper()[0], one.title()[0], "k", "a"}) for one in letters}
    cases = [(template % one, near[one]) for one in letters for template in ("(?iu)%s", "(?i)%s", "(?iu)[%s]")]
    accepted = 0
    for (pattern, texts), theirs in zip(cases, java(cases), strict=True):
        ours = answer(pattern, texts)
        if ours != DOES_NOT_COMPILE:
            accepted += 1
            assert ours == theirs, pattern
    assert accepted > 0.9 * len(cases)
