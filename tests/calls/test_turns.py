"""Calls that wait for a token: together where one request does for several, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiolimiter import AsyncLimiter

from htx_async import CancelError, CancelReport, HtxSession, NotSent, Outcome, TokenBucket
from htx_async.events import AttemptEnded, CallStarted, Event, TokenGranted
from htx_async.simulator import SimulatedExchange
from tests.support.generations import exchange_of, session_of
from tests.support.virtual import FIRST, SECOND, Outage, run, transport_of, virtual_session

BTC = "BTC-USDT"
OTHERS = [f"C{number}-USDT" for number in range(5)]


def now() -> float:
    return asyncio.get_running_loop().time()


async def ended(work: Awaitable[CancelReport]) -> CancelReport:
    try:
        return await work
    except CancelError as error:
        return error.report


def begun(work: Awaitable[CancelReport]) -> "asyncio.Task[CancelReport]":
    return asyncio.ensure_future(ended(work))


async def busy(htx: HtxSession) -> "list[asyncio.Task[CancelReport]]":
    """Calls that take every token, so that whoever comes now waits."""
    tasks = [begun(htx.cancel_all_trailing(code)) for code in OTHERS]
    await asyncio.sleep(0.01)
    return tasks


def sent(exchange: SimulatedExchange, code: str = BTC) -> list[float]:
    return [one.at for one in exchange.arrivals if one.contract_code == code]


@pytest.mark.parametrize("count", [2, 9])
def test_calls_that_wait_for_the_same_are_sent_once(count: int) -> None:
    """Each has its report of the one request, which names the calls that it served, and its own
    events."""

    async def main() -> None:
        exchange, events = SimulatedExchange(), list[Event]()
        (order_id,) = exchange.place(BTC, "buy", "close")
        async with virtual_session(exchange, on_event=events.append) as htx:
            others = await busy(htx)
            reports = await asyncio.gather(
                *(begun(htx.cancel_all_trailing(BTC)) for _ in range(count))
            )
            await asyncio.gather(*others)
        assert len(sent(exchange)) == 1
        assert {one.outcome for one in reports} == {Outcome.CANCELLED}
        assert {one.successes for one in reports} == {(order_id,)}
        calls = {e.call for e in events if isinstance(e, CallStarted) and e.contract_code == BTC}
        assert all(set(one.attempts[0].shared_by) == calls for one in reports)
        assert len(calls) == count
        for kind in (TokenGranted, AttemptEnded):
            assert {e.call for e in events if isinstance(e, kind)} >= calls

    run(main())


@pytest.mark.parametrize(
    "other",
    [
        lambda htx: htx.cancel_all_trailing("ETH-USDT"),
        lambda htx: htx.cancel_all_trailing(BTC, "buy"),
        lambda htx: htx.cancel_all_trailing(BTC, None, "close"),
    ],
)
def test_other_contracts_and_filters_have_requests_of_their_own(
    other: Callable[[HtxSession], Awaitable[CancelReport]],
) -> None:
    """What is not the same is not one."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            others = await busy(htx)
            two = [begun(htx.cancel_all_trailing(BTC)), begun(other(htx))]
            reports = await asyncio.gather(*two)
            await asyncio.gather(*others)
        assert len(exchange.arrivals) == len(OTHERS) + 2
        assert all(one.attempts[0].shared_by == () for one in reports)

    run(main())


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("at", [0.5, 1.06, 1.1])
def test_one_that_leaves_takes_nobody_along(first: bool, at: float) -> None:
    """Cancelled while it waits, while the request is on the wire, or as it is answered: the other
    one has its answer, and no second request is made."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close")
        async with virtual_session(exchange) as htx:
            others = await busy(htx)
            pair = [begun(htx.cancel_all_trailing(BTC)) for _ in range(2)]
            leaves, stays = pair if first else pair[::-1]
            asyncio.get_running_loop().call_at(at, leaves.cancel)
            report = await stays
            assert report.outcome is Outcome.CANCELLED
            await asyncio.gather(*others)
            await asyncio.wait([leaves])
        assert len(sent(exchange)) == 1

    run(main())


def test_when_all_have_left_nothing_is_sent() -> None:
    """And the place is given back: the next one has its turn at once."""

    async def main() -> None:
        exchange = SimulatedExchange()
        limiter = TokenBucket(5)
        async with virtual_session(exchange, limiter=limiter) as htx:
            others = await busy(htx)
            pair = [begun(htx.cancel_all_trailing(BTC)) for _ in range(2)]
            await asyncio.sleep(0.1)
            for one in pair:
                one.cancel()
            await asyncio.wait(pair)
            await asyncio.sleep(0)
            path = exchange.arrivals[0].path
            assert limiter.waiting(path) == 0
            await asyncio.gather(*others)
        assert sent(exchange) == []

    run(main())


def test_each_keeps_its_own_deadline() -> None:
    """The one with little time ends as not sent; the other is answered."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            others = await busy(htx)
            long = begun(htx.cancel_all_trailing(BTC))
            await asyncio.sleep(0)
            began = now()
            with pytest.raises(NotSent):
                await htx.cancel_all_trailing(BTC, deadline=0.3)
            assert now() - began <= 0.31
            assert (await long).is_clear
            await asyncio.gather(*others)
        assert len(sent(exchange)) == 1

    run(main())


