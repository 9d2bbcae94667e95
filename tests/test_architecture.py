"""Which room may import what: an allow-list, read from the imports.

A room is a folder. What is not listed is refused, also for libraries: a new arrow is a decision, made here and
said in ARCHITECTURE.md. `EXCEPTIONS` allows one module more than its room, each with the reason; an exception
that nobody needs any more fails too.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES = 400

# Standard library modules that neither read nor write nor know the time; `datetime` is checked for its clock.
PURE = {
    *("__future__", "base64", "binascii", "bisect", "collections", "copy", "dataclasses", "datetime", "decimal"),
    *("enum", "functools", "hashlib", "itertools", "json", "math", "re", "typing", "unicodedata", "urllib.parse"),
    *("heapq", "hmac", "uuid", "warnings"),
}
STANDARD = set(sys.stdlib_module_names)

# Room → what it may import: a module and everything below it. The longest matching room counts.
ROOMS: dict[str, set[str]] = {
    "byte_path": STANDARD | {"byte_path", "score.v1", "xxhash"},
    "runtime_grpc": STANDARD
    | {"runtime_grpc", "alembic", "sqlalchemy", "grpc", "grpc_channelz", "grpc_health", "grpc_reflection"}
    | {"grpc_status", "google.protobuf", "google.rpc", "pydantic", "pydantic_settings", "structlog"},
    "song_grpc": STANDARD | {"song_grpc", "song.v1", "runtime_grpc", "pydantic", "pydantic_settings"},
    "song_grpc/domain": PURE | {"song_grpc.domain"},
    "song_grpc/database": STANDARD
    | {"song_grpc.database", "song_grpc.domain", "runtime_grpc.database", "sqlalchemy", "alembic"},
    "song_grpc/gateways": STANDARD
    | {"song_grpc.gateways", "song_grpc.domain", "runtime_grpc.channel", "runtime_grpc.http", "score.v1", "grpc"},
    "song_grpc/use_cases": STANDARD
    | {"song_grpc.use_cases", "song_grpc.domain", "song_grpc.database", "song_grpc.gateways.stored_objects"}
    | {"song_grpc.gateways.event_broker", "song_grpc.gateways.external_sources", "song_grpc.gateways.entity_ids"},
    "song_grpc/transport": STANDARD
    | {"song_grpc.transport", "song_grpc.use_cases", "song_grpc.domain", "song.v1"}
    | {"runtime_grpc", "grpc", "google.protobuf"},
    "score_grpc": STANDARD | {"score_grpc", "score.v1", "runtime_grpc", "byte_path", "pydantic", "pydantic_settings"},
    "score_grpc/domain": PURE | {"score_grpc.domain"},
    "score_grpc/database": STANDARD
    | {"score_grpc.database", "score_grpc.domain", "runtime_grpc.database", "sqlalchemy", "alembic"},
    "score_grpc/gateways": STANDARD
    | {"score_grpc.gateways", "score_grpc.domain", "runtime_grpc.channel", "song.v1", "grpc"},
    "score_grpc/use_cases": STANDARD
    | {"score_grpc.use_cases", "score_grpc.domain", "score_grpc.database", "byte_path", "structlog"}
    | {"score_grpc.gateways.objects.port", "score_grpc.gateways.objects.former", "score_grpc.gateways.registry"},
    "score_grpc/transport": STANDARD
    | {"score_grpc.transport", "score_grpc.use_cases", "score_grpc.domain", "score.v1", "byte_path"}
    | {"runtime_grpc", "grpc", "google.protobuf"},
    "song_score": STANDARD
    | {"song_score", "song_grpc.__main__", "song_grpc.settings", "score_grpc.__main__", "score_grpc.settings"}
    | {"runtime_grpc", "pydantic"},
    "clients/python/song_score_client": STANDARD
    | {"song_score_client", "song.v1", "score.v1", "byte_path", "grpc", "google.protobuf", "google.rpc"},
    "clients/python/song_score_client/commands": STANDARD
    | {"song_score_client", "song.v1", "score.v1", "byte_path.allocator", "typer", "rich"},
}

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("song_grpc/domain/validation.py", "jsonschema"): "the one module that knows the JSON Schema library",
    ("song_grpc/domain/validation.py", "referencing"): "part of that library",
    ("song_grpc/domain/validation_keywords.py", "jsonschema"): "the library's keywords, replaced",
    ("song_grpc/domain/patterns.py", "regex"): "the one module that knows the library for patterns that can be stopped",
    ("song_grpc/domain/search_patterns.py", "regex"): "patterns of id searches, which can be stopped as well",
    ("song_grpc/domain/search_patterns.py", "time"): "as `work.py`: a bound on time needs a clock",
    ("song_grpc/domain/work.py", "time"): "a bound on time needs a clock; no verdict but `too much` comes from it",
    ("song_grpc/domain/json_text.py", "simplejson"): "the one module that reads and writes exact JSON numbers",
    ("song_grpc/transport/item_errors.py", "google.rpc"): "takes a status of the error table apart",
    ("score_grpc/transport/item_errors.py", "google.rpc"): "takes a status of the error table apart",
    ("song_grpc/domain/json_paths.py", "jsonpath_rfc9535"): "the one module that knows the JSONPath library",
    ("runtime_grpc/http.py", "httpx"): "the one module that knows the HTTP library",
    ("runtime_grpc/http_server.py", "cheroot"): "the library that serves HTTP/1.1",
    ("runtime_grpc/http_bodies.py", "cheroot"): "its bodies, replaced",
    ("runtime_grpc/connect_door.py", "connectrpc"): "the one module that knows the Connect protocol",
    ("runtime_grpc/connect_codecs.py", "connectrpc"): "bounds on what that library reads",
    ("runtime_grpc/connect_door.py", "protobuf"): "that library's own messages: details of errors are wrapped in one",
    ("runtime_grpc/metrics.py", "prometheus_client"): "the one module that knows the library of metrics",
    ("runtime_grpc/jwt_tokens.py", "jwt"): "the library that checks JWTs",
    ("runtime_grpc/verification_keys.py", "jwt"): "reads its keys from JWK sets",
    ("runtime_grpc/verification_keys.py", "cryptography"): "the keys themselves: their kind and size decide",
    ("song_grpc/use_cases/relay.py", "structlog"): "works without a caller who could be told what is wrong",
    ("song_grpc/gateways/kafka.py", "confluent_kafka"): "the one module that knows the Kafka library",
    ("score_grpc/transport/page_tokens.py", "cryptography"): "seals them",
    ("score_grpc/gateways/objects/s3_client.py", "boto3"): "the S3 store",
    ("score_grpc/gateways/objects/s3_client.py", "botocore"): "the S3 store",
    ("score_grpc/gateways/objects/s3_client.py", "mypy_boto3_s3"): "its types",
    ("score_grpc/gateways/objects/s3.py", "botocore"): "the S3 store",
    ("score_grpc/gateways/objects/s3_vouching.py", "awscrt"): "the digest that S3 tells of a whole",
    ("score_grpc/gateways/objects/s3_vouching.py", "botocore"): "the S3 store",
    ("score_grpc/gateways/objects/s3_vouching.py", "mypy_boto3_s3"): "its types",
    ("score_grpc/gateways/objects/s3.py", "urllib3"): "errors that botocore lets through",
    ("score_grpc/gateways/objects/s3_former.py", "botocore"): "the S3 store, as a former Score has left it",
    ("score_grpc/gateways/objects/s3_former.py", "urllib3"): "errors that botocore lets through",
    ("score_grpc/gateways/objects/azure.py", "azure"): "the Azure store",
    ("song_score/demo.py", "pysam"): "makes the demo's BAM file",
    ("song_score/commands.py", "song_score_client.commands.song_score"): "`song-score submit` is the client's",
    ("clients/python/song_score_client/commands/upload_check.py", "grpc"): "names a status code: it foresees refusals",
    ("clients/python/song_score_client/progress_bars.py", "rich"): "progress bars, for other programs' terminals too",
}
LONG_MODULES = {
    "song_grpc/domain/errors.py": "one class per refusal",
    "score_grpc/gateways/objects/azure.py": "one store is one module, with its errors",
    "clients/python/song_score_client/errors.py": "one class per reason of both contracts",
}
NO_ROOM = {"tests", "benchmarks", "protos", "deploy", "build", "node_modules"}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
CLOCKS = {"now", "utcnow", "today"}


def modules() -> list[str]:
    """Return every module of the rooms, as a path relative to the checkout."""
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*.py")]
    kept = [path for path in paths if not any(part in NO_ROOM or part.startswith(".") for part in path.parts)]
    return sorted(path.as_posix() for path in kept)


def room_of(module: str) -> str | None:
    return max((room for room in ROOMS if module.startswith(f"{room}/")), key=len, default=None)


def imports(source: str) -> Iterator[str]:
    """Yield what a source imports, wherever in it: `a.b` of `import a.b`, `a.b.c` of `from a.b import c`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from (f"{origin}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"__import__", "import_module", "importlib.import_module"}:
                yield f"<{called}>"  # in no room: an import that can't be read can't be allowed


def lies_in(imported: str, allowed: str) -> bool:
    return imported == allowed or imported.startswith(f"{allowed}.")


def refused(module: str, source: str) -> list[str]:
    """Return the imports of a module that neither its room nor an exception allows."""
    room = room_of(module)
    allowed = ROOMS[room] if room else set()
    more = {name for path, name in EXCEPTIONS if path == module}
    return [name for name in imports(source) if not any(lies_in(name, prefix) for prefix in allowed | more)]


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    assert room_of(module), f"{module} lies in no room: say in ROOMS what its folder may import"
    wrong = refused(module, (ROOT / module).read_text())
    assert not wrong, f"{module} may not import {', '.join(wrong)}: see ROOMS above and ARCHITECTURE.md"


@pytest.mark.parametrize(("module", "imported"), EXCEPTIONS)
def test_no_exception_outlives_its_use(module: str, imported: str) -> None:
    used = any(lies_in(name, imported) for name in imports((ROOT / module).read_text()))
    assert used, f"{module} no longer imports {imported}: take the exception out"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("song_grpc/domain/made_up.py", "import grpc"),
        ("song_grpc/domain/made_up.py", "import time"),
        ("song_grpc/domain/made_up.py", "from jsonschema import validate"),
        ("song_grpc/domain/made_up.py", "def f():\n    import os"),
        ("song_grpc/domain/made_up.py", "from . import errors"),
        ("song_grpc/use_cases/made_up.py", "from song.v1.analysis_pb2 import Analysis"),
        ("song_grpc/use_cases/made_up.py", "from score_grpc.domain import limits"),
        ("song_grpc/use_cases/made_up.py", "from song_grpc.gateways import score"),
        ("song_grpc/use_cases/made_up.py", "from song_grpc import gateways"),
        ("song_grpc/use_cases/made_up.py", "import importlib\nimportlib.import_module('grpc')"),
        ("song_grpc/transport/made_up.py", "from sqlalchemy import select"),
        ("score_grpc/transport/made_up.py", "import boto3"),
        ("score_grpc/use_cases/made_up.py", "from score_grpc.gateways.objects import s3"),
        ("score_grpc/__main__.py", "from song_grpc.settings import SongSettings"),
        ("runtime_grpc/made_up.py", "from score_grpc.domain.errors import ScoreError"),
        ("runtime_grpc/made_up.py", "import song_score_client"),
        ("song_score/made_up.py", "from song_grpc.database.engine import Database"),
        ("clients/python/song_score_client/made_up.py", "from runtime_grpc.channel import open_channel"),
        ("clients/python/song_score_client/made_up.py", "import typer"),
        ("a_room_nobody_knows/made_up.py", "import os"),
    ],
)
def test_a_forbidden_import_is_seen(module: str, source: str) -> None:
    assert refused(module, source)


