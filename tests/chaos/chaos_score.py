"""A Score that dies at a failpoint, and whose store is full for as long as a file is there.

Run as a program: `chaos_score.py PLACE COUNT SETTINGS LIMITS FULL_FLAG`, as `tests/servers/dying_score.py`.
"""

import json
import sys
from pathlib import Path

from runtime_grpc.command_line import serve_until_told
from runtime_grpc.logs import configure_logs
from score_grpc.__main__ import start_score
from score_grpc.domain import limits
from score_grpc.domain.errors import StoreFullError
from score_grpc.gateways.objects.port import ObjectStore, PartWriter, Staging
from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_store
from tests.servers.dying_score import Death, DyingLedger, DyingStore, await_death


class FullWriter:
    """A part writer that runs out of space."""

    def __init__(self, writer: PartWriter, flag: Path) -> None:
        self._writer, self._flag = writer, flag

    def write(self, data: memoryview) -> None:
        if self._flag.exists():
            raise StoreFullError("Writing a part: no space left in the object store. Persisted parts are kept.")
        self._writer.write(data)

    def commit(self) -> str:
        return self._writer.commit()

    def discard(self) -> None:
        self._writer.discard()


class FullStore(DyingStore):
    """A store that may be full, or kill the process."""

    def __init__(self, store: ObjectStore, death: Death, flag: Path) -> None:
        super().__init__(store, death)
        self._flag = flag

    def open_part(self, staging: Staging, part_number: int, offset: int, size_bytes: int) -> PartWriter:
        return FullWriter(super().open_part(staging, part_number, offset, size_bytes), self._flag)


def main() -> None:
    place, count, settings, changed_limits, flag = sys.argv[1:]
    for name, value in json.loads(changed_limits).items():
        assert hasattr(limits, name)
        setattr(limits, name, value)
    read = ScoreSettings.model_validate(json.loads(settings))
    configure_logs(read.log_level)
    death = await_death(place, int(count))
    serve_until_told(
        lambda: start_score(
            read,
            lambda given: FullStore(open_store(given), death, Path(flag)),  # type: ignore[arg-type,return-value]  # the rest is passed on
            lambda database: DyingLedger(database, death),
        )
    )


if __name__ == "__main__":
    main()
