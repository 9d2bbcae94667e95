"""What happened in all runs together."""

from collections import Counter
from dataclasses import dataclass, field

from tests.servers.raw_score import MIB


@dataclass
class Figures:
    """What happened, added up."""

    runs: int = 0
    themes: Counter[str] = field(default_factory=Counter)
    """Runs in which each occurred."""
    attempts: Counter[str] = field(default_factory=Counter)
    """Clients run, by their transport."""
    faults: Counter[str] = field(default_factory=Counter)
    client_kills: int = 0
    server_deaths: int = 0
    client_errors: Counter[str] = field(default_factory=Counter)
    refused_urls: int = 0
    uploaded_bytes: int = 0
    """Of the files that went up."""
    downloaded_bytes: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    def __str__(self) -> str:
        sent, received = self.uploaded_bytes / MIB, self.downloaded_bytes / MIB
        return (
            f"{self.runs} runs {dict(self.themes)}; clients {dict(self.attempts)}; {self.client_kills} clients and "
            f"{self.server_deaths} servers killed, faults {dict(self.faults)}, {self.refused_urls} URLs refused, "
            f"clients ended with {dict(self.client_errors)}; sent {sent:.0f} MiB and "
            f"{self.sent_bytes / MIB - sent:.0f} again, fetched {received:.0f} and "
            f"{self.received_bytes / MIB - received:.0f} again"
        )
