"""What `score doctor` says: findings, and what was seen of clocks on the way."""

import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum

from song_score_client.errors import ClientError

MAX_SKEW_SECONDS = 60.0
"""More makes tokens and signed URLs look expired, or not valid yet."""


class Verdict(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    WARNING = "warning"
    """Works, and is worth a look."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Can't be found out, for what is said."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    verdict: Verdict
    message: str
    remedy: str = ""
    error: ClientError | None = field(default=None, repr=False)
    """Of a failed one: what it would end a command with."""


class Clocks:
    """How other machines' clocks and this one differ, as answers told it by the way."""

    def __init__(self) -> None:
        self._skews: dict[str, float] = {}

    def tell(self, whose: str, moment: float) -> None:
        """Note what time it is there now: seconds since 1970."""
        skew = moment - time.time()
        if abs(skew) >= abs(self._skews.get(whose, 0.0)):
            self._skews[whose] = skew

    def tell_date(self, whose: str, date: str | None) -> None:
        """Note the Date of an HTTP answer; what is none is passed over."""
        try:
            moment = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        self.tell(whose, moment)

    def finding(self) -> Finding:
        """Return what it comes to."""
        if not self._skews:
            text = "not known: nothing told what time it is at Score; over gRPC, --object-id has it told"
            return Finding("clock", Verdict.SKIPPED, text)
        whose, skew = max(self._skews.items(), key=lambda told: abs(told[1]))
        if abs(skew) > MAX_SKEW_SECONDS:
            text = f"{whose} clock and this one differ by {abs(skew):.0f} s"
            remedy = "set the clocks (NTP): tokens and signed URLs expire by them"
            return Finding("clock", Verdict.WARNING, text, remedy)
        return Finding("clock", Verdict.OK, f"{whose} clock is this one's to {abs(skew):.0f} s")
