"""A long path: one stream against many, and both against what the path itself carries.

    python -m benchmarks.long_path [--mib 512] [--streams 8] [--rounds 2] [--window-mib 4] [--quick]

A proxy delays every byte by 50 ms each way, and lets a connection have no more than a window on the way. The path's
own rate is that of a plain socket that sends the same bytes through the same proxy, over as many connections.
"""

import os
import socket
import threading
import time
from pathlib import Path

from benchmarks.delay_proxy import DelayProxy
from benchmarks.report import GIB, MIB, Cost, Report, Row, ratio, rounds
from benchmarks.score_servers import Server, parser, require_space, work_folder, write_file, write_manifest

DELAY_SECONDS = 0.05


def main() -> None:
    """Run it."""
    flags = parser(__doc__)
    flags.add_argument("--mib", type=int, default=512)
    flags.add_argument("--streams", type=int, default=8)
    flags.add_argument("--rounds", type=int, default=2)
    flags.add_argument("--window-mib", type=float, default=4.0, help="what a connection may have on the way")
    arguments = flags.parse_args()
    size, total = arguments.mib * MIB, arguments.rounds
    if arguments.quick:
        size, total = 64 * MIB, 1
    with work_folder(arguments.folder) as folder:
        require_space(folder, 3 * size)
        window = int(arguments.window_mib * MIB)
        measure(folder, size, arguments.streams, window, total, arguments.note)


def measure(folder: Path, size: int, streams: int, window: int, total: int, note: str) -> None:
    """Measure in the folder, print and keep."""
    title = f"{size / GIB:g} GiB over a path of 50 ms each way and a window of {window / MIB:g} MiB a connection"
    report = Report("long-path", title, note)
    file = folder / "reads.bam"
    md5s = {file: write_file(file, size)}
    server = Server(folder / "server")
    host, _, port = server.score_address.rpartition(":")
    proxy = DelayProxy((host, int(port)), DELAY_SECONDS, window)
    far = {"SCORE_URL": f"127.0.0.1:{proxy.port}"}
    stored: list[str] = []

    def flags(number: int | None) -> list[str]:
        return [] if number is None else [f"--streams={number}"]

    def upload(number: int | None) -> Cost:
        server.drop_objects(stored)
        objects = server.register(md5s)
        stored[:] = objects.values()
        manifest = write_manifest(folder / "manifest", objects, md5s)
        return server.upload(manifest, *flags(number), environment=far)

    def download(number: int | None) -> Cost:
        return server.download(stored, folder / "out", *flags(number), environment=far)

    try:
        costs = rounds(
            total,
            {
                "path, 1 connection": lambda: plain(size, 1, window),
                f"path, {streams} connections": lambda: plain(size, streams, window),
                "upload, 1 stream": lambda: upload(1),
                "download, 1 stream": lambda: download(1),
                f"upload, {streams} streams": lambda: upload(streams),
                f"download, {streams} streams": lambda: download(streams),
                "upload, adaptive": lambda: upload(None),
                "download, adaptive": lambda: download(None),
            },
        )
    finally:
        proxy.close()
        server.stop()
    for name, measured in costs.items():
        number = name.partition(", ")[2].partition(" ")[0]
        base = costs["path, 1 connection" if number == "1" else f"path, {streams} connections"]
        report.add(Row(name, size, measured, () if base is measured else base))
    for direction in ("upload", "download"):
        gain = ratio(costs[f"{direction}, 1 stream"], costs[f"{direction}, {streams} streams"])
        report.say(f"{direction}: {streams} streams are {gain:.1f} times as fast as one (target: at least 4)")
        gain = ratio(costs[f"{direction}, 1 stream"], costs[f"{direction}, adaptive"])
        report.say(f"{direction}: as many as the client finds good, {gain:.1f} times as fast (target: at least 1)")
    report.say("The ratio is to the path's own time with as many connections.")
    report.keep()


def plain(size: int, connections: int, window: int) -> Cost:
    """Send the bytes through such a proxy over plain sockets."""
    block = memoryview(os.urandom(MIB))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = DelayProxy(("127.0.0.1", int(listener.getsockname()[1])), DELAY_SECONDS, window)

        def send() -> None:
            with socket.create_connection(("127.0.0.1", proxy.port)) as sender:
                for _ in range(size // connections // MIB):
                    sender.sendall(block)
                sender.shutdown(socket.SHUT_WR)
                sender.recv(1)  # until the other side has everything

        def receive() -> None:
            receiver, _ = listener.accept()
            buffer = bytearray(MIB)
            with receiver:
                while receiver.recv_into(buffer):
                    pass

        threads = [threading.Thread(target=work) for work in (send, receive) for _ in range(connections)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        proxy.close()
    return Cost(time.monotonic() - started, 0.0, 0.0, 0.0)


if __name__ == "__main__":
    main()
