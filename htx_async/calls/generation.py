"""Which generation of the exchange's API an account's calls go to, and how that was found out."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from htx_async.arguments import shown
from htx_async.codes import Code
from htx_async.enums import TRAILING_ORDERS, ApiGeneration, GenerationLike
from htx_async.errors import InvalidRequest
from htx_async.events import GenerationChanged
from htx_async.exchange.v5 import CANCEL_FORMS

if TYPE_CHECKING:
    from htx_async.calls.emitter import Emitter

AUTO = "auto"
_CHOICES = (AUTO, *ApiGeneration)


class Generation:
    """Shared by a session's calls. `wanted`: "v1", "v5", or "auto", which starts on v1 and goes
    over to the other one when a reply shows that the account is there."""

    def __init__(self, wanted: GenerationLike) -> None:
        if wanted not in _CHOICES:
            choices = ", ".join(_CHOICES)
            raise InvalidRequest(f"generation must be one of {choices}, not {shown(wanted)}")
        self.is_auto = wanted == AUTO
        self.current = ApiGeneration.V1 if self.is_auto else ApiGeneration(wanted)
        self.how = "assumed, until a reply says otherwise" if self.is_auto else "given"
        """How it was found out."""
        self.since = -math.inf
        """The loop time at which it was."""
        self.on_v1 = -math.inf
        """The loop time at which v1 was last asked of those times that it named an order of it."""

    def known(self, family: str = TRAILING_ORDERS) -> ApiGeneration | None:
        """The one that was given, or that has shown itself to have the orders of `family`; None
        where it is assumed. `InvalidRequest` where V5 was given, and nothing is known of such
        orders there."""
        is_elsewhere = family != TRAILING_ORDERS and self.current is ApiGeneration.V5
        if is_elsewhere and not self.is_auto:
            raise InvalidRequest(
                f"nothing is known of {family} orders on V5, so nothing was sent; open a session "
                'with generation="auto" or "v1"'
            )
        is_assumed = self.is_auto and self.current is ApiGeneration.V1
        return None if is_assumed or is_elsewhere else self.current

    def note(self, how: str, on_v1: float = -math.inf) -> None:
        """What was found out about an account that stays where it is; `on_v1`: see above."""
        self.on_v1 = max(self.on_v1, on_v1)
        if self.is_auto and self.current is ApiGeneration.V1:
            self.how = how

    def switch(self, current: ApiGeneration, why: str, emitter: Emitter | None) -> bool:
        """The account is on `current`, as `why` shows; whether that is news."""
        if self.current is current:
            return False
        self.current, self.how = current, why
        self.since = asyncio.get_running_loop().time()
        if emitter:
            emitter.emit(GenerationChanged(self.since, current, why))
        return True


class V5Traits:
    """What V5 has shown of itself to a session, which holds for all its contracts."""

    def __init__(self) -> None:
        self.cancel_form = CANCEL_FORMS[0]
        """The form of a cancel that it took last."""
        self.lists_all = False
        """Whether a list without a contract code is of every contract."""
        self.mixes = True
        """Whether one cancel may name orders of several contracts: assumed, until it is shown that
        it may not."""
        self.has_lists = False
        """Whether it has answered with a list of this account."""
        self.absent_at = -math.inf
        """When it was asked last what it answered with `absence`."""
        self.absence: Code | None = None
        """The code by which it said that the account is not there."""
        self.asking = asyncio.Lock()
        """Those who wait for one answer share the next, which was asked for after theirs."""