def test_an_urgent_one_makes_it_urgent() -> None:
    """It goes before whoever came before, and the ordinary one with it."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            others = await busy(htx)
            ahead = [begun(htx.cancel_all_trailing(f"A{number}-USDT")) for number in range(9)]
            await asyncio.sleep(0)
            pair = [begun(htx.cancel_all_trailing(BTC, urgent=one)) for one in (False, True)]
            reports = await asyncio.gather(*pair)
            await asyncio.gather(*others, *ahead)
        codes = [one.contract_code for one in exchange.arrivals]
        assert codes.count(BTC) == 1
        assert codes.index(BTC) == len(OTHERS)
        assert all(one.is_clear for one in reports)

    run(main())


class Slow:
    """A listener whose records take a while to be safe."""

    def __init__(self) -> None:
        self.safe: dict[int, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, CallStarted):
            self.safe[event.call] = event.at + 0.02

    async def written(self, call: int) -> str:
        await asyncio.sleep(max(0.0, self.safe[call] - now()))
        return ""


def test_every_record_is_safe_before_the_one_request_leaves() -> None:
    """That of the call that came last, too, just before its token."""

    async def main() -> None:
        exchange, log = SimulatedExchange(), Slow()
        async with virtual_session(exchange, on_event=log) as htx:
            others = await busy(htx)
            pair = [begun(htx.cancel_all_trailing(BTC))]
            await asyncio.sleep(1.055)
            pair.append(begun(htx.cancel_all_trailing(BTC)))
            reports = await asyncio.gather(*pair)
            await asyncio.gather(*others)
        (at,) = sent(exchange)
        calls = reports[0].attempts[0].shared_by
        assert len(calls) == 2
        assert all(log.safe[call] <= at - 0.04 for call in calls)

    run(main())


@pytest.mark.parametrize("fault", ["lose_after_work", "bad_gateway", "too_many"])
def test_what_happens_to_the_one_request_is_told_to_each(fault: str) -> None:
    """And each repeats it by its own policy, together with whoever waits for the same."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close")
        getattr(exchange, fault)(contract_code=BTC)
        async with virtual_session(exchange) as htx:
            others = await busy(htx)
            reports = await asyncio.gather(*(begun(htx.cancel_all_trailing(BTC)) for _ in range(3)))
            await asyncio.gather(*others)
        assert all(one.is_clear for one in reports)
        assert all(len(one.attempts) == 2 for one in reports)
        assert 2 <= len(sent(exchange)) <= 4
        assert exchange.busiest() <= 5

    run(main())


