"""`score-server verifier`: a process that listens nowhere, and completes uploads and verifies objects.

So what reads whole objects scales apart from what serves. It needs a database and a store that several processes can
share; servers that are to leave it the work have the setting background_work off.
"""

import threading
from uuid import uuid4

from runtime_grpc.command_line import EXIT_OK, serve_until_told
from runtime_grpc.database import Database
from score_grpc.assembly import make_environment, open_and_make, open_ledger
from score_grpc.database.ledger import Ledger
from score_grpc.database.verifications import Verifications
from score_grpc.gateways.objects.port import ObjectStore
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.gateways.song import SongRegistry
from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_store
from score_grpc.use_cases.complete import Completions
from score_grpc.use_cases.verify import VerificationRuns


class Verifier:
    """The running process."""

    address = "none"
    http_address = metrics_address = ""

    def __init__(self, settings: ScoreSettings, store: ObjectStore, database: Database, ledger: Ledger) -> None:
        """Work, over what was opened."""
        self._database, self._draining = database, threading.Event()
        self._song = SongRegistry(settings.song_address, settings.service_token.get_secret_value())
        self._environment = make_environment(
            settings, store, database, ledger, CachedRegistry(self._song), self._draining
        )
        self._completions = Completions(self._environment)
        self._verifications = VerificationRuns(self._environment, Verifications(database, str(uuid4())))
        self._completions.start()
        self._verifications.start()

    def stop(self) -> None:
        """Stop. What is under way is given back for the next process."""
        self._draining.set()
        self._completions.close()
        self._verifications.close()
        self._environment.hashing.close()
        self._song.close()
        self._environment.store.close()
        self._database.close()


def run_verifier(settings: ScoreSettings) -> int:
    """Work until told to stop; return the exit code. Raises START_REFUSALS."""
    serve_until_told(lambda: open_and_make(settings, open_store, open_ledger, Verifier))
    return EXIT_OK
