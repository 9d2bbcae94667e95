"""Metrics of this process for Prometheus, as text over HTTP on loopback: calls, bytes, and what a service adds."""

from collections.abc import Callable

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server

_CALLS = Histogram("call_seconds", "Calls and streams that ended, with how long they took.", ["method", "result"])
_BYTES = Counter("stream_bytes", "Bytes of objects that streams have carried.", ["direction"])


def count_call(method: str, seconds: float, *, is_refused: bool) -> None:
    """Count a call that ended: `/service/method`, or of plain HTTP `PUT /path`, of which the verb alone is kept."""
    name = method if method.startswith("/") else f"{method.partition(' ')[0]} signed URL"
    _CALLS.labels(name, "refused" if is_refused else "ok").observe(seconds)


def count_bytes(direction: str, size_bytes: int) -> None:
    """Count bytes that went `up` or `down`."""
    _BYTES.labels(direction).inc(size_bytes)


class MetricsPort:
    """Serves the metrics from construction to `stop`."""

    def __init__(self, port: int) -> None:
        """Listen on loopback; 0 takes any free port. Raises OSError."""
        try:
            self._server, self._thread = start_http_server(port, "127.0.0.1")
        except OSError as error:
            text = (
                f"can't serve metrics on 127.0.0.1:{port} ({error.strerror}): choose another port, 0 takes any free one"
            )
            raise OSError(text) from None
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._gauges: list[Gauge] = []

    def show(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Ask for this value whenever the metrics are read."""
        gauge = Gauge(name, meaning)
        gauge.set_function(value)
        self._gauges.append(gauge)

    def stop(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for gauge in self._gauges:
            REGISTRY.unregister(gauge)
