"""Score's composition root: settings → store, ledger, gateways → use cases → servicers → serve."""

import sys
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from score.v1.download_service_pb2_grpc import add_DownloadServiceServicer_to_server
from score.v1.object_service_pb2_grpc import add_ObjectServiceServicer_to_server
from score.v1.upload_service_pb2_grpc import add_UploadServiceServicer_to_server

from byte_path.codec import decode_small_request, decode_write_request, encode_read_response
from runtime_grpc.admission import StreamSlots
from runtime_grpc.authentication import Authenticator
from runtime_grpc.command_line import StartRefusedError, run_service
from runtime_grpc.database import Database
from runtime_grpc.http_side import HTTP_WORKERS, HttpSide, stop_together
from runtime_grpc.metrics import MetricsPort
from runtime_grpc.server import Codec, RunningServer, ServerOptions, Service
from score_grpc.adopt_command import adopt
from score_grpc.assembly import MIGRATIONS, make_environment, open_and_make, open_ledger
from score_grpc.database.adoptions import Adoptions
from score_grpc.database.audit import AuditLog
from score_grpc.database.ledger import Ledger
from score_grpc.database.leftovers import Leftovers
from score_grpc.database.lists import Lists
from score_grpc.database.retired import RetiredKeys
from score_grpc.database.verifications import Verifications
from score_grpc.domain import limits
from score_grpc.domain.signatures import UrlKey
from score_grpc.gateways.objects.port import ObjectStore
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.gateways.song import SongRegistry
from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_former_buckets, open_store
from score_grpc.transport.audited import Audited
from score_grpc.transport.caller import Callers
from score_grpc.transport.download import DownloadServicer
from score_grpc.transport.errors import ERRORS
from score_grpc.transport.object import ObjectServicer
from score_grpc.transport.page_tokens import PageTokens
from score_grpc.transport.signed_urls import SignedUrls
from score_grpc.transport.upload import UploadServicer
from score_grpc.url_keys import kept_url_key, parse_url_keys
from score_grpc.use_cases.adopt import Adoption
from score_grpc.use_cases.audit import Audit
from score_grpc.use_cases.collect import Collector
from score_grpc.use_cases.complete import Completions
from score_grpc.use_cases.own_urls import SIGNED_PATH, OwnUrls
from score_grpc.use_cases.small_groups import SmallObjectStorer
from score_grpc.use_cases.verify import VerificationRuns
from score_grpc.verifier import run_verifier


