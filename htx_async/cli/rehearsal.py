"""`htx-async demo` and `htx-async simulate`: the same without keys and without the exchange."""

import asyncio
import secrets
from contextlib import AsyncExitStack
from functools import partial

from htx_async.cli.aside import Aside
from htx_async.cli.exit_codes import INTERNAL, USAGE
from htx_async.cli.mass import watched
from htx_async.cli.plan import Schedule
from htx_async.cli.running import print_account, run, signals, unless_stopped
from htx_async.cli.streams import printed


def play_demo() -> int:
    """The exit code, once the story is told."""
    # Whoever serves a simulation should not wait for rich.
    from htx_async.cli.demo import CONTRACTS, LIMIT, drawn, play  # noqa: PLC0415 - see above

    def work(runner: asyncio.Runner, aside: Aside) -> int:
        seconds = len(CONTRACTS) / LIMIT
        heard = watched(Schedule(len(CONTRACTS), seconds, 2 * seconds), aside, quiet=False)
        story = unless_stopped(runner, play(heard))
        aside.settle()
        problem = print_account(partial(drawn, story))
        if problem:
            aside.say(f"What came of it could not be printed: {problem}.")
        if not story.is_right:
            return INTERNAL
        return USAGE if problem else 0

    return run(work, untouched="no real order was touched")


def serve(port: int, orders: int) -> int:
    """The exit code, once the simulation is over."""

    def work(runner: asyncio.Runner, aside: Aside) -> int:
        return runner.run(_simulate(port, orders, aside))

    return run(work)


async def _simulate(port: int, orders: int, aside: Aside) -> int:
    # Only here, since it brings a web server along.
    from htx_async.simulator import SimulatedExchange  # noqa: PLC0415 - see above

    access_key, secret_key = secrets.token_hex(16), secrets.token_hex(16)
    exchange = SimulatedExchange(access_key=access_key, secret_key=secret_key, port=port)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.enter_context(signals(stop.set))
        try:
            await stack.enter_async_context(exchange)
        except OSError as error:
            aside.say(f"port {port} cannot be served: {error.strerror}")
            return USAGE
        for contract in ("BTC-USDT", "ETH-USDT"):
            exchange.place(contract, "sell", "close", orders)
        guide = _GUIDE.format(url=exchange.url, access=access_key, secret=secret_key, n=orders)
        if problem := printed(lambda: guide):
            aside.say(f"Nobody can know the keys, since they could not be printed: {problem}.")
            return USAGE
        await stop.wait()
    left = len(exchange.open_orders())
    told = f"Stopped after {len(exchange.arrivals)} requests; orders still open: {left}.\n"
    if problem := print_account(lambda: told):
        aside.say(f"{told.strip()} stdout: {problem}.")
        return USAGE
    return 0


_GUIDE = """\
Simulated exchange at {url}, until Ctrl-C.
Open trailing orders (sell, close): {n} on BTC-USDT, {n} on ETH-USDT.

These keys were made up for this run. They open nothing but this simulation:
export HTX_ACCESS_KEY={access}
export HTX_SECRET_KEY={secret}

With them set, point a command or a session at it:
  htx-async cancel-all BTC-USDT --base-url {url}
  HtxSession.from_env(base_urls="{url}")

"""
