"""Score's composition root: settings → store, ledger, gateways → use cases → servicers → serve."""

import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from score.v1.download_service_pb2_grpc import add_DownloadServiceServicer_to_server
from score.v1.object_service_pb2_grpc import add_ObjectServiceServicer_to_server
from score.v1.upload_service_pb2_grpc import add_UploadServiceServicer_to_server

from byte_path.allocator import tune_allocator
from byte_path.codec import decode_write_request, encode_read_response
from runtime_grpc.admission import StreamSlots
from runtime_grpc.authentication import Authenticator
from runtime_grpc.command_line import EXIT_FAILED, EXIT_OK, StartRefusedError, run_service
from runtime_grpc.database import Database
from runtime_grpc.http_side import HttpSide, stop_together
from runtime_grpc.server import Codec, RunningServer, ServerOptions, Service
from score_grpc.database.generations import Generations
from score_grpc.database.adoptions import Adoptions
from score_grpc.database.ledger import Ledger
from score_grpc.database.leftovers import Leftovers
from score_grpc.database.lists import Lists
from score_grpc.database.retired import RetiredKeys
from score_grpc.database.signed_parts import SignedParts
from score_grpc.database.small_objects import SmallObjects
from score_grpc.domain import limits
from score_grpc.domain.errors import SongUnavailableError, StoreUnavailableError
from score_grpc.gateways.objects.local import LocalObjectStore
from score_grpc.gateways.objects.partitioned import PartitionedStore
from score_grpc.gateways.objects.port import ObjectStore
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.gateways.song import SongRegistry
from score_grpc.settings import ScoreSettings
from score_grpc.transport.caller import Callers
from score_grpc.transport.download import DownloadServicer
from score_grpc.transport.errors import ERRORS
from score_grpc.transport.object import ObjectServicer
from score_grpc.transport.signed_urls import SignedUrls
from score_grpc.transport.upload import UploadServicer
from score_grpc.url_keys import kept_url_key, parse_url_keys
from score_grpc.use_cases.adopt import Adoption
from score_grpc.use_cases.claims import Claims
from score_grpc.use_cases.collect import Collector
from score_grpc.use_cases.complete import Completions
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.hashing import Hashing
from score_grpc.use_cases.own_urls import SIGNED_PATH, OwnUrls
from score_grpc.use_cases.small_groups import SmallObjectStorer

if TYPE_CHECKING:
    from score_grpc.gateways.objects.s3_client import S3Options

MIGRATIONS = "score_grpc.database:migrations"


def open_store(settings: ScoreSettings) -> ObjectStore:
    """Open the object store that the settings name. Raises StartRefusedError."""
    if settings.store == "local":
        try:
            return LocalObjectStore(settings.data_dir / "objects")
        except StoreUnavailableError as error:
            raise StartRefusedError(str(error)) from error
    return _open_azure(settings) if settings.store == "azure" else _open_s3(settings)


def _open_s3(settings: ScoreSettings) -> ObjectStore:
    try:
        from score_grpc.gateways.objects.s3 import S3ObjectStore  # noqa: PLC0415 - boto3 is an extra
        from score_grpc.gateways.objects.s3_client import CONFIGURATION_ERRORS  # noqa: PLC0415
    except ImportError:
        raise StartRefusedError("store s3 needs the extra 's3': pip install 'song-score[server,s3]'") from None
    if not settings.s3_bucket:
        raise StartRefusedError("store s3 needs s3_bucket: name an existing bucket")
    options = _s3_options(settings)
    try:
        base = S3ObjectStore(options)
    except CONFIGURATION_ERRORS as error:
        raise StartRefusedError(f"store s3: {error}") from None
    # Also without a pool: what is in one by now stays there.
    store = PartitionedStore(base, base.in_bucket, settings.layout.partitions)
    try:
        store.check_partitions()
    except StoreUnavailableError as error:
        store.close()
        raise StartRefusedError(f"s3_bucket_pool {settings.s3_bucket_pool}: {error} Score creates no bucket.") from None
    return store


