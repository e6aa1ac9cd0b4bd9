"""Large answers that clients are still taking, and the memory that they hold."""

from __future__ import annotations

from typing import Protocol

_YOUNG_S = 5.0  # before an answer can be the slowest


class Outgoing(Protocol):
    """The delivery of one answer."""

    @property
    def is_cut(self) -> bool:
        """Whether :meth:`cut` has ended it."""
        ...

    @property
    def seconds(self) -> float:
        """Since the answer began."""
        ...

    @property
    def rate(self) -> float:
        """Bytes a second that the client has taken so far."""
        ...

    def cut(self) -> None:
        """End the delivery at once."""
        ...


class Answers:
    """Counts the bytes of large answers until clients have taken them.

    Over ``limit`` bytes, the answer that is taken the slowest is cut off: a few clients that read
    slowly must neither fill the memory nor keep others out.  For the event loop alone: no locks.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._sizes: dict[Outgoing, int] = {}

    def hold(self, delivery: Outgoing, size: int) -> None:
        """Count ``size`` bytes of an answer until :meth:`release`."""
        self.bytes += size
        self._cut_the_slowest()
        self._sizes[delivery] = size

    def release(self, delivery: Outgoing) -> None:
        """Count an answer no longer.  Calling it again, or for one never held, does no harm."""
        self.bytes -= self._sizes.pop(delivery, 0)

    def _cut_the_slowest(self) -> None:
        kept = self.bytes - sum(size for each, size in self._sizes.items() if each.is_cut)
        for delivery in sorted(self._sizes, key=lambda each: each.rate):
            if kept <= self.limit:
                return
            if delivery.seconds > _YOUNG_S and not delivery.is_cut:
                delivery.cut()
                kept -= self._sizes[delivery]
