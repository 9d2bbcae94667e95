"""docs/limits.md against the two modules of limits."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from score_grpc.domain import limits as score_limits
from song_grpc.domain import limits as song_limits

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "limits.md").read_text()
UNITS_OF_BYTES = {"KIBIBYTE", "MEBIBYTE", "KIB", "MIB", "GIB"}
NOWHERE = "nowhere yet"


def constants(module: ModuleType) -> dict[str, float]:
    names = [name for name in vars(module) if name.isupper() and name not in UNITS_OF_BYTES]
    return {name: getattr(module, name) for name in names}


def shown(name: str, value: float) -> str:
    """Return a value as the page spells it, with the unit that the name says."""
    if name.endswith("_BYTES"):
        for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if value % size == 0:
                return f"{value // size} {unit}"
        return f"{value:,} bytes".replace(",", " ")
    text = f"{value:,g}" if isinstance(value, float) else f"{value:,}"
    return text.replace(",", " ") + (" s" if name.endswith("_SECONDS") else "")


def rows(service: str) -> dict[str, list[str]]:
    """Return the cells of a service's table after the constant's name, by that name."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(f"{service}:"))
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in lines}


@pytest.mark.parametrize(("service", "module"), [("Song", song_limits), ("Score", score_limits)])
def test_every_limit_stands_in_the_table_with_its_value(service: str, module: ModuleType) -> None:
    expected = {name: shown(name, value) for name, value in constants(module).items()}
    assert {name: cells[0] for name, cells in rows(service).items()} == expected


@pytest.mark.parametrize("service", ["Song", "Score"])
def test_a_limit_is_enforced_where_the_table_says(service: str) -> None:
    for name, cells in rows(service).items():
        if cells[-1] == NOWHERE:
            others = [path for path in (ROOT / f"{service.lower()}_grpc").rglob("*.py") if path.name != "limits.py"]
            used = [path for path in others if re.search(rf"\blimits\.{name}\b|^ +{name},$", path.read_text())]
            assert not used, f"{name} is enforced by now: say where"
        else:
            for path in re.findall(r"`([^`]+\.py)`", cells[-1]):
                assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), f"{path} does not know {name}"


OTHER_ROOMS = r"\| `(?:runtime_grpc|clients/python/song_score_client)/[\w/]+\.py`"


@pytest.mark.parametrize("line", [line for line in PAGE.splitlines() if re.search(OTHER_ROOMS, line)])
def test_a_limit_of_the_runtime_or_the_client_has_its_value(line: str) -> None:
    name, value, _, module = [cell.strip("` ") for cell in line.strip("| ").split(" | ")][:4]
    source = (ROOT / module.split("`")[0]).read_text()
    short = name.rpartition(".")[2]
    found = re.search(rf"^ *{short}(?:: \w+)? = ([\d_.* ]+)$", source, re.MULTILINE)
    assert found, f"{module} has no {short}"
    number = 1.0
    for factor in found[1].split("*"):
        number *= float(factor.strip().replace("_", ""))
    assert value == shown(short.upper(), int(number) if number.is_integer() else number)
