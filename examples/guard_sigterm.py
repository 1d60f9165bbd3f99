"""The process is told to end, and its trailing orders go first.

SIGTERM is what `docker stop`, systemd and Kubernetes send. By itself it ends a process at once,
with every order left open. Here the first one cancels the strategy, and the guard cancels the
orders; a second one ends the guard's own work within a second, with a true report.

Give the process long enough: a guard that needs more than 25 s says so when it is made. Nothing in
a process outlives SIGKILL; for that there is the wrapper, `htx-async guard -- COMMAND`.

The rehearsal sends SIGTERM to itself after one second; on the real exchange it waits for yours.
"""

import asyncio
import os
import signal
import sys
from typing import NoReturn

from _where import Where, chosen

from htx_async import CancelReport

CONTRACTS = ["BTC-USDT", "ETH-USDT", "SOL-USDT"]


async def strategy(where: Where) -> NoReturn:
    """Places a stop now and then, until it is cancelled."""
    while True:
        for code in where.contracts:
            where.place(code, "sell", "close")
        await asyncio.sleep(0.3)


def needs_a_person(report: CancelReport) -> bool:
    return not report.is_clear or report.confirmed is not True or bool(report.triggered)


def rehearse(trading: asyncio.Task[NoReturn]) -> None:
    """Unless somebody has told it already: a second signal would cut the guard's work short."""
    if not trading.cancelling():
        os.kill(os.getpid(), signal.SIGTERM)


async def main(where: Where) -> int:
    async with where, where.session() as htx:
        guard = htx.cancel_on_exit(where.contracts, deadline=20.0, confirm=True)
        loop = asyncio.get_running_loop()
        try:
            async with guard:
                trading = asyncio.create_task(strategy(where))

                def told_to_end() -> None:
                    # The first signal ends the strategy, the second one the guard's work.
                    guard.stop() if trading.cancelling() else trading.cancel()

                loop.add_signal_handler(signal.SIGTERM, told_to_end)
                print(f"trading as process {os.getpid()}", flush=True)
                if where.exchange is not None:
                    loop.call_later(1.0, rehearse, trading)
                await trading
        except asyncio.CancelledError:
            print("told to end")
    report = guard.report
    if report is None:
        print("the guard was not entered: no order of this process is open")
        return 0
    for each in report.reports:
        print(each)
    return 1 if any(map(needs_a_person, report.reports)) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(chosen(CONTRACTS))))
