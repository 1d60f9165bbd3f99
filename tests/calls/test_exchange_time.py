"""Asking the exchange for its time: warm connections, round trips, skew."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from htx_async import HtxSession, InvalidRequest, SessionClosed
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session

TIME = "/api/v1/timestamp"


async def test_warming_up_opens_a_connection_and_touches_no_order(
    exchange: SimulatedExchange, htx: HtxSession
) -> None:
    """Public calls only; the urgent one then goes over a connection that is open."""
    exchange.place("BTC-USDT", "buy", "close", 1)
    (warm,) = await htx.warm_up()
    assert warm.base_url == exchange.url
    assert warm.problem is None
    assert warm.round_trip is not None
    assert 0 < warm.round_trip < 1
    assert warm.skew == pytest.approx(0, abs=1)
    assert {arrival.path for arrival in exchange.arrivals} == {TIME}
    assert len(exchange.open_orders()) == 1
    assert exchange.busiest() == 0


async def test_a_base_url_that_does_not_answer_says_why_and_is_tried_last(
    exchange: SimulatedExchange, refusing_url: str
) -> None:
    """The others are warm all the same, and calls go to them first."""
    async with HtxSession(exchange.credentials, base_urls=[refusing_url, exchange.url]) as htx:
        cold, warm = await htx.warm_up()
        assert cold.base_url == refusing_url
        assert cold.problem is not None
        assert (cold.round_trip, cold.skew) == (None, None)
        assert warm.problem is None
        report = await htx.cancel_all_trailing("BTC-USDT")
    assert [attempt.base_url for attempt in report.attempts] == [exchange.url]


async def test_a_reply_without_a_time_is_a_problem(
    exchange: SimulatedExchange, htx: HtxSession
) -> None:
    """Nothing is measured from what cannot be read."""
    exchange.reply_headers = {"Content-Encoding": "br"}
    (result,) = await htx.warm_up()
    assert result.problem is not None


def test_a_clock_that_is_off_is_corrected_before_the_first_call() -> None:
    """After warming up, the first cancel is signed right."""

    async def main() -> None:
        wall = datetime(2026, 1, 1, tzinfo=UTC)
        loop = asyncio.get_running_loop()
        exchange = SimulatedExchange(now=lambda: wall.timestamp() + loop.time())

        def off() -> datetime:
            return wall + timedelta(hours=-1, seconds=loop.time())

        async with virtual_session(exchange, now=off) as htx:
            (warm,) = await htx.warm_up()
            assert warm.skew == pytest.approx(3600, abs=0.1)
            assert warm.round_trip == pytest.approx(0.08, abs=0.001)
            report = await htx.cancel_all_trailing("BTC-USDT")
        assert len(report.attempts) == 1

    run(main())


def test_warming_up_is_safe_at_any_time_and_keeps_a_public_budget() -> None:
    """Beside calls, many times at once: no private token is spent, 24 public calls in any 3 s."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            calls = [htx.cancel_all_trailing(f"C{n}-USDT") for n in range(10)]
            warm = [htx.warm_up() for _ in range(20)]
            results = await asyncio.gather(*calls, *warm)
        assert len(results) == 30
        times = sorted(a.at for a in exchange.arrivals if a.path == TIME)
        assert len(times) == 40
        assert max(sum(t <= b < t + 3.0 for b in times) for t in times) <= 24
        trade = [a.at for a in exchange.arrivals if a.path != TIME]
        assert max(trade) - min(trade) == pytest.approx(1.082, abs=0.01)

    run(main())


def test_a_session_keeps_a_connection_warm_until_it_is_closed() -> None:
    """One public call every ten seconds; nothing is left behind."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, keep_warm=True):
            await asyncio.sleep(35.0)
        seen = len(exchange.arrivals)
        assert 4 <= seen <= 8
        await asyncio.sleep(30.0)
        assert len(exchange.arrivals) == seen

    run(main())


async def test_a_closed_session_is_not_warmed(exchange: SimulatedExchange) -> None:
    """The same typed error as for calls."""
    htx = HtxSession(exchange.credentials, base_urls=exchange.url)
    await htx.aclose()
    with pytest.raises(SessionClosed):
        await htx.warm_up()


def test_keep_warm_is_no_secret_loop() -> None:
    """A session that was never opened has no task, and needs no closing."""
    with pytest.raises(InvalidRequest):
        HtxSession(SimulatedExchange().credentials, base_urls="", keep_warm=True)