def _s3_options(settings: ScoreSettings) -> "S3Options":
    from score_grpc.gateways.objects.s3_client import S3Options  # noqa: PLC0415 - boto3 is an extra

    return S3Options(
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        endpoint_url=settings.s3_endpoint or None,
        public_endpoint_url=settings.s3_public_endpoint or None,
        uses_path_style=settings.s3_path_style,
        access_key_id=settings.s3_access_key.get_secret_value() or None,
        secret_access_key=settings.s3_secret_key.get_secret_value() or None,
        session_token=settings.s3_session_token.get_secret_value() or None,
        profile=settings.s3_profile or None,
        kms_key=settings.s3_kms_key or None,
        ca_file=settings.s3_ca_file,
    )


def _open_adoption(settings: ScoreSettings, database: Database, registry: CachedRegistry) -> Adoption:
    from score_grpc.gateways.objects.s3_former import S3FormerBuckets  # noqa: PLC0415 - boto3 is an extra

    buckets = S3FormerBuckets(
        _s3_options(settings), settings.layout, settings.adopt_state_bucket, settings.adopt_upload_folder
    )
    return Adoption(Adoptions(database), registry, buckets)


def _open_azure(settings: ScoreSettings) -> ObjectStore:
    try:
        from score_grpc.gateways.objects.azure import AzureObjectStore, AzureOptions  # noqa: PLC0415 - an extra
    except ImportError:
        raise StartRefusedError("store azure needs the extra 'azure': pip install 'song-score[server,azure]'") from None
    if not settings.azure_container:
        raise StartRefusedError("store azure needs azure_container: name an existing container")
    options = AzureOptions(
        container=settings.azure_container,
        connection_string=settings.azure_connection_string.get_secret_value() or None,
        account=settings.azure_account or None,
        account_key=settings.azure_key.get_secret_value() or None,
        sas=settings.azure_sas.get_secret_value() or None,
        endpoint_url=settings.azure_endpoint or None,
        ca_file=settings.azure_ca_file,
    )
    try:
        return AzureObjectStore(options)
    except ValueError as error:
        raise StartRefusedError(f"store azure: {error}") from None


def open_ledger(database: Database) -> Ledger:
    """Open the ledger in the name of this process."""
    return Ledger(database, owner=str(uuid4()))