class Score:
    """The running service."""

    def __init__(self, settings: ScoreSettings, store: ObjectStore, database: Database, ledger: Ledger) -> None:
        """Serve, over what was opened; use `start_score` unless a test replaces a part."""
        self._database = database
        draining, slots = threading.Event(), StreamSlots(settings.max_streams)
        url_keys = [] if settings.http_port is None else _url_keys(settings)
        secret = page_secret(settings, url_keys)
        self._http = HttpSide.listening(settings, settings.max_streams + HTTP_WORKERS, limits.HTTP_MESSAGE_MAX_BYTES)
        own_urls = None
        if self._http is not None:
            own_urls = OwnUrls(settings.public_http_url or f"http://{self._http.address}", url_keys)
        token = settings.service_token.get_secret_value()
        self._song = SongRegistry(settings.song_address, token)
        registry = CachedRegistry(self._song)
        self._adoption: Adoption | None = None
        if settings.adopt:
            self._adoption = Adoption(Adoptions(database), registry, open_former_buckets(settings))
        self.environment = environment = make_environment(
            settings,
            store,
            database,
            ledger,
            registry,
            draining,
            own_urls=own_urls,
            adopt=None if self._adoption is None else self._adoption.find,
        )
        self._completions = Completions(environment, works=settings.background_work)
        self._verifications = VerificationRuns(
            environment, Verifications(database, str(uuid4())), works=settings.background_work
        )
        self._small_objects = SmallObjectStorer(environment, self._completions)
        self.collector = Collector(environment, Leftovers(database, str(uuid4())), RetiredKeys(database, str(uuid4())))
        callers, page_tokens = Callers(Authenticator(token)), PageTokens(secret)
        self._audit = Audit(AuditLog(database), timedelta(days=settings.audit_days))

        def service(name: str, add: Callable[[Any, Any], None], servicer: object, **codecs: Codec) -> Service:
            return Service(name, add, Audited(name, servicer, environment, callers, self._audit), codecs)

        services = [
            service(
                "score.v1.UploadService",
                add_UploadServiceServicer_to_server,
                UploadServicer(environment, callers, self._completions, self._small_objects, page_tokens),
                WriteUpload=Codec(deserialize_request=decode_write_request),
                WriteObjects=Codec(deserialize_request=decode_small_request),
            ),
            service(
                "score.v1.DownloadService",
                add_DownloadServiceServicer_to_server,
                DownloadServicer(environment, callers),
                ReadObject=Codec(serialize_response=encode_read_response),
            ),
            service(
                "score.v1.ObjectService",
                add_ObjectServiceServicer_to_server,
                ObjectServicer(environment, callers, self._verifications, page_tokens),
            ),
        ]
        options = ServerOptions(
            settings.address,
            limits.MESSAGE_MAX_BYTES,
            settings.max_streams,
            settings.drain_seconds,
            shares_port=settings.workers > 1,
        )
        try:
            self._server = RunningServer(options, services, ERRORS, draining, self._check_ready, slots)
        except OSError:
            if self._http is not None:
                self._http.stop()
            raise
        self.address = self._server.address
        self.http_address = ""
        """Where it listens for HTTP/1.1; empty where it does not."""
        if self._http is not None and own_urls is not None:
            self.http_address = self._http.address
            self._http.serve(services, ERRORS, {SIGNED_PATH: SignedUrls(environment, own_urls, slots)})
        self._metrics = None if settings.metrics_port is None else self._show_metrics(settings.metrics_port)
        self.metrics_address = "" if self._metrics is None else self._metrics.address
        """Where Prometheus reads; empty where it does not."""
        self._audit.start()
        self._completions.start()
        self._verifications.start()
        self.collector.start()

    def _show_metrics(self, port: int) -> MetricsPort:
        metrics, lists = MetricsPort(port), self.environment.lists
        for name in lists.count_work():
            metrics.show(f"score_{name}", f"{name.replace('_', ' ').capitalize()}.", partial(_count, lists, name))
        return metrics

    def stop(self) -> None:
        """Drain and stop. Completions under way are left for the next process."""
        stop_together(self._server, self._http)
        if self._metrics is not None:
            self._metrics.stop()
        self._small_objects.close()
        self._completions.close()
        self._verifications.close()
        self.collector.close()
        self.environment.hashing.close()
        if self._adoption is not None:
            self._adoption.close()
        self._audit.close()
        self._song.close()
        self.environment.store.close()
        self._database.close()

    def _check_ready(self) -> None:
        self._database.ping()
        self.environment.store.check()


def _count(lists: Lists, name: str) -> float:
    return lists.count_work()[name]


def _url_keys(settings: ScoreSettings) -> Sequence[UrlKey]:
    keys = settings.url_keys.get_secret_value()
    try:
        return parse_url_keys(keys) if keys else kept_url_key(settings.data_dir / "url-key")
    except ValueError as error:
        raise StartRefusedError(f"{settings.data_dir / 'url-key'}: {error}; or remove it, and a key is made") from None


def page_secret(settings: ScoreSettings, url_keys: Sequence[UrlKey]) -> str:
    """Return what seals page tokens: a secret of all processes that a list may go on in, empty for one alone.

    Raises as `start_score`.
    """
    token = settings.service_token.get_secret_value()
    if not token and not url_keys and settings.workers > 1:
        url_keys = _url_keys(settings)
    return token or next((key.secret.decode() for key in url_keys), "")


def start_score(
    settings: ScoreSettings,
    open_store: Callable[[ScoreSettings], ObjectStore] = open_store,
    open_ledger: Callable[[Database], Ledger] = open_ledger,
) -> Score:
    """Start Score. Raises START_REFUSALS.

    Tests pass other openers, whose stores and ledgers fail or die where a real one might.
    """
    if settings.signed_urls == "score" and settings.http_port is None:
        raise StartRefusedError("signed_urls score needs http_port: without it Score serves no URLs of its own")
    return open_and_make(settings, open_store, open_ledger, Score)


def main() -> None:
    """Run the command `score-server`."""
    commands: dict[str, Callable[[ScoreSettings], int]] = {
        "adopt": partial(adopt, migrations=MIGRATIONS),
        "verifier": run_verifier,
    }
    sys.exit(run_service("score-server", ScoreSettings, start_score, MIGRATIONS, commands))


if __name__ == "__main__":
    from score_grpc.__main__ import main as main_by_name

    main_by_name()  # spawned workers can't import a module named __main__
