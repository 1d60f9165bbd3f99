"""Any mix of calls, faults and cancellations on one account, judged by what the exchange saw.

Hypothesis draws the histories; all of them run in virtual time over the simulated exchange. The
long run draws others each time, and prints how to repeat one that fails.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ClassVar, get_args
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, event, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.engine import ConjectureRunner
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from htx_async import ALL_CONTRACTS, HtxSession, Outcome, RetryPolicy
from htx_async.exchange import v1
from htx_async.exchange.endpoints import CONTRACTS as CONTRACTS_LISTED
from htx_async.exchange.endpoints import READS
from htx_async.limits.registry import account_key, shared_limiter
from htx_async.simulator.endpoints import endpoints
from htx_async.simulator.serve_v1 import Successes
from htx_async.simulator.serve_v5 import DataForm, RowOrder, Unnamed
from htx_async.simulator.v5_forms import CancelForm, Mixed
from tests.support.book import START, Wanted
from tests.support.histories import (
    CALLS,
    DRAFTS,
    INDEX,
    TIMES,
    Draft,
    Undertaking,
    opened,
    turns,
    until,
)
from tests.support.ledger import (
    CONTRACTS,
    FAULTS,
    Ledger,
    Line,
    most_within,
    next_timer,
    proper,
    weather,
)
from tests.support.long_form import first_of
from tests.support.points import MOVED, OF_ACCOUNT
from tests.support.virtual import FIRST, SECOND, SICKNESSES, SOAK, Outage, Sickness, VirtualLoop

pytestmark = [pytest.mark.slow, pytest.mark.early]

CHUNKS = 4
HISTORIES = 4_000 if SOAK else 300
CALM = 1_000 if SOAK else 40
OF_OLD = 1_000 if SOAK else 80
STEPS = 28
AT_ONCE = 24
SESSIONS = 3
LONGEST_PAUSE = 10.0
PUBLIC = CONTRACTS_LISTED.path()
TRADES = [endpoint.path for endpoint in endpoints() if endpoint.trades]


LISTS = st.fixed_dictionaries(
    {
        "v5_page": st.sampled_from((100, 100, 10, 3)),
        "v5_order": st.sampled_from(get_args(RowOrder)),
        "v5_inclusive": st.booleans(),
        "v5_lag": st.sampled_from((0.0, 0.0, 0.5)),
        "v5_mixed": st.sampled_from(("taken", *get_args(Mixed))),
    }
)
"""How V5 lists, and takes cancels for several contracts."""


EVERYTHING: dict[str, tuple[Any, ...]] = {
    "account": ("v1", "auto", "moving", "moving", "moved", "v5"),
    "variant": ("empty", "empty", "1051", "1066", "4002", "6002", "10000", "404"),
    "v5_refusal": (6001, 4007, None),
    "wind": ("none", "calm", "jitter", "heavy tail", "storm"),
    "delay": (0.0, 0.0, 0.4, 1.1),
    "residual": (False, True),
    "form": ("code", "success"),
}
"""What `History` draws, and accounts of which the session is told that they are on V5."""

POINTS: dict[str, tuple[Any, ...]] = {
    "v5_page": (100, 10, 3, 3),
    "v5_order": get_args(RowOrder),
    "v5_inclusive": (False, True),
    "v5_lag": (0.0, 0.0, 0.5),
    "v5_mixed": ("taken", *get_args(Mixed)),
    "v5_cancel": ("array", *get_args(CancelForm)),
    "v5_unnamed": ("all", *get_args(Unnamed)),
    "v5_data": get_args(DataForm),
    "v1_successes": ("text", *get_args(Successes)),
    "rows_twice": (False, False, False, True),
}
"""On what sources disagree, and how lists may be odd."""

QUIET: dict[str, tuple[Any, ...]] = {
    **EVERYTHING,
    **POINTS,
    "account": ("v1", "auto", "moved", "v5"),
    "variant": ("empty", "1051", "6002"),
    "v5_refusal": (6001, 4007),
    "wind": ("calm",),
    "residual": (False,),
    "v5_page": (100, 10),
    "v5_order": ("newest first", "oldest first"),
    "v5_lag": (0.0,),
    "v5_cancel": ("array",),
    "v1_successes": ("text", "list", "in errors too"),
    "rows_twice": (False,),
}
"""Without what makes a list of a few orders hard to believe, or its ids: a cursor that runs
backwards, rows that stand twice, numbers. And a cancel takes ten orders: where each takes one,
at five a second, 50 are gone in the ten seconds of a call, and some books hold more."""

SIDES = st.sampled_from(("buy", "sell"))
OFFSETS = st.sampled_from(("close", "close", "open", "both"))
PACES = ((0.023, 20), (0.11, 10), (0.023, 60), (0.11, 60), (0.53, 60))
"""How a strategy goes on placing: seconds between two orders, in no step with anything else, and
how many."""

MANNERS = st.sampled_from(((), ("confirm",), ("until_clear",), ("confirm", "until_clear")))


class History(RuleBasedStateMachine):
    """One account at one exchange, three sessions of it, and whatever happens to them."""

    seen: ClassVar[Counter[Outcome]] = Counter()
    told: ClassVar[Counter[str]] = Counter()
    loses: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(lambda loop, context: self.problems.append(str(context)))
        self.problems: list[str] = []
        self.is_sound = False
        self.under_way: list[Undertaking] = []
        self.over: list[Undertaking] = []
        self.closing: list[asyncio.Task[None]] = []
        self.sessions: list[HtxSession] = []

    @initialize(
        account=st.sampled_from(("v1", "auto", "moving", "moved")),
        variant=st.sampled_from(("empty", "empty", "1051", "1066", "4002", "6002", "10000", "404")),
        v5_refusal=st.sampled_from((6001, 4007, None)),
        lists=LISTS,
        wind=st.sampled_from(("none", "calm", "jitter", "heavy tail", "storm")),
        delay=st.sampled_from((0.0, 0.0, 0.4, 1.1)),
        residual=st.booleans(),
        form=st.sampled_from(("code", "success")),
        number=st.integers(0, 2**16),
    )
    def begin(
        self,
        account: str,
        variant: str,
        v5_refusal: int | None,
        lists: dict[str, Any],
        wind: str,
        delay: float,
        residual: bool,
        form: str,
        number: int,
    ) -> None:
        """`account`: pinned to v1, on v1, about to move to V5, or there; then v1 answers by
        `variant`, and V5 until then by `v5_refusal`."""
        self.chance = chance = random.Random(number)
        self.account, self.is_empty_on_v5 = account, v5_refusal is None
        how = {"v1_variant": variant, "v5_items": form, "v5_refusal": v5_refusal, **lists}
        how["account"] = "v5" if account in ("moved", "v5") else "v1"
        self.exchange = Ledger(self.loop, cancel_delay=lambda: chance.uniform(0.0, delay), **how)
        self.line = Line(self.exchange, weather(chance)[wind], residual)
        if self.loses and chance.random() < 0.4:
            self.exchange.lose_after_work()
        for code in CONTRACTS[:3]:
            for margin in ("isolated", "cross"):
                side = chance.choice(("buy", "sell"))
                offset = chance.choice(("open", "close", "both"))
                self.exchange.put(code, side, offset, 2, margin_mode=margin)
        self.is_sound = True

    def session(self, index: int) -> HtxSession:
        """One of those that are open."""
        while len(self.sessions) < SESSIONS:
            repeats = self.chance.random() < 0.7
            retry = RetryPolicy(random=self.chance.random, repeat_unknown=repeats)
            generation = self.account if self.account in ("v1", "v5") else "auto"
            hosts = {"base_urls": (FIRST, SECOND) if self.chance.random() < 0.7 else FIRST}
            self.sessions.append(opened(self.line, generation=generation, retry=retry, **hosts))
        return self.sessions[index % SESSIONS]

    # Calls

    @rule(draft=DRAFTS, confirm=st.booleans())
    def cancel_all(self, draft: Draft, confirm: bool) -> None:
        htx = self.session(draft.session)
        more = {"deadline": draft.deadline, "urgent": draft.urgent, "confirm": confirm}
        self._undertake(
            htx,
            [draft.wanted],
            lambda: draft.margin_calls(htx).cancel_all_trailing(draft.code, *draft.filters, **more),
            lambda: until(htx, draft),
        )

    @rule(draft=DRAFTS, confirm=st.booleans(), leaves=st.booleans())
    def burst(self, draft: Draft, confirm: bool, leaves: bool) -> None:
        """More than there are tokens; the first that has to wait may leave as its turn comes."""
        for _ in range(8):
            self.cancel_all(draft, confirm)
        if leaves:
            self._cancel_in_time(self.under_way[-3])

    @rule(
        draft=DRAFTS,
        count=st.sampled_from((2, 3, 3, len(CONTRACTS))),
        manner=MANNERS,
        look=st.sampled_from((None, "first", "only", "none")),
    )
    def mass_cancel(
        self, draft: Draft, count: int, manner: tuple[str, ...], look: str | None
    ) -> None:
        htx, codes = self.session(draft.session), CONTRACTS[:count]
        more: dict[str, Any] = {"deadline": draft.deadline, "urgent": draft.urgent, "look": look}
        more |= dict.fromkeys(manner, True)
        requests = count * (2 if "until_clear" in manner else 1)
        self._undertake(
            htx,
            [draft.wanted._replace(contract_code=code) for code in codes],
            lambda: draft.margin_calls(htx).mass_cancel_trailing(codes, *draft.filters, **more),
            lambda: until(htx, draft, requests, "mass", self.under_way),
            is_mass=True,
            is_whole="until_clear" not in manner,
        )

    @rule(draft=DRAFTS, most=st.sampled_from((1, 2, 14)))
    def cancel_by_ids(self, draft: Draft, most: int) -> None:
        htx, wanted = self.session(draft.session), Wanted(draft.code, draft.margin)
        placed = self.exchange.book.placed.values()
        known = [order.order_id for order, _ in placed if wanted.may_mean(order)]
        ids = (*known[-most:], "9" * 19)
        more = {"deadline": draft.deadline, "urgent": draft.urgent}
        self._undertake(
            htx,
            [wanted._replace(order_ids=ids)],
            lambda: draft.margin_calls(htx).cancel_trailing(draft.code, ids, **more),
            lambda: until(htx, draft, -(-len(ids) // v1.MOST_IDS), "ids"),
        )

    @rule(draft=DRAFTS, what=st.sampled_from(("open_trailing", "trailing_history")))
    def read(self, draft: Draft, what: str) -> None:
        htx = self.session(draft.session)
        read = getattr(draft.margin_calls(htx), what)
        self._undertake(
            htx,
            [draft.wanted],
            lambda: read(draft.code, *draft.filters, deadline=draft.deadline),
            lambda: until(htx, draft, kind="read"),
            is_history=what == "trailing_history",
        )

    # What happens to them

    @precondition(lambda self: self.under_way)
    @rule(index=INDEX, count=st.sampled_from((None, None, 0, 1, 2, 3, 5, 9, 20)))
    def cancel_task(self, index: int, count: int | None) -> None:
        """After so many turns of the loop; None: in the turn in which its next timer is due."""
        one = self.under_way[index % len(self.under_way)]
        if count is None:
            self._cancel_in_time(one)
        else:
            self._run(turns(count))
            one.cancel()

    @precondition(lambda self: self.sessions)
    @rule(index=INDEX, grace=st.sampled_from((0.0, 0.0, 0.5, 2.0)))
    def close(self, index: int, grace: float) -> None:
        htx = self.sessions.pop(index % len(self.sessions))
        self.closing.append(self.loop.create_task(htx.aclose(grace)))
        for one in self.under_way:
            if one.session is htx:
                one.latest = min(one.latest, self.loop.time() + grace)

    @rule(faults=st.lists(st.tuples(st.sampled_from(FAULTS), CALLS, TIMES), min_size=1, max_size=3))
    def misbehave(self, faults: list[tuple[Any, Any, int]]) -> None:
        for (name, values, more), call, times in faults:
            # Only moved accounts are told 6002. Said to another one, beside lists of V5 that answer
            # as if it were there and empty, it is an exchange that lies twice, alike.
            is_there = self.account in ("moved", "v5")
            if values[:1] == (6002,) and self.is_empty_on_v5 and not is_there:
                continue
            getattr(self.exchange, name)(*values, call=call, times=times, **more)

    @rule(
        what=st.sampled_from(SICKNESSES),
        seconds=st.sampled_from((0.1, 1.5, 3.0, 12.0)),
        host=st.sampled_from((None, FIRST, FIRST, SECOND)),
    )
    def fall_sick(self, what: Sickness, seconds: float, host: str | None) -> None:
        """One host, or both, for a while from now on."""
        begin = self.loop.time()
        self.line.outages.append(Outage(what, begin, begin + seconds, host))

    @rule(seconds=st.sampled_from((None, 0.3, 2.0, 8.0)))
    def say_that_all_is_spent(self, seconds: float | None) -> None:
        reset = round((self.exchange.wall() + (seconds or 0.0)) * 1000)
        headers = {"ratelimit-remaining": "0", "ratelimit-reset": str(reset)}
        self.exchange.reply_headers = {} if seconds is None else headers

    @precondition(lambda self: self.account == "moving")
    @rule(after=st.sampled_from((0.0, 0.05, 0.5)))
    def move(self, after: float) -> None:
        if self.under_way and self.exchange.generation == "v1":
            self.exchange.met.add(MOVED)
        self.exchange.move(after)

    # Orders

    @rule(
        draft=DRAFTS,
        side=SIDES,
        offset=OFFSETS,
        count=st.sampled_from((1, 1, 2, 3, 12)),
    )
    def place(self, draft: Draft, side: str, offset: str, count: int) -> None:
        self.exchange.put(draft.code, side, offset, count, margin_mode=draft.margin)

    @rule(index=INDEX, after=st.sampled_from((0.0, 0.1, 0.6)))
    def trigger(self, index: int, after: float) -> None:
        if orders := self.exchange.open_orders():
            self.exchange.trigger(orders[index % len(orders)].order_id, after)

    @rule(index=INDEX, err_code=st.sampled_from((1004, 1088, 1061, 1062, 1063, 1071)))
    def reject(self, index: int, err_code: int) -> None:
        if orders := self.exchange.open_orders():
            self.exchange.reject_order(orders[index % len(orders)].order_id, err_code)

    # Time

    @rule(seconds=st.sampled_from((0.001, 0.05, 0.2, 1.0, 3.0)))
    def wait(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    @precondition(lambda self: self.under_way)
    @rule(index=INDEX)
    def wait_for_one(self, index: int) -> None:
        self._run(asyncio.wait([self.under_way[index % len(self.under_way)].task]))

    @rule()
    def wait_for_all(self) -> None:
        if self.under_way:
            self._run(asyncio.wait([one.task for one in self.under_way]))

    # What has to be so

    @invariant()
    def holds(self) -> None:
        """Limits, deadlines, and the reports of the calls that have ended."""
        if not self.is_sound:
            return
        self.is_sound = False
        over = [one for one in self.under_way if one.task.done()]
        self.under_way = [one for one in self.under_way if not one.task.done()]
        for one in over:
            with suppress(asyncio.CancelledError):
                one.task.result()
            self.count(one)
        self.over += over
        time = self.loop.time()
        assert all(time <= one.latest + 0.05 for one in self.under_way), "a deadline passed"
        self._assert_limits()
        assert not self.problems
        self.is_sound = True

    def count(self, one: Undertaking) -> None:
        """A call has ended, and its reports are true."""
        for report in one.reports:
            event(f"outcome: {report.outcome}")
            self.seen[report.outcome] += 1
            self.told["clear"] += report.is_clear
            self.told["confirmed"] += report.confirmed is True
        self.told["taken"] += len({i for letter in one.letters for i in letter.taken})

    def _assert_limits(self) -> None:
        """Five in any second on each path that cancels, at any latency, of requests whose senders
        still waited; of all that arrived as long as none came that had been given up."""
        letters = self.line.letters
        all_waited_for = not any(x.is_residual for x in letters if x.arrived is not None)
        for path in TRADES:
            assert most_within(proper(x for x in letters if x.path == path), 1.0) <= 5, path
            assert not all_waited_for or self.exchange.busiest(1.0, path) <= 5, path
        for cancels in (True, False):
            same = proper(x for x in letters if x.cancels == cancels and x.path != PUBLIC)
            assert most_within(same, 3.0) <= 72, "of trades" if cancels else "of reads"

    def teardown(self) -> None:
        try:
            if self.is_sound:
                self._end()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self._run(turns(50))
            self.loop.close()

    def _end(self) -> None:
        """Let everything come to its end, and look whether anything is left."""
        self.exchange.reply_headers = {}
        self.line.outages.clear()
        self.wait_for_all()
        self.holds()
        self._run(asyncio.sleep(2 * LONGEST_PAUSE))
        for one in self.over:
            one.assert_still_true()
        self._run(self._assert_tokens_are_back())
        for htx in self.sessions:
            self._run(htx.aclose())
        self._run(asyncio.sleep(0))
        assert not asyncio.all_tasks(self.loop), "a task is left"
        assert all(task.exception() is None for task in self.closing)
        assert not self.problems

    async def _assert_tokens_are_back(self) -> None:
        """Five at once go without waiting on each path, and a sixth does not."""
        limiter = shared_limiter(account_key(self.exchange.credentials.access_key))
        time = self.loop.time()
        for path in TRADES:
            assert limiter.foresee(path, 5) <= time < limiter.foresee(path, 6) - 0.9, path
        assert limiter.reads.foresee(READS, 72) <= time < limiter.reads.foresee(READS, 73) - 2.9
        for _ in range(5):
            await asyncio.wait_for(limiter.take(TRADES[0]).__aenter__(), 0.001)

    def _undertake(self, htx: HtxSession, wanted: list[Wanted], *call: Any, **more: Any) -> None:
        self.under_way.append(Undertaking(htx, self.exchange, wanted, *call, **more))

    def _cancel_in_time(self, one: Undertaking) -> None:
        self._run(turns(9))
        self.loop.call_at(next_timer(self.loop), one.cancel)

    def _run(self, work: Awaitable[Any]) -> None:
        self.loop.run_until_complete(work)


class EveryPoint(History):
    """The same, and on every point on which sources disagree, or a reply may be odd, whatever
    holds: each drawn beside each account, all faults, and a strategy that keeps placing."""

    met: ClassVar[Counter[tuple[str, str]]] = Counter()

    drawn: ClassVar[dict[str, tuple[Any, ...]]] = {**EVERYTHING, **POINTS}

    @classmethod
    def unmet(cls) -> set[tuple[str, str]]:
        """Points that no history has met with an account that can."""
        every = {(account, point) for account, points in OF_ACCOUNT.items() for point in points}
        return every - cls.met.keys()

    @initialize(number=st.integers(0, 2**32))
    def begin(self, number: int) -> None:
        """All by chance, which mixes more than hypothesis does; some accounts have trigger orders
        beside the trailing ones, and some orders are old, and have ended."""
        chance = random.Random(number)
        drawn = {name: chance.choice(choices) for name, choices in self.drawn.items()}
        lists = {name: drawn.pop(name) for name in POINTS}
        super().begin(**drawn, lists=lists, number=number)
        self.is_sound = False
        for code in CONTRACTS[:3] if chance.random() < 0.5 else ():
            for margin in ("isolated", "cross"):
                self.exchange.put(code, "sell", "close", margin_mode=margin, v5_type="trigger")
        # More than a page of V5's, where one has few rows.
        for code in CONTRACTS[:3]:
            self.exchange.put(code, "sell", "open", chance.choice((0, 4, 12)))
        if chance.random() < 0.3:
            for order in self.exchange.open_orders()[::3]:
                self.exchange.trigger(order.order_id)
            self._run(asyncio.sleep(3 * 86_400.0))
        self.is_sound = True

    @rule(
        code=st.sampled_from((1051, 1066, 6001, 6002, 10000)),
        other=st.sampled_from((None, None, 1004, 6023)),
        call=CALLS,
        times=TIMES,
        after_work=st.booleans(),
    )
    def contradict(
        self, code: int, other: int | None, call: str, times: int, after_work: bool
    ) -> None:
        self.exchange.contradict(code, other, call=call, times=times, after_work=after_work)

    @rule(draft=DRAFTS, side=SIDES, offset=OFFSETS, pace=st.sampled_from(PACES))
    def keep_placing(self, draft: Draft, side: str, offset: str, pace: tuple[float, int]) -> None:
        """A strategy goes on, whatever is read and cancelled meanwhile."""

        every, count = pace

        def place(left: int) -> None:
            self.exchange.put(draft.code, side, offset, margin_mode=draft.margin)
            if left:
                self.loop.call_later(every, place, left - 1)

        place(count)

    @rule(rate=st.sampled_from((0.0, 2.0, 20.0)))
    def refill(self, rate: float) -> None:
        self.exchange.refill(rate)

    @rule(
        draft=DRAFTS,
        manner=MANNERS,
        look=st.sampled_from((None, None, "first", "none")),
    )
    def cancel_everything(self, draft: Draft, manner: tuple[str, ...], look: str | None) -> None:
        """On every contract that the exchange lists."""
        htx = self.session(draft.session)
        more: dict[str, Any] = {"deadline": draft.deadline, "urgent": draft.urgent, "look": look}
        more |= dict.fromkeys(manner, True)
        filters = draft.filters
        self._undertake(
            htx,
            [draft.wanted._replace(contract_code=code) for code in CONTRACTS],
            lambda: draft.margin_calls(htx).mass_cancel_trailing(ALL_CONTRACTS, *filters, **more),
            # Without a deadline of its own it has one when it knows the contracts.
            lambda: until(htx, draft) if draft.deadline is not None else math.inf,
            is_mass=True,
            is_whole="until_clear" not in manner,
            listed=self.exchange.contracts,
        )

    @rule(draft=DRAFTS, seconds=st.sampled_from((5.0, 3_600.0, 4 * 86_400.0)))
    def read_history_since(self, draft: Draft, seconds: float) -> None:
        htx = self.session(draft.session)
        since = self.exchange.wall() - seconds
        read = draft.margin_calls(htx).trailing_history
        self._undertake(
            htx,
            [draft.wanted],
            lambda: read(draft.code, *draft.filters, since=since, deadline=draft.deadline),
            lambda: until(htx, draft, kind="read"),
            is_history=True,
            since=since - START,
        )

    def teardown(self) -> None:
        self.exchange.refill(0.0)
        self.met.update((self.account, point) for point in self.exchange.met)
        super().teardown()


class Calm(EveryPoint):
    """The same where the exchange does what is documented, or one of the things on which sources
    disagree, and nobody gives a call up."""

    loses = False
    drawn = QUIET
    # What is None in a subclass is no rule of it.
    misbehave = fall_sick = say_that_all_is_spent = contradict = None  # type: ignore[assignment]  # see above
    cancel_task = close = reject = refill = None  # type: ignore[assignment]  # see above

    @rule(draft=DRAFTS, side=SIDES, offset=OFFSETS, pace=st.sampled_from(PACES[:2]))
    def keep_placing(self, **placed: Any) -> None:
        """For a while that leaves time to clear it."""
        super().keep_placing(**placed)

    def _undertake(self, htx: HtxSession, wanted: list[Wanted], *call: Any, **more: Any) -> None:
        """An exchange that behaves has capacity, too, for all calls in the ten seconds of each: 240
        reads, at 72 in 3 s, of which one that is confirmed takes up to ten for each contract."""
        busy = sum(len(one.wanted) for one in self.under_way if not one.task.done())
        if busy and busy + len(wanted) > AT_ONCE:
            self.wait_for_all()
        super()._undertake(htx, wanted, *call, **more)

    def count(self, one: Undertaking) -> None:
        # A one-way order has no offset that a filter names for sure.
        has_offset = any(wanted.offset for wanted in one.wanted.values())
        if one.has_time and not one.is_cancelled and not has_offset:
            super().count(one)
            for report in one.reports:
                # What is placed within milliseconds of the call's beginning may have been before.
                placed = [self.exchange.book.placed[i][1] for i in report.still_open]
                is_late = bool(placed) and min(placed) > one.began
                assert report.is_clear or is_late, f"{one.wanted}: {report!r}"
                assert report.ids_complete, f"{one.wanted}: {report!r}"


def carry_out(histories: type[History], chunk: int, count: int) -> None:
    """That many of them; the same in each run, in the soak others."""
    if not SOAK:
        seed(chunk + 4)(histories)
    chosen = settings(
        max_examples=count,
        stateful_step_count=STEPS,
        derandomize=not SOAK,
        print_blob=SOAK,
        # A failure is told at once: to make a history shorter takes many minutes.
        phases=[Phase.generate],
        deadline=None,
        database=None,
        # Says more about who else is on the machine than about these.
        suppress_health_check=[HealthCheck.too_slow],
    )
    # Hypothesis follows each history by five that repeat parts of it, most often the account.
    with mock.patch.object(ConjectureRunner, "generate_mutations_from"):
        run_state_machine_as_test(histories, settings=chosen)


def share(seen: Counter[Outcome]) -> list[int]:
    """How many reports are clear, and how many there are: shown at the end of the run."""
    return [sum(n for outcome, n in seen.items() if outcome.is_clear), sum(seen.values())]


Record = Callable[[str, object], None]


def record_zeros(record: Record, histories: type[History]) -> None:
    """Of how many none was false, for a report that is ends its history: shown beside the shares,
    since where nothing is called clear no false "clear" is worth little."""
    told = histories.told
    record("false: confirmed, with a matching order open", [0, told["confirmed"]])
    record("false: clear, with a matching order open", [0, told["clear"]])
    record("false: orders taken that no call meant", [0, told["taken"]])


@pytest.mark.parametrize("chunk", first_of(range(CHUNKS), 2))
def test_no_history_breaks_a_promise(chunk: int, record_property: Record) -> None:
    """Limit, reports, tokens and deadlines in 75 histories, the same in each run, which reach
    every outcome; in the soak in 1,000 others, which meet every point."""
    seen: Counter[Outcome] = Counter()
    mine = {"seen": seen, "met": Counter(), "told": Counter()}
    drawn: type[EveryPoint] = type(f"EveryPoint{chunk}", (EveryPoint,), mine)
    carry_out(drawn, chunk, HISTORIES // CHUNKS)
    record_property("clear of the reports where sources disagree, too", share(seen))
    record_zeros(record_property, drawn)
    assert seen.keys() == set(Outcome)
    every = sum(map(len, OF_ACCOUNT.values()))
    record_property("points met, each with each account", [every - len(drawn.unmet()), every])
    met = {point for _, point in drawn.met}
    assert not SOAK or met >= frozenset().union(*OF_ACCOUNT.values()), "a point that none met"


@pytest.mark.parametrize("chunk", first_of(range(CHUNKS), 1))
def test_truth_is_not_bought_with_doubt(chunk: int, record_property: Record) -> None:
    """With faults at the rates of old, the share of clear reports is what it was."""
    seen: Counter[Outcome] = Counter()
    drawn = type(f"History{chunk}", (History,), {"seen": seen, "told": Counter()})
    carry_out(drawn, chunk, OF_OLD // CHUNKS)
    record_property("clear of the reports with faults at the rates of old", share(seen))
    record_zeros(record_property, drawn)


@pytest.mark.parametrize("chunk", first_of(range(CHUNKS), 2))
def test_where_the_exchange_behaves_every_call_with_time_ends_clear(
    chunk: int, record_property: Record
) -> None:
    """On v1, on V5 and moved, with all ids, whatever holds where sources disagree."""
    seen: Counter[Outcome] = Counter()
    drawn = type(f"Calm{chunk}", (Calm,), {"seen": seen, "told": Counter()})
    carry_out(drawn, chunk, CALM // CHUNKS)
    record_property("clear of the reports without faults, of calls that have time", share(seen))
    record_zeros(record_property, drawn)
    assert sum(seen.values()) > CALM // CHUNKS