class Score:
    """The running service."""

    def __init__(self, settings: ScoreSettings, store: ObjectStore, database: Database, ledger: Ledger) -> None:
        """Serve, over what was opened; use `start_score` unless a test replaces a part."""
        self._database = database
        draining, slots = threading.Event(), StreamSlots(settings.max_streams)
        self._http = HttpSide.listening(settings, settings.max_streams + limits.HTTP_WORKERS, limits.MESSAGE_MAX_BYTES)
        own_urls = None if self._http is None else _own_urls(settings, self._http.address)
        token = settings.service_token.get_secret_value()
        self._song = SongRegistry(settings.song_address, token)
        registry = CachedRegistry(self._song)
        self._adoption = _open_adoption(settings, database, registry) if settings.adopt else None
        self.environment = environment = Environment(
            ledger=ledger,
            generations=Generations(database),
            lists=Lists(database),
            signed_parts=SignedParts(database),
            small_objects=SmallObjects(database, str(uuid4()), settings.layout),
            store=store,
            layout=settings.layout,
            registry=registry,
            adopt=None if self._adoption is None else self._adoption.find,
            claims=Claims(),
            hashing=Hashing(ledger, store, draining),
            upload_expiry=timedelta(hours=settings.upload_expiry_hours),
            draining=draining,
            own_urls=own_urls,
        )
        self._completions = Completions(environment)
        self._small_objects = SmallObjectStorer(environment, self._completions)
        self.collector = Collector(
            environment, Leftovers(database, str(uuid4())), RetiredKeys(database, str(uuid4()))
        )
        callers = Callers(Authenticator(token))
        services = [
            Service(
                "score.v1.UploadService",
                add_UploadServiceServicer_to_server,
                UploadServicer(environment, callers, self._completions, self._small_objects),
                {"WriteUpload": Codec(deserialize_request=decode_write_request)},
            ),
            Service(
                "score.v1.DownloadService",
                add_DownloadServiceServicer_to_server,
                DownloadServicer(environment, callers),
                {"ReadObject": Codec(serialize_response=encode_read_response)},
            ),
            Service(
                "score.v1.ObjectService",
                add_ObjectServiceServicer_to_server,
                ObjectServicer(environment, callers),
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
        self._completions.start()
        self.collector.start()

    def stop(self) -> None:
        """Drain and stop. Completions under way are left for the next process."""
        stop_together(self._server, self._http)
        self._small_objects.close()
        self._completions.close()
        self.collector.close()
        self.environment.hashing.close()
        if self._adoption is not None:
            self._adoption.close()
        self._song.close()
        self.environment.store.close()
        self._database.close()

    def _check_ready(self) -> None:
        self._database.ping()
        self.environment.store.check()


def _own_urls(settings: ScoreSettings, http_address: str) -> OwnUrls:
    keys = settings.url_keys.get_secret_value()
    try:
        known = parse_url_keys(keys) if keys else kept_url_key(settings.data_dir / "url-key")
    except ValueError as error:
        raise StartRefusedError(f"{settings.data_dir / 'url-key'}: {error}; or remove it, and a key is made") from None
    return OwnUrls(settings.public_http_url or f"http://{http_address}", known)


def start_score(
    settings: ScoreSettings,
    open_store: Callable[[ScoreSettings], ObjectStore] = open_store,
    open_ledger: Callable[[Database], Ledger] = open_ledger,
) -> Score:
    """Start Score. Raises START_REFUSALS.

    Tests pass other openers, whose stores and ledgers fail or die where a real one might.
    """
    tune_allocator()
    database = Database(settings.sql_url)
    store: ObjectStore | None = None
    try:
        database.claim()
        if settings.migrate:
            database.upgrade(MIGRATIONS)
        database.check(MIGRATIONS)
        store = open_store(settings)
        return Score(settings, store, database, open_ledger(database))
    except BaseException:
        if store is not None:
            store.close()
        database.close()
        raise


def adopt(settings: ScoreSettings) -> int:
    """Adopt all objects of the buckets, saying on stdout how far it is; return the exit code.

    Raises StartRefusedError. SIGTERM and SIGINT end it after the page under way; started again it goes on.
    """
    if settings.store != "s3":
        raise StartRefusedError("adopt: objects are adopted in an s3 store: set store, s3_bucket and what belongs to them")
    _open_s3(settings).close()  # refuses what can't be
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    database = Database(settings.sql_url)
    song = SongRegistry(settings.song_address, settings.service_token.get_secret_value())
    adoption = _open_adoption(settings, database, CachedRegistry(song))
    try:
        database.claim()
        if settings.migrate:
            database.upgrade(MIGRATIONS)
        database.check(MIGRATIONS)
        for progress in adoption.scan(told.is_set):
            print(
                f"{progress.bucket}: {progress.seen} objects seen, {progress.adopted} adopted, {progress.known} known "
                f"before, {progress.unregistered} not registered in Song, {progress.passed_over} not whole",
                flush=True,
            )
        for place in () if told.is_set() else adoption.unfinished():
            print(f"not adopted, an unfinished upload: {place}", flush=True)
    except (SongUnavailableError, StoreUnavailableError) as error:
        print(f"score-server: {error} What was adopted stays so: start again to go on.", file=sys.stderr)
        return EXIT_FAILED
    finally:
        adoption.close()
        song.close()
        database.close()
    return EXIT_FAILED if told.is_set() else EXIT_OK


def main() -> None:
    """Run the command `score-server`."""
    sys.exit(run_service("score-server", ScoreSettings, start_score, MIGRATIONS, {"adopt": adopt}))


if __name__ == "__main__":
    from score_grpc.__main__ import main as main_by_name

    main_by_name()  # spawned workers can't import a module named __main__
