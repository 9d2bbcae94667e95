"""`song-score serve`: Song and Score in one process, on loopback, with SQLite and a local folder.

Two servers, two pools, two databases: a call Song → Score → Song never waits for its own pool. The services meet
only over gRPC, as they do in production, and prove themselves to each other with a token made at the start.
"""

import argparse
import secrets
import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from runtime_grpc.command_line import EXIT_FAILED, EXIT_OK, EXIT_USAGE, START_REFUSALS, serve_until_told
from runtime_grpc.logs import configure_logs
from score_grpc.__main__ import Score, start_score
from score_grpc.settings import ScoreSettings
from song_grpc.__main__ import Song, start_song
from song_grpc.settings import SongSettings

SCORE_HTTP_PORT = 8087
"""Where Score's HTTP listens unless told otherwise."""


class Both:
    """The two running services."""

    def __init__(self, song_settings: SongSettings, score_settings: ScoreSettings) -> None:
        """Start both. Raises what `start_song` and `start_score` raise."""
        self.song: Song = start_song(song_settings)
        try:
            score_settings = score_settings.model_copy(update={"song_address": self.song.address})
            self.score: Score = start_score(score_settings)
        except BaseException:
            self.song.stop()
            raise
        self.song.use_score(self.score.address)

    http_address = metrics_address = ""
    """See `address`."""

    @property
    def address(self) -> str:
        """Where both listen, for people."""
        song_http = f"Song's HTTP {self.song.http_address}, " if self.song.http_address else ""
        metrics = f", Score's metrics {self.score.metrics_address}" if self.score.metrics_address else ""
        return (
            f"Song {self.song.address}, Score {self.score.address}, {song_http}Score's HTTP {self.score.http_address}"
            f"{metrics}"
        )

    def stop(self) -> None:
        """Stop both: Score first, for it asks Song while it drains."""
        self.score.stop()
        self.song.stop()


def main(words: list[str] | None = None) -> None:
    """Run `song-score serve`, by these words or those of the command line."""
    parser = argparse.ArgumentParser(prog="song-score", description="Song and Score in one process.")
    serve = parser.add_subparsers(required=True).add_parser("serve", help="serve both on loopback")
    serve.add_argument("--data-dir", type=Path, help="databases and objects go here (default: song-score-data)")
    serve.add_argument("--song-port", type=int, help="0: any free one (default: 50051)")
    serve.add_argument("--score-port", type=int, help="0: any free one (default: 50052)")
    serve.add_argument("--song-http-port", type=int, help="0: any free one (default: no HTTP)")
    serve.add_argument(
        "--score-http-port",
        type=int,
        help=f"0: any free one (default: {SCORE_HTTP_PORT}, or any free one where --score-port is 0)",
    )
    serve.add_argument("--log-level", choices=["debug", "info", "warning", "error"], help="(default: info)")
    arguments = parser.parse_args(words)
    sys.exit(_serve(arguments))


def _serve(arguments: argparse.Namespace) -> int:
    # The environment and its TOML files hold for all that has no flag here.
    both = _given(data_dir=arguments.data_dir, log_level=arguments.log_level)
    try:
        song_settings = SongSettings(**both, **_given(port=arguments.song_port, http_port=arguments.song_http_port))
        score_settings = ScoreSettings(**both, **_given(port=arguments.score_port, http_port=arguments.score_http_port))
        if score_settings.http_port is None:  # whoever tries Score out finds its signed URLs working
            http_port = {"http_port": SCORE_HTTP_PORT if score_settings.port else 0}
            score_settings = score_settings.model_copy(update=http_port)
    except (ValidationError, OSError) as error:
        print(f"song-score: {error}", file=sys.stderr)
        return EXIT_USAGE
    if (song_settings.workers, score_settings.workers) != (1, 1):
        print("song-score: serve is one process: for several workers run song-server and score-server", file=sys.stderr)
        return EXIT_USAGE
    # One secret for both; nobody else needs to know it, unless the settings name one.
    known = song_settings.service_token.get_secret_value() or score_settings.service_token.get_secret_value()
    secret = {"service_token": SecretStr(known or secrets.token_urlsafe(32))}
    song_settings, score_settings = song_settings.model_copy(update=secret), score_settings.model_copy(update=secret)
    configure_logs(song_settings.log_level)
    try:
        serve_until_told(lambda: Both(song_settings, score_settings))
    except START_REFUSALS as error:
        print(f"song-score: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _given(**flags: object) -> dict[str, Any]:
    """Return the flags that are on the command line."""
    return {name: value for name, value in flags.items() if value is not None}


if __name__ == "__main__":
    main()
