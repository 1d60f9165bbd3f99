"""Any mix of calls, faults and cancellations on one account, judged by what the exchange saw.

Hypothesis draws the histories; all of them run in virtual time over the simulated exchange. The
long run draws others each time, and prints how to repeat one that fails.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ClassVar, get_args

import pytest
from hypothesis import HealthCheck, Phase, event, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from htx_async import HtxSession, Outcome, RetryPolicy
from htx_async.exchange import v1
from htx_async.exchange.endpoints import READS
from htx_async.limits.registry import account_key, shared_limiter
from htx_async.simulator.endpoints import endpoints
from htx_async.simulator.serve_v5 import RowOrder
from htx_async.simulator.v5_forms import Mixed
from tests.support.book import Wanted
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
from tests.support.virtual import FIRST, SECOND, SICKNESSES, SOAK, Outage, Sickness, VirtualLoop

pytestmark = [pytest.mark.slow, pytest.mark.early]

CHUNKS = 4
HISTORIES = 4_000 if SOAK else 300
CALM = 1_000 if SOAK else 40
STEPS = 28
SESSIONS = 3
LONGEST_PAUSE = 10.0
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


CALM_LISTS = st.fixed_dictionaries(
    {
        "v5_page": st.sampled_from((100, 10)),
        "v5_order": st.sampled_from(("newest first", "oldest first")),
        "v5_inclusive": st.booleans(),
        "v5_mixed": st.sampled_from(("taken", *get_args(Mixed))),
    }
)
"""Without what makes a list of a few orders hard to believe: a cursor that runs backwards."""


class History(RuleBasedStateMachine):
    """One account at one exchange, three sessions of it, and whatever happens to them."""

    seen: ClassVar[Counter[Outcome]] = Counter()
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
        how["account"] = "v5" if account == "moved" else "v1"
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
            generation = "v1" if self.account == "v1" else "auto"
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
        manner=st.sampled_from(((), ("confirm",), ("until_clear",), ("confirm", "until_clear"))),
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
            if values[:1] == (6002,) and self.is_empty_on_v5 and self.account != "moved":
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
        self.exchange.move(after)

    # Orders

    @rule(
        draft=DRAFTS,
        side=st.sampled_from(("buy", "sell")),
        offset=st.sampled_from(("close", "close", "open", "both")),
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

    def _assert_limits(self) -> None:
        """Five in any second on each path that cancels, at any latency, of requests whose senders
        still waited; of all that arrived as long as none came that had been given up."""
        letters = self.line.letters
        all_waited_for = not any(x.is_residual for x in letters if x.arrived is not None)
        for path in TRADES:
            assert most_within(proper(x for x in letters if x.path == path), 1.0) <= 5, path
            assert not all_waited_for or self.exchange.busiest(1.0, path) <= 5, path
        for cancels in (True, False):
            same = proper(x for x in letters if x.cancels == cancels)
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


class Calm(History):
    """The same where the exchange does what is documented, and nobody gives a call up."""

    loses = False
    # What is None in a subclass is no rule of it.
    misbehave = fall_sick = say_that_all_is_spent = None  # type: ignore[assignment]  # see above
    cancel_task = close = reject = None  # type: ignore[assignment]  # see above

    @initialize(
        account=st.sampled_from(("v1", "auto", "moved")),
        variant=st.sampled_from(("empty", "1051", "6002")),
        v5_refusal=st.sampled_from((6001, 4007)),
        lists=CALM_LISTS,
        delay=st.sampled_from((0.0, 0.4, 1.1)),
        form=st.sampled_from(("code", "success")),
        number=st.integers(0, 2**16),
    )
    def begin(self, account: str, number: int, **drawn: Any) -> None:
        super().begin(account, wind="calm", residual=False, number=number, **drawn)

    def count(self, one: Undertaking) -> None:
        # A one-way order has no offset that a filter names for sure.
        has_offset = any(wanted.offset for wanted in one.wanted.values())
        if one.has_time and not one.is_cancelled and not has_offset:
            super().count(one)
            for report in one.reports:
                assert report.is_clear, f"{one.wanted}: {report!r}"
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
    run_state_machine_as_test(histories, settings=chosen)


def share(seen: Counter[Outcome]) -> list[int]:
    """How many reports are clear, and how many there are: shown at the end of the run."""
    return [sum(n for outcome, n in seen.items() if outcome.is_clear), sum(seen.values())]


@pytest.mark.parametrize("chunk", first_of(range(CHUNKS), 2))
def test_no_history_breaks_a_promise(
    chunk: int, record_property: Callable[[str, object], None]
) -> None:
    """Limit, reports, tokens and deadlines in 75 histories, the same in each run, which reach
    every outcome; in the soak in 1,000 others."""
    seen: Counter[Outcome] = Counter()
    carry_out(type(f"History{chunk}", (History,), {"seen": seen}), chunk, HISTORIES // CHUNKS)
    record_property("clear of the reports with faults", share(seen))
    assert seen.keys() == set(Outcome)


@pytest.mark.parametrize("chunk", first_of(range(CHUNKS), 2))
def test_where_the_exchange_behaves_every_call_with_time_ends_clear(
    chunk: int, record_property: Callable[[str, object], None]
) -> None:
    """On v1, on V5 and moved, with all ids: truth is not bought with doubt."""
    seen: Counter[Outcome] = Counter()
    carry_out(type(f"Calm{chunk}", (Calm,), {"seen": seen}), chunk, CALM // CHUNKS)
    record_property("clear of the reports without faults, of calls that have time", share(seen))
    assert sum(seen.values()) > CALM // CHUNKS
