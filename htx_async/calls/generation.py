"""Which generation of the exchange's API an account's calls go to, and how that was found out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from htx_async.enums import ApiGeneration
from htx_async.errors import InvalidRequest
from htx_async.events import GenerationChanged

if TYPE_CHECKING:
    from htx_async.calls.emitter import Emitter

AUTO = "auto"
_CHOICES = (AUTO, *ApiGeneration)


class Generation:
    """Shared by a session's calls. `wanted`: "v1", "v5", or "auto", which starts on v1 and goes
    over to the other one when a reply shows that the account is there."""

    def __init__(self, wanted: str) -> None:
        if wanted not in _CHOICES:
            raise InvalidRequest(f"generation must be one of {', '.join(_CHOICES)}")
        self.is_auto = wanted == AUTO
        self.current = ApiGeneration.V1 if self.is_auto else ApiGeneration(wanted)
        self.how = "assumed, until a reply says otherwise" if self.is_auto else "given"
        """How it was found out."""

    def note(self, how: str) -> None:
        """What was found out about an account that stays where it is."""
        if self.is_auto and self.current is ApiGeneration.V1:
            self.how = how

    def switch(self, current: ApiGeneration, why: str, emitter: Emitter | None) -> None:
        """The account is on `current`, as `why` shows."""
        if self.current is current:
            return
        self.current, self.how = current, why
        if emitter:
            now = asyncio.get_running_loop().time()
            emitter.emit(GenerationChanged(now, current, why))
