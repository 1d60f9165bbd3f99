"""Those of one process who wait for one endpoint's shared tokens.

A single task asks for all of them, so that only the head of the line costs a round trip: it takes
a token from the store, or learns when one is reserved for it and sleeps until then, and hands it to
whoever is at the head by that time.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from htx_async.aio.background import Background
from htx_async.enums import LimiterMode
from htx_async.errors import SessionClosed
from htx_async.limits.shared_debts import Debts
from htx_async.limits.shared_store import (
    ASK_AGAIN,
    ASKING,
    CLOSE,
    FENCED,
    GRANTED,
    TOO_LATE,
    Rule,
    SharedStore,
    Unreachable,
)
from htx_async.limits.shared_told import Share, ToldToFleet
from htx_async.limits.token_queue import TakeToken
from htx_async.limits.waiting_line import OnTurn, WaitingLine

OnMode = Callable[[str, LimiterMode, str], object]

_LOOK = 0.2
"""Seconds between two looks for a store that is away."""

_STALE = 0.1
"""Seconds after which a confirmed token is confirmed once more: something blocked the loop."""

_LOOK_AGAIN = 2.0
"""Seconds after which a reservation is looked at again: another process may have heard that the
exchange takes more by now."""

_MOST_REFUSALS = 3


class Token(NamedTuple):
    """A token in use. `own`: where it came from when it is not a shared one; None for the one
    that passes a change-over."""

    name: str
    mode: LimiterMode
    own: TakeToken | None = None


class SharedQueue:
    """Hands out the tokens of `endpoint`, from `store` or, without it, from `share`."""

    def __init__(
        self, endpoint: str, store: SharedStore, rule: Rule, share: Share, tell: OnMode
    ) -> None:
        self._endpoint = endpoint
        self._store = store
        self._share = share
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._names = (f"{secrets.token_hex(8)}:{number}" for number in itertools.count(1))
        self.line: WaitingLine = WaitingLine()
        self.mode: LimiterMode = LimiterMode.SHARED
        self.reason: str = ""
        """Why the mode has changed last."""
        self._has_joined = False
        self._reserved = ""
        self._is_reserved_urgent = False
        self._passing_name = ""
        self._next_turn = -math.inf
        self._may_pass = False
        self._is_fenced = False
        self._ready: deque[Token] = deque()
        self._out: set[str] = set()
        self._own_waiting: set[str] = set()
        self._known: set[str] = set()
        self._own_used: deque[float] = deque()
        self.debts: Debts = Debts(store)
        self.told: ToldToFleet = ToldToFleet(endpoint, store, rule, share, self.debts)
        self._alarm = asyncio.Event()
        self._serving = Background(self._serve)

    def join(self, urgent: bool, on_turn: OnTurn | None) -> asyncio.Future[None]:
        """Stand in line; when the future is done, `collect` has a token."""
        waiter = self.line.join(urgent, on_turn)
        self._serving.begin()
        may_pass = self._may_pass or self.told.urgent_may_pass
        if urgent and (may_pass or self._store.hastens):
            self._alarm.set()
        return waiter

    def collect(self) -> Token:
        """The token of a waiter whose turn it is."""
        token = self._ready.popleft()
        self._out.add(token.name)
        return token

    def abandon(self, waiter: asyncio.Future[None]) -> None:
        """The caller no longer waits; a token that it was just given goes to the next."""
        if self.line.leave(waiter):
            self._offer(self.collect())
        elif not self.line:
            self._alarm.set()

    def settle(self, token: Token, *, answered: bool) -> None:
        """The request was answered or has failed."""
        self._out.discard(token.name)
        if self.told.ended(token.name, answered=answered):
            self._alarm.set()
        if token.mode is LimiterMode.SHARED or token.name in self._known:
            self._owe(token.name, self._loop.time())
        if token.mode is LimiterMode.OWN_SHARE:
            self._own_waiting.discard(token.name)
            self._own_used.append(self._loop.time() + self.told.rule.per)
            if token.own is None:
                self._share.pause(self._endpoint, self.told.rule.per)

    def release(self, token: Token) -> None:
        """Certain that no byte left."""
        self._out.discard(token.name)
        if self.told.ended(token.name, answered=False):
            self._alarm.set()
        self._own_waiting.discard(token.name)
        if token.own is not None:
            token.own.not_sent()
        if token.mode is LimiterMode.SHARED or token.name in self._known:
            self._owe(token.name, None)

    def moved(self) -> None:
        """What the exchange told has moved turns."""
        self._alarm.set()
        self.announce()

    def earliest(self, urgent: bool) -> float:
        """When one that joins now could have its turn, if no other process took any."""
        return self._turn(self.line.ahead(urgent), urgent)

    def foresee(self, count: int, urgent: bool, round_trip: float) -> float:
        """The same for the last of `count`, if every process took its share all the time."""
        ahead = self.line.ahead(urgent) + count - 1
        return self._turn(0, urgent) + ahead * self.told.each(round_trip)

    async def aclose(self) -> None:
        """Let nobody wait any longer; what is back can still be told."""
        await self._serving.stop()
        self._drop_reservation()
        self.line.dismiss(SessionClosed("the limiter was closed, so nothing was sent"))

    def _turn(self, ahead: int, urgent: bool) -> float:
        return self.told.turn(ahead, urgent, self._next_turn, self.line.is_urgent)

    def announce(self) -> None:
        """Tell those who wait, and asked for it, when their turn can come now."""
        urgents = self.line.ahead(True)
        for ahead, on_turn in enumerate(self.line):
            if on_turn is not None:
                on_turn(self._turn(ahead, ahead < urgents))

    async def _serve(self) -> None:
        """Get tokens as long as somebody waits."""
        try:
            while self.line:
                token = await self._token()
                if token is not None:
                    self._offer(token)
        except Exception as error:
            # Nobody may wait for a token that will never come.
            self.line.dismiss(error)
        self._drop_reservation()

    def _offer(self, token: Token) -> None:
        while self.line:
            if self.line.call_next():
                self._ready.append(token)
                return
        self.release(token)

    async def _token(self) -> Token | None:
        """A token, or None when nobody waits any longer or the mode has changed."""
        if self.mode is LimiterMode.OWN_SHARE:
            return await self._own_token()
        try:
            return await self._shared_token()
        except Unreachable as failure:
            self._do_without(failure.reason)
            return None

    async def _shared_token(self) -> Token | None:
        if not self._has_joined:
            await self._join(was_away=False)
        refusals = 0
        while self.line:
            if self.told.is_changed:
                self.told.is_changed = False
                # What is reserved was reserved by the limit before.
                self._drop_reservation()
                await self.debts.told()
            urgent = self.line.is_urgent
            if (wait := self.told.held_until(urgent) - self._loop.time()) > 0:
                await self._sleep(wait)
                continue
            taken = await self._store.take(self._reservation(urgent), urgent=urgent)
            ready = self._loop.time() + taken.wait
            if taken.status == ASKING:
                self.told.learn(ready)
            await self._note_fence(taken.status == FENCED)
            if taken.status == TOO_LATE:
                # It came in time all the same: the server's clock has jumped.
                refusals += 1
                if refusals > _MOST_REFUSALS:
                    raise Unreachable("Redis' clock jumps")
                await self._join(was_away=True)
            elif taken.status == ASK_AGAIN:
                await self._sleep(taken.wait)
            elif taken.wait > CLOSE:
                self._next_turn = ready
                if (passing := await self._passing()) is not None:
                    return passing
                await self._sleep(min(taken.wait - CLOSE / 2, _LOOK_AGAIN))
            else:
                await asyncio.sleep(taken.wait)
                now = self._loop.time()
                if now - ready < _STALE and self.told.held_until(urgent) <= now:
                    name, self._reserved, self._next_turn = self._reserved, "", -math.inf
                    self.told.passed(name, urgent)
                    return Token(name, LimiterMode.SHARED)
        return None

    def _reservation(self, urgent: bool) -> str:
        """The name of the token that is asked for. An urgent caller that may go sooner than others
        asks for one of its own."""
        if urgent and not self._is_reserved_urgent and self.told.urgent_may_pass:
            self._drop_reservation()
        if not self._reserved:
            self._reserved, self._is_reserved_urgent = next(self._names), urgent
        return self._reserved

    async def _note_fence(self, is_fenced: bool) -> None:
        """A store that starts anew knows neither what is in use nor of a slower limit."""
        if is_fenced and not self._is_fenced:
            self.told.say_rule(again=True)
            if self._out:
                await self._join(was_away=False)
        self._is_fenced = is_fenced

    async def _passing(self) -> Token | None:
        """The one token that an urgent call may have while the store counts all as just used."""
        self._may_pass = self._is_fenced
        if not (self._is_fenced and self.line.is_urgent):
            return None
        # Kept until it is known what became of it: whoever is cut off asks for the same once more.
        self._passing_name = self._passing_name or next(self._names)
        taken = await self._store.take(self._passing_name, urgent=True)
        name, self._passing_name = self._passing_name, ""
        if taken.status == GRANTED and -_STALE < taken.wait <= 0:
            return Token(name, LimiterMode.SHARED)
        self._may_pass = False
        self._owe(name, None)
        return None

    async def _own_token(self) -> Token | None:
        while self.line:
            is_paused = self.told.paused_until > self._loop.time()
            if self._may_pass and self.line.is_urgent and not is_paused:
                self._may_pass = False
                return self._own(None)
            # Before any request, and every so often while there is none.
            if await self._rejoin():
                return None
            urgent = self.line.is_urgent
            wait = self._share.earliest(self._endpoint, urgent=urgent) - self._loop.time()
            if wait <= 0:
                taken = self._share.take(self._endpoint, urgent=urgent)
                return self._own(await taken.__aenter__())
            await self._sleep(min(_LOOK, wait))
        return None

    def _own(self, taken: TakeToken | None) -> Token:
        token = Token(next(self._names), LimiterMode.OWN_SHARE, taken)
        self.told.passed(token.name, self.line.is_urgent)
        self._own_waiting.add(token.name)
        return token

    async def _rejoin(self) -> bool:
        try:
            await self._join(was_away=True)
        except Unreachable:
            return False
        self._change(LimiterMode.SHARED, self._store.answers_again)
        self.debts.pay(self.told.rule.per)
        return True

    async def _join(self, *, was_away: bool) -> None:
        now = self._loop.time()
        while self._own_used and self._own_used[0] <= now:
            self._own_used.popleft()
        own, used = set(self._own_waiting), len(self._own_used)
        waiting = tuple(self._out | own)
        await self._store.join(next(self._names), was_away=was_away, used=used, waiting=waiting)
        self._has_joined = True
        self._known |= own & self._own_waiting
        for name in own - self._own_waiting:
            # Answered while the store heard that it was waiting.
            self._owe(name, self._loop.time())

    def _do_without(self, reason: str) -> None:
        """Close for one period, for the tokens that others used a moment ago still count; then use
        the share that is this process's own."""
        self._may_pass = True
        self._share.pause(self._endpoint, self.told.rule.per)
        self._change(LimiterMode.OWN_SHARE, reason)
        self._drop_reservation()

    def _drop_reservation(self) -> None:
        for name in (self._reserved, self._passing_name):
            if name:
                self._owe(name, None)
        self._reserved, self._passing_name, self._next_turn = "", "", -math.inf

    def _owe(self, name: str, used: float | None) -> None:
        self._known.discard(name)
        self.debts.owe(name, used)
        if self.mode is LimiterMode.SHARED:
            self.debts.pay(self.told.rule.per)

    def _change(self, mode: LimiterMode, reason: str) -> None:
        # Who waits is not told of a later turn: a cut may be over in a moment.
        self.mode, self.reason = mode, reason
        self._tell(self._endpoint, mode, reason)

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until an urgent call comes that need not wait, or nobody waits."""
        self._alarm.clear()
        if not self.line:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._alarm.wait()
