"""Several calls of many contracts at once on one account, judged by what the exchange saw.

Chance draws them, each from a seed of its own: how they look, wait and end, whom they share
requests with, and what becomes of account, hosts and orders meanwhile. All in virtual time.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, get_args

import pytest

from htx_async import HtxSession, MassCancelFailed, MassCancelReport, RetryPolicy
from htx_async.events import Event
from htx_async.simulator.endpoints import endpoints
from htx_async.simulator.v5_forms import Mixed
from tests.support.book import Wanted
from tests.support.histories import Draft, Undertaking, _heard, opened, turns, until
from tests.support.ledger import CONTRACTS, FAULTS, Ledger, Line, most_within, proper, weather
from tests.support.virtual import (
    FIRST,
    SECOND,
    SICKNESSES,
    SOAK,
    Outage,
    VirtualLoop,
    own_tasks_left,
)

pytestmark = pytest.mark.slow

CHUNKS = 2
EACH = 1_000 if SOAK else 24
TRADES = [endpoint.path for endpoint in endpoints() if endpoint.trades]
FAULTY = ("cancelall", "cancel", "openorders", "v5_opens", "v5_cancel", "any")
MANNERS = ((), (), ("confirm",), ("until_clear",), ("confirm", "until_clear"))


class Slow:
    """A listener whose records take a while to be safe."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, event: Event) -> None:
        pass

    async def written(self, call: int) -> str:
        await asyncio.sleep(self.seconds)
        return ""


