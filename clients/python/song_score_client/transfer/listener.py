"""Whoever watches a transfer: a progress bar, JSON lines, nobody. Called from several threads."""


class Listener:
    """Watches one file's transfer; this one looks away. Override what you want to see."""

    def begin(self, size_bytes: int, done_bytes: int) -> None:
        """Tell of a transfer that begins: `done_bytes` of `size_bytes` need not be moved again."""

    def move(self, size_bytes: int) -> None:
        """Tell of bytes that went over the network, for the rate."""

    def verify(self, size_bytes: int) -> None:
        """Tell of bytes that are safe: a whole part, persisted and verified."""

    def withdraw(self, size_bytes: int) -> None:
        """Tell of bytes that were thought safe and must be moved again."""

    def say(self, message: str) -> None:
        """Tell of something a person may want to know: a resumption, a retry."""

    def wait(self, error: Exception, delay_seconds: float) -> None:
        """Tell of a pause after a failure that may pass; said as anything else, unless overridden."""
        self.say(f"{error}; going on in {delay_seconds:.1f} s")


class Relay(Listener):
    """Passes everything on. Override what is to be noticed on the way."""

    def __init__(self, inner: Listener) -> None:
        self._inner = inner

    def begin(self, size_bytes: int, done_bytes: int) -> None:
        """Pass it on."""
        self._inner.begin(size_bytes, done_bytes)

    def move(self, size_bytes: int) -> None:
        """Pass it on."""
        self._inner.move(size_bytes)

    def verify(self, size_bytes: int) -> None:
        """Pass it on."""
        self._inner.verify(size_bytes)

    def withdraw(self, size_bytes: int) -> None:
        """Pass it on."""
        self._inner.withdraw(size_bytes)

    def say(self, message: str) -> None:
        """Pass it on."""
        self._inner.say(message)

    def wait(self, error: Exception, delay_seconds: float) -> None:
        """Pass it on."""
        self._inner.wait(error, delay_seconds)
