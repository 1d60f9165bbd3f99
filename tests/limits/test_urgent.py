"""The urgent lane: before all others of the account, with a share of its budget kept for it."""

import asyncio
import random

import pytest

from htx_async import CancelError, HtxSession, Outcome
from htx_async.events import CallStarted, Event, TokenGranted
from htx_async.limits.account_limiter import AccountLimiter
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session

pytestmark = pytest.mark.usefixtures("tasks")

PATH = "/linear-swap-api/v1/swap_track_cancelall"
BUDGET = 72
WINDOW = 3.0


def now() -> float:
    return asyncio.get_running_loop().time()


def contracts(count: int, letter: str = "C") -> list[str]:
    return [f"{letter}{number}-USDT" for number in range(count)]


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def queued(htx: HtxSession, count: int) -> list[asyncio.Task[bool]]:
    """Ordinary calls that wait, as many as told."""
    calls = [asyncio.create_task(_ordinary(htx, code)) for code in contracts(count, "O")]
    await turns(2)
    return calls


async def _ordinary(htx: HtxSession, code: str) -> bool:
    try:
        await htx.cancel_all_trailing(code)
    except CancelError:
        # The session was closed over it, because the test has failed already.
        return False
    return True


async def all_clear(calls: list[asyncio.Task[bool]]) -> None:
    """Wait for the ordinary calls, none of which may suffer for the urgent ones."""
    assert all(await asyncio.gather(*calls))


def granted(events: list[Event]) -> list[str]:
    return [event.contract_code for event in events if isinstance(event, TokenGranted)]


@pytest.mark.parametrize("wait", [0.0, 0.5, 0.999, 1.0021, 7.7])
def test_an_urgent_call_goes_with_the_next_free_token(wait: float) -> None:
    """Two hundred wait before it, at whatever moment it comes: it is over within 1.1 s."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place("URGENT-USDT", "buy", "close", 2)
        async with virtual_session(exchange, lambda: 0.001) as htx:
            others = await queued(htx, 200)
            await asyncio.sleep(wait)
            start = now()
            report = await htx.cancel_all_trailing("URGENT-USDT", urgent=True)
            assert now() - start <= 1.1
            assert report.elapsed <= 1.1
            assert set(report.successes) == set(ids)
            await all_clear(others)
        assert exchange.busiest() <= 5

    run(main())


def test_an_urgent_call_is_not_refused_for_a_queue_it_does_not_stand_in() -> None:
    """Its own deadline of 1.5 s is far too short for the queue, and long enough for it."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, lambda: 0.001) as htx:
            others = await queued(htx, 200)
            report = await htx.cancel_all_trailing("URGENT-USDT", urgent=True, deadline=1.5)
            assert report.outcome is Outcome.NOTHING_TO_CANCEL
            await all_clear(others)

    run(main())


def test_an_urgent_mass_cancel_goes_before_everything_that_waits() -> None:
    """Thirty contracts behind two hundred calls: five at once with each turn, and no other."""

    async def main() -> None:
        exchange = SimulatedExchange()
        events: list[Event] = []
        async with virtual_session(exchange, lambda: 0.001, on_event=events.append) as htx:
            others = await queued(htx, 200)
            start, first_ended = now(), list[float]()
            report = await htx.mass_cancel_trailing(
                contracts(30), urgent=True, on_report=lambda one: first_ended.append(now() - start)
            )
            assert first_ended[0] <= 1.1
            assert report.elapsed == pytest.approx(6 * 1.004, abs=0.05)
            assert granted(events)[5:35] == contracts(30)
            await all_clear(others)
        assert exchange.busiest() <= 5
        urgent = [e.contract_code for e in events if isinstance(e, CallStarted) and e.urgent]
        assert urgent == contracts(30)

    run(main())


def test_urgent_calls_are_first_in_first_out_among_themselves() -> None:
    """Single ones and mass cancels alike, whatever waits behind them."""

    async def main() -> None:
        exchange = SimulatedExchange()
        events: list[Event] = []
        async with virtual_session(exchange, on_event=events.append) as htx:
            others = await queued(htx, 50)
            ones = [
                asyncio.create_task(htx.cancel_all_trailing(code, urgent=True))
                for code in contracts(7, "A")
            ]
            await turns(2)
            many = asyncio.create_task(
                htx.mass_cancel_trailing(contracts(8, "B"), urgent=True, look="none")
            )
            await turns(3)
            last = asyncio.create_task(htx.cancel_all_trailing("Z-USDT", urgent=True))
            await asyncio.gather(*ones, many, last)
            await all_clear(others)
        wanted = [*contracts(7, "A"), *contracts(8, "B"), "Z-USDT"]
        assert granted(events)[5:21] == wanted
        assert granted(events)[21:] == contracts(50, "O")[5:]

    run(main())


