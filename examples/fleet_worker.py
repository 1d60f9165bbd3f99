"""Three processes, one account, five cancels a second together.

The exchange counts by account, not by process. Processes of one host share the tokens through a
small file, with `HostTokenBucket`; those of several hosts on Redis, with one line in its place:

    async with RedisTokenBucket.from_url(url, account="desk-7", share_of=3) as limiter:

A worker that dies takes its report with it, so its contracts are told as not known, never as
clear. The exchange of the rehearsal counts the requests of all three; its new file opens late.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from _where import Where, chosen

from htx_async import Credentials, HostTokenBucket, HtxSession, MassCancelReport
from htx_async.simulator import SimulatedExchange

CONTRACTS = ["BTC", "ETH", "XRP", "LTC", "SOL", "DOGE", "AVAX", "ADA", "TRX"]
WORKERS = 3
KEY = "rehearsal"


class Desk(NamedTuple):
    """What a worker has to know; keys are not handed from process to process. `url`: of the
    embedded exchange, whose keys open nothing else, or None. `folder`: of the limit's file."""

    url: str | None = None
    folder: str | None = None


def session(desk: Desk) -> HtxSession:
    """Of this process; every worker names the same account and finds the same file."""
    limiter = HostTokenBucket("desk-7", path=desk.folder, share_of=WORKERS)
    if desk.url is None:
        return HtxSession.from_env(account="desk-7", limiter=limiter)
    return HtxSession(Credentials(KEY, KEY), base_urls=desk.url, limiter=limiter)


def work(desk: Desk, contracts: Sequence[str]) -> MassCancelReport:
    """One worker's part, in a process of its own."""

    async def cancel() -> MassCancelReport:
        async with session(desk) as htx:
            return await htx.mass_cancel_trailing(contracts, deadline=30.0, confirm=True)

    return asyncio.run(cancel())


async def fleet(desk: Desk, contracts: Sequence[str]) -> int:
    """Let the workers cancel all of them: 0 if each contract is known to have no order left."""
    parts = [part for n in range(WORKERS) if (part := contracts[n::WORKERS])]
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(pool, work, desk, part) for part in parts]
        told = await asyncio.gather(*jobs, return_exceptions=True)
    left = 0
    for part, report in zip(parts, told, strict=True):
        if isinstance(report, BaseException):
            print(f"NOT KNOWN: {', '.join(part)}: the worker failed ({report!r})")
            left += len(part)
        else:
            print(report)
            left += sum(not (each.is_clear and each.confirmed) for each in report.reports)
    return min(left, 1)


async def rehearse(exchange: SimulatedExchange, contracts: Sequence[str]) -> int:
    for code in contracts:
        exchange.place(code, "sell", "close", 2)
    with tempfile.TemporaryDirectory() as folder:
        result = await fleet(Desk(exchange.url, folder), contracts)
    print(f"busiest second at the exchange: {exchange.busiest()} cancels")
    return result


async def main(where: Where) -> int:
    async with where:
        if where.exchange is None:
            return await fleet(Desk(), where.contracts)
        return await rehearse(where.exchange, where.contracts)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(chosen([f"{coin}-USDT" for coin in CONTRACTS], key=KEY))))
