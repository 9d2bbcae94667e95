"""`score-server adopt`: adopts all objects that an Overture Score has left in the buckets."""

import signal
import sys
import threading

from runtime_grpc.command_line import EXIT_FAILED, EXIT_OK, StartRefusedError
from runtime_grpc.database import Database
from score_grpc.database.adoptions import Adoptions
from score_grpc.domain.errors import SongUnavailableError, StoreUnavailableError
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.gateways.song import SongRegistry
from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_former_buckets, open_store
from score_grpc.use_cases.adopt import Adoption


def adopt(settings: ScoreSettings, migrations: str) -> int:
    """Adopt, saying on stdout how far it is; return the exit code.

    SIGTERM and SIGINT end it after the page under way; started again it goes on. Raises START_REFUSALS.
    """
    if settings.store != "s3":
        raise StartRefusedError("adopt: objects are adopted in an s3 store: set store, s3_bucket and what they need")
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    open_store(settings).close()  # refuses what can't be
    buckets = open_former_buckets(settings)
    song = SongRegistry(settings.song_address, settings.service_token.get_secret_value())
    database = Database(settings.sql_url)
    try:
        database.claim()
        if settings.migrate:
            database.upgrade(migrations)
        database.check(migrations)
        adoption = Adoption(Adoptions(database), CachedRegistry(song), buckets)
        for progress in adoption.scan(told.is_set):
            print(
                f"{progress.bucket}: {progress.seen} objects seen, {progress.adopted} adopted, {progress.known} known "
                f"before, {progress.unregistered} not registered in Song, {progress.passed_over} not whole",
                flush=True,
            )
        if told.is_set():
            return EXIT_FAILED
        for place in buckets.unfinished():
            print(f"not adopted, an unfinished upload: {place}", flush=True)
    except (SongUnavailableError, StoreUnavailableError) as error:
        print(f"score-server: {error} What was adopted stays so: start again to go on.", file=sys.stderr)
        return EXIT_FAILED
    finally:
        buckets.close()
        song.close()
        database.close()
    return EXIT_OK
