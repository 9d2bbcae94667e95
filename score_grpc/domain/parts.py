"""The plan of parts: how a run of bytes is cut into numbered pieces."""

from collections.abc import Iterator
from dataclasses import dataclass

from score_grpc.domain import limits
from score_grpc.domain.errors import FieldInvalidError


@dataclass(frozen=True, slots=True)
class PartPlan:
    """Parts of equal length, the last one shorter; part `n` begins at `(n - 1) * part_size_bytes`."""

    size_bytes: int
    part_size_bytes: int

    @property
    def part_total(self) -> int:
        """How many parts there are, 0 for an empty object."""
        return -(-self.size_bytes // self.part_size_bytes)

    def offset(self, part_number: int) -> int:
        """Return the part's first byte."""
        return (part_number - 1) * self.part_size_bytes

    def part_bytes(self, part_number: int) -> int:
        """Return the part's length. Raises FieldInvalidError for a number outside the plan."""
        if not 1 <= part_number <= self.part_total:
            raise FieldInvalidError(
                "chunk.part_number", f"part {part_number}: this upload has the parts 1 to {self.part_total}"
            )
        return min(self.part_size_bytes, self.size_bytes - self.offset(part_number))

    def numbers(self) -> Iterator[int]:
        """Yield all part numbers, in order."""
        yield from range(1, self.part_total + 1)


def plan_parts(size_bytes: int, hint_bytes: int) -> PartPlan:
    """Choose the part size: the hint, or more where 10 000 parts would not do, in whole MiB. A hint of 0 is none."""
    if size_bytes > limits.OBJECT_MAX_BYTES:
        raise FieldInvalidError(
            "size_bytes", f"{size_bytes} bytes: an object has at most {limits.OBJECT_MAX_BYTES} bytes (5 TiB)"
        )
    if hint_bytes and not limits.PART_MIN_BYTES <= hint_bytes <= limits.PART_MAX_BYTES:
        raise FieldInvalidError(
            "part_size_hint_bytes",
            f"{hint_bytes}: give 0 or {limits.PART_MIN_BYTES} to {limits.PART_MAX_BYTES} bytes (5 MiB to 2047 MiB)",
        )
    needed = max(hint_bytes or limits.PART_DEFAULT_BYTES, -(-size_bytes // limits.PARTS_MAX))
    return PartPlan(size_bytes, -(-needed // limits.MIB) * limits.MIB)
