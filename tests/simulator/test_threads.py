"""The simulated exchange in a thread of its own, and asked from any."""

import asyncio
import inspect
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from htx_async import HtxSession
from htx_async.simulator import SimulatedExchange

BTC = "BTC-USDT"


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "htx-exchange"]


def public() -> Iterator[tuple[str, object]]:
    for kind in SimulatedExchange.__mro__[:-2]:
        for name, value in vars(kind).items():
            if not name.startswith("_") and (
                inspect.isfunction(value) or inspect.isdatadescriptor(value)
            ):
                yield name, value.fget if isinstance(value, property) else value


def test_every_public_method_waits_for_the_others() -> None:
    """Each of them, and each property, holds the exchange's lock while it works."""
    names = dict(public())
    assert {"handle", "place", "open_orders", "late", "busiest", "arrivals", "url"} <= set(names)
    assert all(inspect.unwrap(value) is not value for value in names.values() if callable(value))


def test_with_serves_in_a_thread_until_the_block_ends() -> None:
    """By the clock of every thread; a session on any loop uses it, two after each other, too."""
    exchange = SimulatedExchange()

    async def main() -> None:
        async with HtxSession(exchange.credentials, base_urls=exchange.url) as htx:
            ids = exchange.place(BTC, "buy", "close", 2)
            assert (await htx.cancel_all_trailing(BTC)).successes == ids

    with exchange as same:
        assert same is exchange
        assert threads()
        before = time.monotonic()
        asyncio.run(main())
        asyncio.run(main())
        assert before <= exchange.arrivals[0].at <= time.monotonic()
        with pytest.raises(RuntimeError, match="already open"):
            exchange.__enter__()
        assert len(threads()) == 1
    assert not threads()
    with pytest.raises(RuntimeError, match="is closed"):
        assert exchange.url


def test_a_clock_that_was_given_is_kept() -> None:
    """In a thread, too."""
    with SimulatedExchange(clock=lambda: 7.5) as exchange:
        with urllib.request.urlopen(f"{exchange.url}/api/v1/timestamp") as answer:  # noqa: S310 - http
            assert answer.status == 200
        assert [one.at for one in exchange.arrivals] == [7.5]


def test_a_port_that_is_taken_leaves_no_thread() -> None:
    """The error is the one of `async with`."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            SimulatedExchange(port=taken.getsockname()[1]).__enter__()
    assert not threads()


def test_an_answer_that_is_late_keeps_no_thread() -> None:
    """Whoever waits for it sees the connection end."""
    with SimulatedExchange(latency=600.0) as exchange, ThreadPoolExecutor(1) as pool:
        url = f"{exchange.url}/api/v1/timestamp"
        waiting = pool.submit(urllib.request.urlopen, url)
        while not exchange.arrivals:
            time.sleep(0)
        exchange.__exit__(None, None, None)
        with pytest.raises(OSError, match=r"closed|reset"):
            waiting.result(20)
    assert not threads()
