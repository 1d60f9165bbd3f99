"""Whole calls through a bad network to the simulated exchange: each report against its book."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Literal

import pytest

from htx_async import CancelReport, Outcome
from htx_async.simulator import SimulatedExchange
from tests.support.faulty_calls import BTC, ended, tireless, told
from tests.support.instant import run
from tests.support.proxy import Proxy

Weather = Callable[[Proxy], Coroutine[Any, Any, None]]


def check_book(exchange: SimulatedExchange, code: str, placed: set[str], it: CancelReport) -> None:
    """No outcome is better than the book, no id invented, none lost without a word."""
    left = {order.order_id for order in exchange.open_orders(code)}
    gone = placed - left
    assert set(it.successes) <= gone
    if it.is_clear:
        assert not left
        assert set(it.successes) == gone or not it.ids_complete
    if it.outcome in (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.NOTHING_TO_CANCEL):
        assert not gone


async def slow(proxy: Proxy) -> None:
    proxy.up = proxy.down = 0.5


async def narrow(proxy: Proxy) -> None:
    proxy.rate = 1_000


async def too_narrow(proxy: Proxy) -> None:
    proxy.rate = 50


async def answers_come_late(proxy: Proxy) -> None:
    proxy.down = 4.0


async def requests_come_late(proxy: Proxy) -> None:
    proxy.up = 4.0


async def silence(proxy: Proxy) -> None:
    proxy.is_silent = True


async def no_answers(proxy: Proxy) -> None:
    proxy.is_mute = True


async def refused(proxy: Proxy) -> None:
    proxy.refuse()


async def refused_for_a_while(proxy: Proxy) -> None:
    proxy.refuse()
    await asyncio.sleep(1.0)
    proxy.open()


async def silence_for_a_while(proxy: Proxy) -> None:
    proxy.is_silent = True
    await asyncio.sleep(1.0)
    proxy.is_silent = False


def broken(way: Literal["up", "down"], end: Literal["cut", "reset"]) -> Weather:
    """On its way there, or back, every connection ends."""

    async def weather(proxy: Proxy) -> None:
        setattr(proxy, way, 1.0)
        await asyncio.sleep(0.5)
        setattr(proxy, way, 0.0)
        (proxy.cut if end == "cut" else proxy.reset)()

    return weather


NETWORKS: dict[str, tuple[Weather, Outcome, bool, bool]] = {
    "slow": (slow, Outcome.CANCELLED, True, True),
    "narrow": (narrow, Outcome.CANCELLED, True, True),
    "refused for a while": (refused_for_a_while, Outcome.CANCELLED, True, True),
    "silence for a while": (silence_for_a_while, Outcome.CANCELLED, True, False),
    "cut before the work": (broken("up", "cut"), Outcome.CANCELLED, True, False),
    "reset before the work": (broken("up", "reset"), Outcome.CANCELLED, True, False),
    "cut after the work": (broken("down", "cut"), Outcome.CLEAR_AFTER_RETRY, True, False),
    "reset after the work": (broken("down", "reset"), Outcome.CLEAR_AFTER_RETRY, True, False),
    "answers come late": (answers_come_late, Outcome.UNKNOWN, True, False),
    "requests come late": (requests_come_late, Outcome.UNKNOWN, True, False),
    "no answers": (no_answers, Outcome.UNKNOWN, True, False),
    "silence": (silence, Outcome.UNKNOWN, False, False),
    "too narrow": (too_narrow, Outcome.UNKNOWN, False, False),
    "refused": (refused, Outcome.NOT_SENT, False, True),
}
"""The outcome, whether the orders are gone in the end, and whether the report has all ids."""


@pytest.mark.parametrize("network", NETWORKS)
def test_a_call_through_a_bad_network(network: str) -> None:
    """The outcome is what the network let through and the caller could learn of it."""
    weather, outcome, are_gone, ids_complete = NETWORKS[network]

    async def main() -> None:
        async with SimulatedExchange() as exchange, Proxy(exchange) as proxy:
            placed = set(exchange.place(BTC, "buy", "close", 3))
            async with tireless(proxy.url, credentials=exchange.credentials) as htx:
                changing = asyncio.create_task(weather(proxy))
                report = await told(htx)
                await changing
            check_book(exchange, BTC, placed, report)
            assert report.outcome is outcome
            assert report.ids_complete is ids_complete
            assert (not exchange.open_orders(BTC)) is are_gone

    run(main())


async def changeable(proxy: Proxy, chance: random.Random) -> None:
    """Another weather every half a second or so; now and then everything is cut or reset."""
    while True:
        proxy.up, proxy.down = chance.choice([0.0, 0.2, 0.6]), chance.choice([0.0, 0.2, 0.6])
        proxy.rate = chance.choice([None, None, 2_000])
        proxy.is_silent, proxy.is_mute = chance.random() < 0.15, chance.random() < 0.15
        if chance.random() < 0.4:
            chance.choice([proxy.cut, proxy.reset])()
        if chance.random() < 0.2:
            proxy.refuse()
            await asyncio.sleep(chance.uniform(0, 0.5))
            proxy.open()
        await asyncio.sleep(chance.uniform(0, 1.0))


@pytest.mark.parametrize("seed", range(12))
def test_calls_through_a_network_that_changes(seed: int) -> None:
    """Eight contracts at once: every report is true to the book, and the exchange sees no more
    than five in any second."""
    chance = random.Random(seed)

    async def main() -> None:
        async with SimulatedExchange() as exchange, Proxy(exchange) as proxy:
            codes = [f"C{number}-USDT" for number in range(8)]
            placed = {code: set(exchange.place(code, "buy", "close", 2)) for code in codes}
            changing = asyncio.create_task(changeable(proxy, chance))
            async with tireless(
                proxy.url, credentials=exchange.credentials, attempt_timeout=1.5
            ) as htx:
                ends = await asyncio.gather(*(ended(htx, code, 8.0) for code in codes))
            changing.cancel()
            with suppress(asyncio.CancelledError):
                await changing
            for code, (report, _) in zip(codes, ends, strict=True):
                check_book(exchange, code, placed[code], report)
            assert exchange.busiest() <= 5

    run(main())
