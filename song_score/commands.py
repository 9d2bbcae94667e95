"""The commands that start servers. A plain install has them too, without the libraries they need: then they say so.

`song-score` is one command of both sides: what a client does is there without a server's libraries.
"""

import sys
from collections.abc import Callable
from importlib.util import find_spec

NEEDED = (
    "sqlalchemy",
    "alembic",
    "pydantic_settings",
    "structlog",
    "simplejson",
    "jsonschema",
    "cheroot",
    "connectrpc",
)
"""Of the extra `server`; looked for, not imported."""


def song_score() -> None:
    """Run `song-score`."""
    from song_score_client.commands.song_score import build  # noqa: PLC0415 - servers start without it

    build(_serve)()


def _serve(arguments: list[str]) -> None:
    _require_server("song-score serve")
    from song_score.__main__ import main  # noqa: PLC0415 - only where it can be imported

    main(["serve", *arguments])


def song_server() -> None:
    """Run `song-server`."""
    _require_server("song-server")
    from song_grpc.__main__ import main  # noqa: PLC0415 - only where it can be imported

    main()


def score_server() -> None:
    """Run `score-server`."""
    _require_server("score-server")
    from score_grpc.__main__ import main  # noqa: PLC0415 - only where it can be imported

    main()


def _require_server(program: str, find: Callable[[str], object | None] = find_spec) -> None:
    if any(find(name) is None for name in NEEDED):
        sys.exit(f"{program}: this is the client's install; a server needs the extra 'server': pip install '.[server]'")