def test_the_repeats_and_rounds_of_an_urgent_call_are_urgent_too() -> None:
    """A lost answer, and a second round until clear, do not send it to the end of the queue."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place("A-USDT", "buy", "close", 1)
        exchange.place("B-USDT", "buy", "close", 1)
        exchange.bad_gateway(contract_code="A-USDT")
        async with virtual_session(exchange, lambda: 0.001) as htx:
            others = await queued(htx, 200)
            start = now()
            report = await htx.cancel_all_trailing("A-USDT", urgent=True)
            assert len(report.attempts) == 2
            assert now() - start <= 2.1
            start = now()
            many = await htx.mass_cancel_trailing(["B-USDT"], urgent=True, until_clear=True)
            assert many.is_clear
            assert now() - start <= 1.1 + 1.2 + 1.1
            await all_clear(others)

    run(main())


def test_ordinary_calls_go_on_when_the_urgent_ones_are_over() -> None:
    """None of those that were passed by is lost, and they keep their order."""

    async def main() -> None:
        exchange = SimulatedExchange()
        events: list[Event] = []
        async with virtual_session(exchange, lambda: 0.001, on_event=events.append) as htx:
            others = await queued(htx, 30)
            await htx.mass_cancel_trailing(contracts(20), urgent=True)
            await all_clear(others)
        assert [code for code in granted(events) if code[0] == "O"] == contracts(30, "O")

    run(main())


def test_a_cancelled_urgent_call_leaves_its_place_to_the_next() -> None:
    """Cancelled while it waits: the next urgent one has its token, none is lost."""

    async def main() -> None:
        exchange = SimulatedExchange()
        events: list[Event] = []
        async with virtual_session(exchange, lambda: 0.001, on_event=events.append) as htx:
            others = await queued(htx, 20)
            doomed = asyncio.create_task(htx.cancel_all_trailing("A-USDT", urgent=True))
            after = asyncio.create_task(htx.cancel_all_trailing("B-USDT", urgent=True))
            await turns(2)
            doomed.cancel()
            await asyncio.gather(doomed, after, return_exceptions=True)
            await all_clear(others)
        assert granted(events)[5] == "B-USDT"
        assert len(granted(events)) == 21

    run(main())


# The account's budget


class Traffic:
    """Callers of an `AccountLimiter` over many endpoints, and when each had its turn."""

    def __init__(self) -> None:
        self.limiter = AccountLimiter()
        self.moments: list[float] = []
        self.tasks: list[asyncio.Task[float]] = []

    async def one(self, endpoint: str, urgent: bool = False) -> float:
        """Seconds that one caller waited."""
        asked = now()
        async with self.limiter.take(endpoint, urgent=urgent):
            self.moments.append(now())
        return now() - asked

    def begin(self, count: int, endpoints: int, urgent: bool = False) -> None:
        for number in range(count):
            call = self.one(f"/endpoint/{number % endpoints}", urgent)
            self.tasks.append(asyncio.create_task(call))

    async def end(self) -> None:
        await asyncio.gather(*self.tasks)

    def most_in(self, window: float) -> int:
        moments, most, first = sorted(self.moments), 0, 0
        for last, moment in enumerate(moments):
            while moment - moments[first] >= window:
                first += 1
            most = max(most, last - first + 1)
        return most


@pytest.mark.parametrize("at", [0.01, 0.5, 2.9, 3.0, 7.0])
def test_an_urgent_caller_is_not_kept_waiting_when_ordinary_ones_have_used_up_theirs(
    at: float,
) -> None:
    """Three hundred ordinary calls over sixty endpoints; six urgent ones elsewhere go at once."""

    async def main() -> None:
        traffic = Traffic()
        traffic.begin(300, 60)
        await asyncio.sleep(at)
        waited = [await traffic.one(f"/urgent/{number % 2}", urgent=True) for number in range(6)]
        assert max(waited) < 0.01
        await traffic.end()
        assert traffic.most_in(WINDOW) <= BUDGET

    run(main())


@pytest.mark.parametrize("endpoint", [0, 7, 15])
def test_an_urgent_caller_goes_before_ordinary_ones_of_its_own_endpoint_too(endpoint: int) -> None:
    """Ordinary callers that wait for the account's budget must not sit on the tokens of the
    endpoint meanwhile: an urgent one has the next token, a second away at most."""

    async def main() -> None:
        traffic = Traffic()
        for number in range(16):
            for _ in range(6):
                traffic.tasks.append(asyncio.create_task(traffic.one(f"/endpoint/{number}")))
        await asyncio.sleep(0.1)
        waited = await traffic.one(f"/endpoint/{endpoint}", urgent=True)
        assert waited <= 1.1
        await traffic.end()

    run(main())


def test_an_urgent_caller_of_a_new_endpoint_needs_no_share_of_others() -> None:
    """A steady two urgent calls a second all go at once, for half a minute of ordinary load."""

    async def main() -> None:
        traffic = Traffic()
        traffic.begin(400, 80)
        waited = []
        for number in range(60):
            await asyncio.sleep(0.5)
            waited.append(await traffic.one(f"/urgent/{number % 4}", urgent=True))
        assert max(waited) < 0.01
        await traffic.end()
        assert traffic.most_in(WINDOW) <= BUDGET

    run(main())


@pytest.mark.parametrize("seed", range(12))
def test_the_account_s_budget_is_never_exceeded(seed: int) -> None:
    """Urgent and ordinary calls in random bursts over many endpoints: 72 in any 3 s at most."""
    chance = random.Random(seed)

    async def main() -> None:
        traffic = Traffic()
        for _ in range(8):
            endpoints = chance.choice([5, 20, 60])
            traffic.begin(chance.randrange(80), endpoints, urgent=chance.random() < 0.5)
            await asyncio.sleep(chance.choice([0.0, 0.3, 2.0, 6.0]))
        await traffic.end()
        assert traffic.most_in(WINDOW) <= BUDGET

    run(main())


def test_a_burst_of_urgent_calls_alone_may_use_the_whole_budget() -> None:
    """Thirty-six go at once, where ordinary ones are held at thirty."""

    async def main() -> None:
        for urgent, at_once in ((True, 36), (False, 30)):
            traffic = Traffic()
            traffic.begin(60, 60, urgent)
            await asyncio.sleep(0.01)
            assert len(traffic.moments) == at_once
            await traffic.end()
            assert traffic.most_in(WINDOW) <= BUDGET

    run(main())


def test_an_urgent_caller_cancelled_at_the_budget_leaves_nothing_behind() -> None:
    """Every budget used up by urgent calls: the one that is cancelled gives its token back."""

    async def main() -> None:
        traffic = Traffic()
        traffic.begin(36, 36, urgent=True)
        await turns(3)
        doomed = [asyncio.create_task(traffic.one("/endpoint/late", urgent=True)) for _ in range(5)]
        await asyncio.sleep(0.01)
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        assert traffic.limiter.earliest("/endpoint/late") == pytest.approx(1 / 12, abs=1e-4)
        assert traffic.limiter.waiting("/endpoint/late") == 0
        await traffic.end()

    run(main())


def test_sessions_of_one_account_share_the_urgent_lane() -> None:
    """An urgent call of one session goes before the queue of another."""

    async def main() -> None:
        exchange = SimulatedExchange()
        busy, other = (virtual_session(exchange, lambda: 0.001) for _ in range(2))
        others = await queued(busy, 100)
        start = now()
        await other.cancel_all_trailing("URGENT-USDT", urgent=True)
        assert now() - start <= 1.1
        await all_clear(others)
        await busy.aclose()
        await other.aclose()

    run(main())


def test_urgent_and_ordinary_together_keep_five_a_second() -> None:
    """The lane is a place in the queue, not a limit of its own."""

    async def main() -> None:
        exchange = SimulatedExchange()
        chance = random.Random(4)
        async with virtual_session(exchange, lambda: chance.uniform(0, 0.2)) as htx:
            calls = []
            for number in range(60):
                urgent = number % 3 == 0
                code = f"C{number}-USDT"
                calls.append(asyncio.create_task(htx.cancel_all_trailing(code, urgent=urgent)))
                await asyncio.sleep(chance.uniform(0, 0.3))
            reports = await asyncio.gather(*calls)
        assert all(report.is_clear for report in reports)
        assert exchange.busiest() <= 5
        assert {arrival.err_code for arrival in exchange.arrivals} == {1051}

    run(main())
