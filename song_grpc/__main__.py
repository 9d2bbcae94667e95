"""Song's composition root: settings → database, gateways → use cases → servicers → serve."""

import sys
import threading
from datetime import UTC, datetime
from functools import partial

from song.v1.analysis_service_pb2_grpc import add_AnalysisServiceServicer_to_server
from song.v1.analysis_type_service_pb2_grpc import add_AnalysisTypeServiceServicer_to_server
from song.v1.entity_service_pb2_grpc import add_EntityServiceServicer_to_server
from song.v1.event_service_pb2_grpc import add_EventServiceServicer_to_server
from song.v1.file_service_pb2_grpc import add_FileServiceServicer_to_server
from song.v1.study_service_pb2_grpc import add_StudyServiceServicer_to_server

from runtime_grpc.command_line import StartRefusedError, run_service
from runtime_grpc.http_side import HTTP_WORKERS, HttpSide, stop_together
from runtime_grpc.server import RunningServer, ServerOptions, Service
from song_grpc.database.engine import MIGRATIONS, Database
from song_grpc.domain import limits, validation
from song_grpc.domain.events import EventFormat
from song_grpc.gateways.event_broker import EventBroker
from song_grpc.gateways.http_sources import HttpSources
from song_grpc.gateways.score import ScoreGateway
from song_grpc.settings import SongSettings
from song_grpc.transport.analysis import AnalysisServicer
from song_grpc.transport.analysis_type import AnalysisTypeServicer
from song_grpc.transport.caller import Callers
from song_grpc.transport.entity import EntityServicer
from song_grpc.transport.errors import ERRORS
from song_grpc.transport.event import EventServicer
from song_grpc.transport.file import FileServicer
from song_grpc.transport.study import StudyServicer
from song_grpc.use_cases import analysis_types
from song_grpc.use_cases.environment import Environment
from song_grpc.use_cases.event_progress import EventProgress
from song_grpc.use_cases.relay import Relay, RelayOptions
from song_grpc.use_cases.submission_writer import SubmissionWriter
from song_grpc.use_cases.watch import EventSource


class Song:
    """The running service."""

    metrics_address = ""
    """It has none."""

    def __init__(self, settings: SongSettings, database: Database) -> None:
        """Serve, over a database that is up to date; use `start_song`."""
        self._database = database
        token = settings.service_token.get_secret_value()
        self._score = ScoreGateway(settings.score_address, token)
        draining = threading.Event()
        now = partial(datetime.now, UTC)
        self._sources, self._entity_ids = HttpSources(), settings.entity_ids()
        environment = Environment(
            database=database,
            stored_objects=self._score,
            external_sources=self._sources,
            entity_ids=self._entity_ids,
            enforce_latest=settings.enforce_latest,
            now=now,
            draining=draining,
            submissions=SubmissionWriter(database, now),
        )
        analysis_types.register_builtin(environment)
        self._authenticator = settings.authenticator()
        callers = Callers(self._authenticator, settings.policy)
        self._broker, progress = _broker(settings), EventProgress()
        form = EventFormat(settings.server_id, settings.overture_actions)
        relay_options = RelayOptions(form, settings.event_retention_days, environment.now)
        self._relay = Relay(database, self._broker, progress, relay_options)
        events = EventSource(database, progress, self._broker is not None, self._relay.wake)
        services = [
            Service("song.v1.StudyService", add_StudyServiceServicer_to_server, StudyServicer(environment, callers)),
            Service(
                "song.v1.AnalysisTypeService",
                add_AnalysisTypeServiceServicer_to_server,
                AnalysisTypeServicer(environment, callers),
            ),
            Service(
                "song.v1.AnalysisService",
                add_AnalysisServiceServicer_to_server,
                AnalysisServicer(environment, callers),
            ),
            Service("song.v1.EntityService", add_EntityServiceServicer_to_server, EntityServicer(environment, callers)),
            Service("song.v1.FileService", add_FileServiceServicer_to_server, FileServicer(environment, callers)),
            Service(
                "song.v1.EventService", add_EventServiceServicer_to_server, EventServicer(events, callers, draining)
            ),
        ]
        self._http = HttpSide.listening(settings, HTTP_WORKERS, limits.MAX_MESSAGE_BYTES)
        options = ServerOptions(
            settings.address,
            limits.MAX_MESSAGE_BYTES,
            drain_seconds=settings.drain_seconds,
            shares_port=settings.workers > 1,
        )
        try:
            self._server = RunningServer(options, services, ERRORS, draining, database.ping)
        except OSError:
            if self._http is not None:
                self._http.stop()
            raise
        self.address = self._server.address
        self.http_address = ""
        """Where it listens for HTTP/1.1; empty where it does not."""
        if self._http is not None:
            self.http_address = self._http.address
            self._http.serve(services, ERRORS)
        self._relay.start()

    def use_score(self, address: str) -> None:
        """Ask Score at this address from now on: its port may be known only after Song's."""
        self._score.move_to(address)

    def stop(self) -> None:
        """Drain, stop and let go of everything."""
        stop_together(self._server, self._http)
        self._relay.stop()
        if self._broker is not None:
            self._broker.close()
        self._score.close()
        self._sources.close()
        if self._entity_ids is not None:
            self._entity_ids.close()
        self._authenticator.close()
        self._database.close()


def _broker(settings: SongSettings) -> EventBroker | None:
    """Return the Kafka of the settings, None where there is none. Raises StartRefusedError."""
    if not settings.kafka_servers:
        return None
    try:
        from song_grpc.gateways import kafka  # noqa: PLC0415 - its library is installed where Kafka is used
    except ImportError:
        raise StartRefusedError("kafka_servers needs the extra 'kafka': pip install '.[server,kafka]'") from None
    login = None
    if settings.kafka_user:
        login = kafka.KafkaLogin(
            settings.kafka_mechanism, settings.kafka_user, settings.kafka_password.get_secret_value()
        )
    options = kafka.KafkaOptions(
        settings.kafka_servers,
        settings.kafka_topic,
        settings.kafka_security,
        str(settings.kafka_ca_file or ""),
        login,
    )
    try:
        return kafka.KafkaBroker(options)
    except ValueError as error:
        raise StartRefusedError(str(error)) from None


def start_song(settings: SongSettings) -> Song:
    """Start Song. Raises what `START_REFUSALS` lists."""
    validation.check_formats()
    database = Database(settings.sql_url)
    try:
        database.claim()
        if settings.migrate:
            database.upgrade(MIGRATIONS)
        database.check(MIGRATIONS)
        return Song(settings, database)
    except BaseException:
        database.close()
        raise


def main() -> None:
    """Run the command `song-server`."""
    sys.exit(run_service("song-server", SongSettings, start_song, MIGRATIONS))


if __name__ == "__main__":
    from song_grpc.__main__ import main as main_by_name

    main_by_name()  # spawned workers can't import a module named __main__
