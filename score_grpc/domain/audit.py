"""What is kept of a call for audit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from score_grpc.domain import limits


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked for what is done later, maybe by another process."""

    principal: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """Address and version of the client."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who asked for what, with what result. Never holds a token or a signed URL."""

    time: datetime
    principal: str
    action: str
    """One word: start, complete, abort, write, read, sign, verify, delete; for what else was denied, the method's
    name."""
    object_id: str
    """Empty where the call named none."""
    study_id: str
    """Empty where it is not known."""
    result: str
    """OK, or the reason of the refusal."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Address and version of the client, upload, generation, ranges, reason and the like."""

    def cut_facts(self) -> dict[str, str]:
        """Return the facts, each of bounded length."""
        return cut_facts(self.facts)


def cut_facts(facts: Mapping[str, str]) -> dict[str, str]:
    """Return facts, each of bounded length."""
    return {name: value[: limits.AUDIT_FACT_MAX_CHARS] for name, value in facts.items()}
