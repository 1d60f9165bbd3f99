"""Two hosts over real sockets, of which one is sick; and a loop that stalls while connecting."""

import asyncio

import pytest

from htx_async import HtxSession, Outcome, TokenBucket
from htx_async.simulator import SimulatedExchange
from tests.support import instant
from tests.support.fault_server import (
    FaultServer,
    Script,
    reply,
    resets_after_request,
    sends_then_closes,
    silent,
)

BTC = "BTC-USDT"
BAD_GATEWAY = reply(b"<html>", status="502 Bad Gateway")
SICK: dict[str, Script] = {
    "silent": silent,
    "resets": resets_after_request,
    "bad gateway": sends_then_closes(BAD_GATEWAY),
}


def session(exchange: SimulatedExchange, *base_urls: str) -> HtxSession:
    settings = {"limiter": TokenBucket(), "generation": "v1"}
    return HtxSession(exchange.credentials, base_urls=base_urls, **settings)  # type: ignore[arg-type]  # mypy joins their types


async def took(*base_urls: str, exchange: SimulatedExchange) -> float:
    codes = [f"C{number}-USDT" for number in range(20)]
    for code in codes:
        exchange.place(code, "buy", "close", 1)
    async with session(exchange, *base_urls) as htx:
        report = await htx.mass_cancel_trailing(codes, look="none")
    assert report.outcomes == {Outcome.CANCELLED: len(codes)}
    assert not exchange.open_orders()
    return report.elapsed


@pytest.mark.parametrize("how", SICK)
def test_a_sick_first_host_does_not_keep_orders_open(how: str) -> None:
    """A raw server and the simulated exchange: all contracts are cancelled over the second, the
    first is asked by those that could not know better, and little time is lost."""

    async def main() -> None:
        async with SimulatedExchange() as exchange, FaultServer(SICK[how]) as server:
            healthy = await took(exchange.url, exchange=exchange)
            sick = await took(server.url, exchange.url, exchange=exchange)
            assert sick <= healthy + (3.0 if how == "silent" else 0.0) + 1.5
            assert 1 <= len(server.requests) <= 5
            assert exchange.busiest() <= 5

    instant.run(main())


def test_a_first_host_that_refuses_changes_no_order(refusing_url: str) -> None:
    """Nobody listens there: the contracts go in the order given, each with its first token."""

    async def main() -> None:
        async with SimulatedExchange() as exchange:
            await took(refusing_url, exchange.url, exchange=exchange)
            order = [arrival.contract_code for arrival in exchange.arrivals]
        assert order == [f"C{number}-USDT" for number in range(20)]

    instant.run(main())


@pytest.mark.parametrize("seconds", [None, 0.95, 1.5, 4.0])
def test_a_stall_while_connecting_is_not_held_against_a_host(
    black_hole_url: str, seconds: float | None
) -> None:
    """The loop was blocked, so nobody knows how long the host took: the next call tries it again.
    Without a stall it goes elsewhere at once."""

    async def main() -> None:
        async with SimulatedExchange() as exchange:
            both = [black_hole_url, exchange.url]
            async with session(exchange, *both) as htx:
                if seconds is not None:
                    asyncio.get_running_loop().call_later(0.02, instant.stall, seconds)
                first = await htx.cancel_all_trailing(BTC)
                second = await htx.cancel_all_trailing(BTC)
        assert [attempt.base_url for attempt in first.attempts] == both
        assert [a.base_url for a in second.attempts] == (both[1:] if seconds is None else both)

    instant.run(main())
