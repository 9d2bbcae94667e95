"""Download one object: parts into a partial file, verified, then renamed."""

from dataclasses import dataclass
from pathlib import Path

from score.v1.download_service_pb2 import GetChunkManifestResponse
from score.v1.stored_object_pb2 import StoredObject

from song_score_client.errors import GenerationChangedError, LocalFileError
from song_score_client.score import ScoreClient
from song_score_client.transfer.download_stream import DownloadStream
from song_score_client.transfer.journal import discard_journal, journal_path
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import open_file
from song_score_client.transfer.parallelism import Streams, metered, useful_streams
from song_score_client.transfer.partial_file import PartialFile
from song_score_client.transfer.parts import Parts
from song_score_client.transfer.rate import RateLimit
from song_score_client.transfer.signed_download import SignedDownload, SignedUrl
from song_score_client.transfer.streams import keep_streaming, move_parts

GENERATIONS = 3
"""How often the object may be replaced during its download before it is given up."""


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What a download came to."""

    stored_object: StoredObject
    path: Path
    kept_part_total: int
    """Parts that were there before and not fetched again. All of them where the file was there already."""
    fetched_bytes: int
    """Bytes of the parts fetched by this call."""
    md5: str | None
    """MD5 of the file as computed on this machine; None where only its parts were checked."""


def download_object(  # noqa: PLR0913 - one parameter an option, by keyword
    score: ScoreClient,
    object_id: str,
    target: Path,
    *,
    force: bool = False,
    allow_unpublished: bool = False,
    whole_md5: bool = True,
    streams: int | Streams | None = None,
    rate: RateLimit | None = None,
    listener: Listener | None = None,
) -> DownloadResult:
    """Download an object to the target file, and return once it is whole and verified.

    Run again after any failure, it fetches no part again that was verified. An existing target with the right
    bytes is left as it is; with others it is an error unless `force`. `whole_md5` false checks the parts' digests
    alone. Raises LocalFileError, ServiceError.
    """
    streams = useful_streams(is_limited=rate is not None) if streams is None else streams
    listener = metered(listener or Listener(), streams)
    for attempt in range(1, GENERATIONS + 1):
        manifest = score.get_chunk_manifest(object_id, allow_unpublished=allow_unpublished)
        transfer = _Transfer(score, manifest, target, allow_unpublished, streams, rate, listener)
        try:
            return transfer.run(force=force, whole_md5=whole_md5)
        except GenerationChangedError:
            if attempt == GENERATIONS:
                raise
            listener.say("the object was replaced meanwhile: starting anew with its new bytes")
    raise AssertionError("unreachable")


class _Transfer:
    def __init__(
        self,
        score: ScoreClient,
        manifest: GetChunkManifestResponse,
        target: Path,
        allow_unpublished: bool,  # noqa: FBT001 - passed on
        streams: int | Streams,
        rate: RateLimit | None,
        listener: Listener,
    ) -> None:
        self._score, self._stored, self._parts = score, manifest.stored_object, list(manifest.parts)
        self._target, self._allow_unpublished = target, allow_unpublished
        self._streams, self._rate, self._listener = streams, rate, listener

    def run(self, *, force: bool, whole_md5: bool) -> DownloadResult:
        if (there := self._already_there(force=force)) is not None:
            return there
        partial = PartialFile(self._target, self._stored, self._parts, whole_md5=whole_md5)
        try:
            kept = partial.fetched
            kept_bytes = sum(self._parts[number - 1].size_bytes for number in kept)
            self._listener.begin(self._stored.size_bytes, kept_bytes)
            if kept:
                self._listener.say(
                    f"resuming: {len(kept)} of {len(self._parts)} parts are there and are not fetched again"
                )
            fetched_bytes = self._fetch(partial, set(range(1, len(self._parts) + 1)) - kept)
            while damaged := partial.await_hash():
                self._listener.say(f"{len(damaged)} parts on this disk are damaged: fetching them again")
                self._listener.withdraw(sum(self._parts[number - 1].size_bytes for number in damaged))
                fetched_bytes += self._fetch(partial, set(damaged))
            md5 = partial.finish()
        finally:
            partial.close()
        return DownloadResult(self._stored, self._target, len(kept), fetched_bytes, md5)

    def _already_there(self, *, force: bool) -> DownloadResult | None:
        """Return the result if the target has the right bytes. Raises LocalFileError if it has others."""
        if force or not self._target.exists():
            return None
        with open_file(self._target) as file:
            if file.identity.size_bytes == self._stored.size_bytes and (md5 := file.md5()) == self._stored.md5:
                self._listener.begin(self._stored.size_bytes, self._stored.size_bytes)
                discard_journal(journal_path(self._target))
                return DownloadResult(self._stored, self._target, len(self._parts), 0, md5)
        raise LocalFileError(
            f"{self._target} exists with other bytes: `score repair` mends it if it is a damaged copy; else move it "
            "away, or use --force to replace it"
        )

    def _fetch(self, partial: PartialFile, numbers: set[int]) -> int:
        """Fetch these parts; return their bytes."""
        stored, parts, listener, rate = self._stored, self._parts, self._listener, self._rate
        connection, allow_unpublished = self._score.connection, self._allow_unpublished

        def make_stream(queue: Parts) -> DownloadStream:
            return DownloadStream(
                stored=stored,
                allow_unpublished=allow_unpublished,
                parts=parts,
                fd=partial.fd,
                queue=queue,
                listener=listener,
                rate=rate,
                on_fetched=partial.add,
            )

        url = SignedUrl(self._score, stored, allow_unpublished=allow_unpublished)
        move_parts(
            connection,
            numbers,
            self._streams,
            lambda queue: keep_streaming(connection, queue, make_stream, listener),
            SignedDownload(self._score, stored, parts, partial.fd, url, listener, rate, partial.add).run,
            listener,
        )
        return sum(self._parts[number - 1].size_bytes for number in numbers)
