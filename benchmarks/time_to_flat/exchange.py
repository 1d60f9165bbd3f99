"""A simulated exchange behind a relay that takes 40 ms each way, in a process of its own, under
orders from its input, a line of JSON each.

`{"situation": ..., "seed": ...}` opens a fresh one and answers its base URLs; `{}` closes it and
answers its book: what was placed on which contract, what is gone since when, what is open, who came
when, and the busiest second of all calls that cancel. Ends when its input closes.
Run by `benchmarks.flat` as `python -m benchmarks.time_to_flat.exchange`.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from benchmarks.networks import PLAIN, relay
from benchmarks.peers import ACCESS_KEY, SECRET_KEY
from benchmarks.time_to_flat.situations import BY_NAME, Situation
from htx_async.exchange import endpoints
from htx_async.simulator import SimulatedExchange

_CANCELS = (endpoints.CANCEL_ALL, endpoints.CANCEL, endpoints.V5_CANCEL)
_CANCELLED = 6


@asynccontextmanager
async def _silent() -> AsyncIterator[str]:
    """A base URL that takes every request and answers none."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Its clients reset the connection when they give up.
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class Stage:
    """One exchange at a time, with its book."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._placed: dict[str, tuple[str, ...]] = {}

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to one order."""
        if order:
            return await self._open(BY_NAME[order["situation"]], random.Random(order["seed"]))
        book = self._book()
        await self._stack.aclose()
        return book

    async def _open(self, situation: Situation, chance: random.Random) -> dict[str, Any]:
        clock = asyncio.get_running_loop().time
        self._shift = time.time() - clock()
        self._exchange = exchange = SimulatedExchange(
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            contracts=situation.codes,
            account=situation.account,
            v1_variant=situation.v1_variant,
            v5_refusal=None,
            now=lambda: self._shift + clock(),
        )
        self._placed = {
            code: exchange.place(code, "sell", "close", situation.orders)
            for code in situation.holders
        }
        if situation.lists is not None:
            for _ in range(4 * situation.contracts):
                late = chance.uniform(*situation.lists)
                exchange.late(late, call=endpoints.OPEN_ORDERS.name)
        await self._stack.enter_async_context(exchange)
        url = await self._stack.enter_async_context(relay(exchange.url, PLAIN, chance))
        first = [await self._stack.enter_async_context(_silent())] * situation.is_first_silent
        return {"urls": [*first, url]}

    def _book(self) -> dict[str, Any]:
        exchange = self._exchange
        gone = (order for order in exchange.ended_orders() if order.status == _CANCELLED)
        return {
            "placed": self._placed,
            "gone": {o.order_id: (o.ended_at or 0) / 1000 - self._shift for o in gone},
            "open": [order.order_id for order in exchange.open_orders()],
            "arrivals": [(x.at, x.path, x.contract_code) for x in exchange.arrivals],
            "busiest": max(exchange.busiest(1.0, call=row.name) for row in _CANCELS),
        }

    async def close(self) -> None:
        """Close what is open."""
        await self._stack.aclose()


async def main() -> None:
    """Obey line by line until the input closes."""
    stage, loop = Stage(), asyncio.get_running_loop()
    print("{}", flush=True)
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await stage.obey(json.loads(line))), flush=True)
    finally:
        await stage.close()


if __name__ == "__main__":
    asyncio.run(main())
