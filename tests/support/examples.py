"""Runs the Python of a page as it stands there: what would reach an exchange reaches a simulated
one, in virtual time, and functions that ask for a session or contracts are called with them."""

import asyncio
import inspect
import itertools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from htx_async import HtxSession
from htx_async.simulator import SimulatedExchange
from htx_async.simulator import serving as simulated
from tests.support.pages import execute
from tests.support.virtual import VirtualTransport, run, virtual_session

ACCESS, SECRET = "access-key", "secret-key"
CODES = ["BTC-USDT", "ETH-USDT"]

DEFINED_ONLY = {
    "test_on_an_exchange_that_others_use": "needs its fixture; tests/test_walk.py has it run",
    "bot": "needs the file of this host; tests/limits/test_host_fleet.py runs such",
    "worker": "needs a Redis server; tests/limits/test_redis_fleet.py runs such",
}
"""Functions of pages that are not called, and why."""


_NAMES = (f"the account of example {number}" for number in itertools.count())


class Stage:
    """The exchange of one block, and every one that the block opens by itself."""

    def __init__(self) -> None:
        self.exchange = SimulatedExchange(access_key=ACCESS, secret_key=SECRET, contracts=CODES)
        for code in CODES:
            self.exchange.place(code, "buy", "close", 2)
        self._numbers = itertools.count(2)
        # Tokens outlive a loop: those that one block has used are not to be missed in the next.
        self._account = next(_NAMES)
        self._opened: dict[str, SimulatedExchange] = {}

    def prepare(self, patch: pytest.MonkeyPatch) -> None:
        """Sessions and exchanges that are made from now on meet without sockets."""
        real_init, real_enter = HtxSession.__init__, SimulatedExchange.__aenter__

        def on_stage(session: HtxSession, *args: Any, **settings: Any) -> None:
            real_init(session, *args, **{"account": self._account, **settings})
            named = self._opened.get(str(settings.get("base_urls")), self.exchange)
            session._opening.transport = VirtualTransport(named, lambda: 0.04)  # type: ignore[assignment]  # the seam

        async def enter(exchange: SimulatedExchange) -> SimulatedExchange:
            await real_enter(exchange)
            self._opened[exchange.url] = exchange
            return exchange

        patch.setattr(HtxSession, "__init__", on_stage)
        patch.setattr(SimulatedExchange, "__aenter__", enter)
        patch.setattr(simulated, "Door", self._door)
        patch.setattr(asyncio, "run", run)
        patch.setenv("HTX_ACCESS_KEY", ACCESS)
        patch.setenv("HTX_SECRET_KEY", SECRET)

    def _door(self, handle: Callable[..., object], *more: object, **settings: object) -> "_Door":
        return _Door(next(self._numbers))

    def call(self, function: Callable[..., Coroutine[Any, Any, object]]) -> None:
        """Run it with what its parameters ask for by their names."""

        async def main() -> None:
            # The session's transport, as that of every other one, is the stage's.
            htx = virtual_session(self.exchange)
            given = {
                "htx": htx,
                "session": htx,
                "htx_session": htx,
                "htx_exchange": self.exchange,
                "exchange": self.exchange,
                "contract_code": CODES[0],
                "contract_codes": CODES,
                "codes": CODES,
                "strategy": _nothing,
                "place": self._place,
            }
            async with htx:
                await function(**{name: given[name] for name in _needed(function)})

        run(main())

    async def _place(self, contract_code: str, *more: object) -> None:
        self.exchange.place(contract_code, "buy", "close")


class _Door:
    """What serves nobody: there is no socket."""

    def __init__(self, number: int) -> None:
        self._number = number

    async def open(self, port: int) -> str:
        """An address that no one can reach."""
        return f"http://127.0.0.1:{self._number}"

    async def close(self) -> None:
        """Nothing is open."""


async def _nothing(*args: object) -> None:
    await asyncio.sleep(0)


def _needed(function: Callable[..., object]) -> list[str]:
    every = inspect.signature(function).parameters.values()
    return [one.name for one in every if one.default is one.empty]


def perform(code: str, place: str, patch: pytest.MonkeyPatch, folder: Path) -> Stage:
    """Execute a block in `folder`, and call each coroutine function that it only defines."""
    stage = Stage()
    namespace: dict[str, Any] = {"__name__": "example"}
    with patch.context() as patched:
        patched.chdir(folder)
        stage.prepare(patched)
        execute(code, namespace, place)
        if "asyncio.run(" not in code:
            for function in _to_call(namespace):
                stage.call(function)
    return stage


def _to_call(namespace: dict[str, Any]) -> list[Callable[..., Coroutine[Any, Any, object]]]:
    functions = filter(inspect.iscoroutinefunction, namespace.values())
    own = [one for one in functions if one.__module__ == "example"]
    return [one for one in own if one.__name__ not in DEFINED_ONLY]