def test_who_is_left_alone_with_a_request_shares_it_with_nobody() -> None:
    """The other one's deadline came while no connection could be made: the same token serves an
    attempt elsewhere, for one call."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close")
        async with virtual_session(exchange, base_urls=(FIRST, SECOND)) as htx:
            others = await busy(htx)
            transport_of(htx).outages.append(Outage("unreachable", host=FIRST, start=now()))
            stays = begun(htx.cancel_all_trailing(BTC))
            leaves = begun(htx.cancel_all_trailing(BTC, deadline=1.6))
            one, other = await asyncio.gather(stays, leaves)
            await asyncio.gather(*others)
        assert (one.outcome, other.outcome) == (Outcome.CANCELLED, Outcome.NOT_SENT)
        assert [len(attempt.shared_by) for attempt in one.attempts] == [2, 0]

    run(main())


@pytest.mark.parametrize("limiter", [lambda: AsyncLimiter(5, 1.0), TokenBucket])
def test_any_limiter_will_do(limiter: Callable[[], Any]) -> None:
    """One that knows no places, no priority and gives nothing back."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close")
        async with virtual_session(exchange, limiter=limiter()) as htx:
            codes = [BTC, *OTHERS, "X-USDT", "Y-USDT"]
            reports = await asyncio.gather(*(begun(htx.cancel_all_trailing(c)) for c in codes))
            mass = await htx.mass_cancel_trailing(codes)
        assert all(one.is_clear for one in reports)
        assert mass.is_clear

    run(main())


def test_closing_ends_all_who_wait_together() -> None:
    """None is sent, and no task is left behind."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            others = await busy(htx)
            pair = [begun(htx.cancel_all_trailing(BTC)) for _ in range(3)]
            await asyncio.sleep(0.1)
            await htx.aclose()
        reports = await asyncio.gather(*pair, *others)
        assert {one.outcome for one in reports[:3]} == {Outcome.NOT_SENT}
        assert sent(exchange) == []

    run(main())


def moved(**settings: Any) -> tuple[SimulatedExchange, list[str]]:
    """An account on V5 with one order in each of 95 contracts, which its list shows."""
    codes = [f"C{number}-USDT" for number in range(95)]
    exchange = exchange_of("v5", "404", contracts=[*codes, BTC], **settings)
    for code in (*codes, BTC):
        exchange.place(code, "buy", "open")
    return exchange, codes


@pytest.mark.parametrize("left", ["cancelled", "carried out"])
@pytest.mark.parametrize("late", [BTC, "C90-USDT", "C94-USDT"])
def test_what_is_parted_from_an_urgent_call_waits_with_the_others(left: str, late: str) -> None:
    """V5 takes no requests for several contracts while an urgent call rides in one of them: its
    companions go on in the ordinary line, later urgent calls for them are carried out, and nothing
    waits for ever, so the session closes."""

    async def main() -> None:
        exchange, codes = moved(v5_mixed="malformed")
        async with session_of(exchange, generation="v5", latency=lambda: 0.1) as htx:
            turns = htx._ready().turns
            mass = asyncio.ensure_future(htx.mass_cancel_trailing(codes))
            await asyncio.sleep(0.1)
            urgent = begun(htx.cancel_all_trailing(BTC, urgent=True))
            await asyncio.sleep(0.25)
            again = begun(htx.cancel_all_trailing(late, urgent=True))
            if left == "cancelled":
                await asyncio.sleep(0.1)
                mass.cancel()
            await asyncio.wait([mass, urgent, again])
            assert urgent.result().is_clear
            assert again.result().is_clear
            await asyncio.wait_for(turns.idle(), 1.0)
        if left == "carried out":
            assert not exchange.open_orders()

    run(main())


def test_nothing_is_kept_of_requests_that_several_shared() -> None:
    """However many mass cancels a session makes on V5."""

    async def main() -> None:
        exchange, codes = moved()
        async with session_of(exchange, generation="v5") as htx:
            turns = htx._ready().turns
            for _ in range(3):
                assert (await htx.mass_cancel_trailing(codes)).is_clear
                assert (len(turns._alike), len(turns._joined), len(turns._queues)) == (0, 0, 0)
                for code in codes:
                    exchange.place(code, "buy", "open")
                await asyncio.sleep(5.0)

    run(main())