class Scene:
    """What one seed draws."""

    def __init__(self, number: int) -> None:
        self.chance = chance = random.Random(number)
        self.pick: Callable[[Any], Any] = chance.choice
        self.loop = VirtualLoop()
        self.problems: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(str(context)))
        self.story: list[object] = []
        self.calls: list[Undertaking] = []
        self.account = self.pick(("v1", "auto", "auto", "moving", "moving", "moved", "moved"))
        self._exchange()

    def _exchange(self) -> None:
        pick, delay = self.pick, self.pick((0.0, 0.0, 0.4, 1.1))
        settings = {
            "account": "v5" if self.account == "moved" else "v1",
            "v1_variant": pick(("empty", "1051", "1051", "1066", "4002", "6002", "10000", "404")),
            "v5_refusal": pick((6001, 4007, None)),
            "v5_items": pick(("code", "success")),
            "v5_page": pick((100, 100, 10, 3)),
            "v5_lag": pick((0.0, 0.0, 0.5)),
            "v5_mixed": pick(("taken", *get_args(Mixed))),
        }
        self.exchange = Ledger(
            self.loop, cancel_delay=lambda: self.chance.uniform(0.0, delay), **settings
        )
        wind = pick(("none", "calm", "calm", "jitter", "heavy tail"))
        self.line = Line(self.exchange, weather(self.chance)[wind], pick((False, True)))
        self.story += [settings, wind]
        share = pick((0.1, 0.3, 1.0))
        for code in CONTRACTS:
            for margin in ("isolated", "cross"):
                if self.chance.random() < share:
                    side, offset = pick(("buy", "sell")), pick(("open", "close", "both"))
                    self.exchange.put(code, side, offset, pick((1, 2, 12)), margin_mode=margin)

    def session(self) -> HtxSession:
        """One more of the account."""
        pick, repeats = self.pick, self.pick((True, True, False))
        settings: dict[str, Any] = {
            "generation": "v1" if self.account == "v1" else "auto",
            "retry": RetryPolicy(random=self.chance.random, repeat_unknown=repeats),
            "base_urls": pick((FIRST, (FIRST, SECOND), (FIRST, SECOND))),
        }
        if pick((False, False, True)):
            settings["on_event"] = [_heard, Slow(pick((0.0, 0.01, 0.2)))]
        return opened(self.line, **settings)

    def trouble(self) -> None:
        """What happens to hosts, replies, orders and the account."""
        pick, later = self.pick, self.loop.call_later
        for _ in range(pick((0, 0, 1, 2))):
            start, host = pick((0.0, 0.0, 0.1, 0.5, 1.5)), pick((None, FIRST, FIRST, SECOND))
            end = start + pick((0.1, 1.5, 3.0, 12.0))
            self.line.outages.append(Outage(pick(SICKNESSES), start, end, host))
        for _ in range(pick((0, 0, 0, 1, 3))):
            name, values, more = pick(FAULTS)
            # Only moved accounts are told 6002.
            if values[:1] != (6002,) or self.account == "moved":
                fault = getattr(self.exchange, name)
                fault(*values, call=pick(FAULTY), times=pick((1, 2, 5, 12)), **more)
        if self.account == "moving":
            later(pick((0.0, 0.02, 0.1, 0.3, 1.0)), self.exchange.move, pick((0.0, 0.05, 0.5)))
        for _ in range(pick((0, 0, 2))):
            later(self.chance.uniform(0.0, 2.0), self._trigger)
            if orders := self.exchange.open_orders():
                code = pick((1004, 1088, 1061, 1062, 1063, 1071))
                self.exchange.reject_order(pick(orders).order_id, code)

    def _trigger(self) -> None:
        if orders := self.exchange.open_orders():
            self.exchange.trigger(self.pick(orders).order_id, self.pick((0.0, 0.3)))

    def call(self, htx: HtxSession) -> None:
        """Make one; it may be cancelled after a while."""
        pick = self.pick
        kind = pick(("mass", "mass", "mass", "guard", "single", "single", "ids"))
        margin = pick(("isolated", "isolated", "isolated", "cross"))
        filters = pick(((None, None), (None, None), ("buy", None), (None, "close")))
        deadline = pick((None, None, None, 0.05, 0.3, 1.0, 2.5, 6.0))
        is_urgent = kind == "guard" or pick((False, False, True))
        draft = Draft(0, pick(CONTRACTS), margin, filters, deadline, is_urgent)
        self.story.append([now := round(self.loop.time(), 3), kind, draft])
        if kind in ("single", "ids"):
            one = self._alone(htx, draft, kind)
        else:
            one = self._many(htx, draft, kind)
        self.calls.append(one)
        if kind != "guard" and pick((False, False, False, False, True)):
            after = pick((0.0, 0.01, 0.05, 0.1, 0.3, 0.31, 0.5, 1.0, 1.1, 2.0))
            self.loop.call_later(after, one.cancel)
            self.story.append(["cancelled", now + after])

    def _alone(self, htx: HtxSession, draft: Draft, kind: str) -> Undertaking:
        calls, more = draft.margin_calls(htx), {"deadline": draft.deadline, "urgent": draft.urgent}
        if kind == "single":
            call = lambda: calls.cancel_all_trailing(draft.code, *draft.filters, **more)  # noqa: E731 - one of two
            return Undertaking(htx, self.exchange, [draft.wanted], call, lambda: until(htx, draft))
        wanted = Wanted(draft.code, draft.margin)
        placed = self.exchange.book.placed.values()
        known = [order.order_id for order, _ in placed if wanted.may_mean(order)]
        ids = (*known[-self.pick((1, 14)) :], "9" * 19)
        return Undertaking(
            htx,
            self.exchange,
            [wanted._replace(order_ids=ids)],
            lambda: calls.cancel_trailing(draft.code, ids, **more),
            lambda: until(htx, draft, -(-len(ids) // 10), "ids"),
        )

    def _many(self, htx: HtxSession, draft: Draft, kind: str) -> Undertaking:
        manner, calls = self.pick(MANNERS), draft.margin_calls(htx)
        codes = list(CONTRACTS[: self.pick((3, 12, 12, 12))])
        if self.pick((False, True)):
            self.chance.shuffle(codes)
        more: dict[str, Any] = {"look": self.pick((None, "first", "first", "only", "none"))}
        more |= {"deadline": draft.deadline, **dict.fromkeys(manner, True)}
        self.story.append(more)

        async def guarded() -> MassCancelReport:
            guard = calls.cancel_on_exit(codes, *draft.filters, **more)
            with suppress(MassCancelFailed):
                async with guard:
                    pass
            assert guard.report is not None
            told: MassCancelReport = guard.report
            return told

        def mass() -> Awaitable[MassCancelReport]:
            told: Awaitable[MassCancelReport] = calls.mass_cancel_trailing(
                codes, *draft.filters, urgent=draft.urgent, **more
            )
            return told

        requests = len(codes) * (2 if "until_clear" in manner else 1)
        return Undertaking(
            htx,
            self.exchange,
            [draft.wanted._replace(contract_code=code) for code in codes],
            guarded if kind == "guard" else mass,
            lambda: until(htx, draft, requests, "mass", self.calls) + (kind == "guard"),
            is_mass=True,
            is_whole="until_clear" not in manner,
        )

    async def play(self) -> None:
        """All of it, and whether every promise is kept."""
        sessions = [self.session() for _ in range(self.pick((1, 1, 2)))]
        self.trouble()
        for _ in range(self.pick((1, 2, 2, 3, 4))):
            self.call(self.pick(sessions))
            await asyncio.sleep(self.pick((0.0, 0.0, 0.0, 0.01, 0.05, 0.1, 0.3, 0.5, 1.0, 2.0)))
            if self.pick((False, False, False, True)):
                self.exchange.put(self.pick(CONTRACTS), "sell", "close", 1)
        await asyncio.wait([one.task for one in self.calls])
        self.line.outages.clear()
        await asyncio.sleep(20.0)
        for one in self.calls:
            with suppress(asyncio.CancelledError):
                one.task.result()
            one.assert_still_true()
        for htx in sessions:
            waiting = htx._ready().turns
            kept = (waiting._alike, waiting._joined, waiting._queues, waiting._tasks)
            assert not any(kept), "something still waits"
            await htx.aclose()
        await asyncio.sleep(0)
        self._assert_limits()
        left = (own_tasks_left() | asyncio.all_tasks()) - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        assert not self.problems

    def _assert_limits(self) -> None:
        letters = self.line.letters
        for path in TRADES:
            assert most_within(proper(x for x in letters if x.path == path), 1.0) <= 5, path
        for cancels in (True, False):
            same = proper(x for x in letters if x.cancels == cancels)
            assert most_within(same, 3.0) <= 72, "of trades" if cancels else "of reads"


def played(number: int) -> None:
    scene = Scene(number)
    loop = scene.loop
    try:
        loop.run_until_complete(scene.play())
    except BaseException as error:
        error.add_note(f"scene {number}: {scene.story}")
        raise
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        ending: Coroutine[Any, Any, None] = turns(50)
        loop.run_until_complete(ending)
        loop.close()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_calls_together_keep_what_each_promises(chunk: int) -> None:
    """Limits, deadlines, true reports, and nothing that waits for ever, in 80 scenes that are the
    same in each run; in the soak in 2,000 others."""
    first = random.randrange(2**32) if SOAK else chunk * EACH
    for number in range(first, first + EACH):
        played(number)