def clocks(source: str) -> list[str]:
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [ast.unparse(call.func) for call in calls]
    return [name for name in names if name == "open" or (name.rpartition(".")[2] in CLOCKS and "." in name)]


@pytest.mark.parametrize("module", [module for module in modules() if "/domain/" in module])
def test_the_domain_knows_no_clock_and_opens_no_file(module: str) -> None:
    assert not clocks((ROOT / module).read_text())


def test_a_clock_is_seen() -> None:
    assert clocks("datetime.now(UTC)") == ["datetime.now"]
    assert clocks("open('x')") == ["open"]


def test_no_folder_and_no_module_is_a_drawer_for_everything() -> None:
    names = {(module, part.removesuffix(".py")) for module in modules() for part in Path(module).parts}
    assert not [module for module, name in names if name in FORBIDDEN_NAMES]


@pytest.mark.parametrize("module", modules())
def test_no_module_is_longer_than_400_lines(module: str) -> None:
    lines = len((ROOT / module).read_text().splitlines())
    if module in LONG_MODULES:
        assert lines > MAX_LINES, f"{module} is short now: take it out of LONG_MODULES"
    else:
        assert lines <= MAX_LINES, f"{module} has {lines} lines: two things share it"


def test_the_use_cases_of_score_are_told_by_the_stories_they_belong_to() -> None:
    room = ROOT / "score_grpc" / "use_cases"
    told = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    words = re.findall(r"\w+", " ".join(line.partition("  ")[2] for line in told.splitlines()))
    missing = {path.stem for path in room.glob("*.py")} - {"__init__"} - set(words)
    assert not missing, f"say in {room}/__init__.py what {missing} is about"


def test_the_architecture_page_names_every_room() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {room.removeprefix("song_grpc/").removeprefix("score_grpc/") for room in ROOMS}
    assert not [room for room in rooms - {"song_grpc", "score_grpc"} if f"`{room}/`" not in page]
