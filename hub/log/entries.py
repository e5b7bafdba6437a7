"""What a claim's state is kept in."""

from __future__ import annotations

from collections.abc import Iterator


class Entries(dict[str, bytes]):
    """A dictionary that may change while its keys are gone through: those that were there at the beginning are shown.

    The keys are copied at once, in a step that no other thread interrupts.
    """

    def __iter__(self) -> Iterator[str]:
        return iter(list(super().__iter__()))
