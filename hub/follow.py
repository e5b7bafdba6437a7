"""Reading the registry topic into a `Registry`: the same way for every process, believing nothing that is not signed."""

from __future__ import annotations

from pydantic import ValidationError

from hub.core import strict
from hub.core.errors import Refusal, VerificationFailed
from hub.core.judging import follow
from hub.core.registry import Registry
from hub.log import Log
from schemas.statement import RegistryEvent

REGISTRY = "comity.registry"
MAX_EVENT = 2_000_000  # bytes


class Follower:
    """A registry that follows its topic."""

    def __init__(self, log: Log, *, settled: bool = False) -> None:
        """settled: for who decides by it: `catch_up` also waits for events that are written and not yet committed."""
        self.registry = Registry()
        self._log, self._settled = log, settled
        self._offset = -1

    async def catch_up(self) -> int:
        """Fold every committed event that is new; how many there were.

        Raises VerificationFailed when the topic holds what an honest registry would not have written: the caller must
        stop, for nobody may decide on an old or a doubtful view.
        """
        before = self.registry.position
        while events := await self._log.read(REGISTRY, after=self._offset, settled=self._settled):
            for stored in events:
                follow(self.registry, parse_event(stored.record.value))
                self._offset = stored.offset
        return self.registry.position - before


def parse_event(value: bytes) -> RegistryEvent:
    """The event of one record of the registry topic; VerificationFailed when it is not one."""
    try:
        return RegistryEvent.model_validate(strict.loads(value, max_bytes=MAX_EVENT))
    except (Refusal, ValidationError) as error:
        raise VerificationFailed(f"the registry topic holds something that is no registry event: {error}") from None
