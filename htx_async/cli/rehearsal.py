"""`htx-async demo` and `htx-async simulate`: the same without keys and without the exchange."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from htx_async.cli.aside import Aside
from htx_async.cli.coins import contracts
from htx_async.cli.exit_codes import INTERNAL, USAGE
from htx_async.cli.keys_file import in_shell, keys_file
from htx_async.cli.mass import watched
from htx_async.cli.plan import Schedule
from htx_async.cli.running import print_report, run, signals, unless_stopped
from htx_async.cli.streams import printed
from htx_async.enums import MarginMode
from htx_async.errors import InvalidRequest

if TYPE_CHECKING:
    from htx_async.simulator import SimulatedExchange


def play_demo() -> int:
    """The exit code, once the story is told."""
    # Whoever serves a simulation should not wait for rich.
    from htx_async.cli.demo import CONTRACTS, LIMIT, drawn, play  # noqa: PLC0415 - see above

    def work(runner: asyncio.Runner, aside: Aside) -> int:
        seconds = len(CONTRACTS) / LIMIT
        heard = watched(Schedule(len(CONTRACTS), seconds, 2 * seconds), aside, quiet=False)
        story = unless_stopped(runner, play(heard))
        aside.settle()
        problem = print_report(partial(drawn, story))
        if problem:
            aside.say(f"What came of it could not be printed: {problem}.")
        if not story.is_right:
            return INTERNAL
        return USAGE if problem else 0

    return run(work, untouched="no real order was touched")


class Scene(NamedTuple):
    """What is simulated: so many contracts with `orders` each, in each of `margins`, of an account
    on `generation` (v1, v5, or moving from the one to the other). `refill`: whether orders come
    back after a cancel; `faults`: whether a mix of them is armed, drawn from `seed`."""

    contracts: int
    orders: int
    margins: tuple[MarginMode, ...]
    generation: Literal["v1", "v5", "moving"]
    seed: int
    faults: bool
    refill: bool


def serve(port: int, scene: Scene, keys: str | None) -> int:
    """The exit code, once the simulation is over; `keys`: the file that gets its keys."""

    def work(runner: asyncio.Runner, aside: Aside) -> int:
        return runner.run(_simulate(port, scene, keys, aside))

    return run(work)


async def _simulate(port: int, scene: Scene, keys: str | None, aside: Aside) -> int:
    pair = secrets.token_hex(16), secrets.token_hex(16)
    exchange, faults = _staged(port, scene, *pair)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.enter_context(signals(stop.set))
        try:
            await stack.enter_async_context(exchange)
        except OSError as error:
            aside.say(f"port {port} cannot be served: {error.strerror}")
            return USAGE
        # What is no HTTP gets its 400; a traceback, with what came in it, is for nobody here.
        logging.getLogger("aiohttp.server").disabled = True
        if keys is not None:
            stack.enter_context(keys_file(keys, *pair, exchange.url))
        guide = _guide(exchange.url, scene, faults, keys, *pair)
        if problem := printed(lambda: guide):
            aside.say(f"Nobody can know the keys, since they could not be printed: {problem}.")
            return USAGE
        await stop.wait()
    left = len(exchange.open_orders())
    told = f"Stopped after {len(exchange.arrivals)} requests; orders still open: {left}.\n"
    if problem := print_report(lambda: told):
        aside.say(f"{told.strip()} stdout: {problem}.")
        return USAGE
    return 0


def _staged(
    port: int, scene: Scene, access_key: str, secret_key: str
) -> "tuple[SimulatedExchange, Sequence[str]]":
    """The exchange with its orders, and the faults that wait there."""
    # Only here, since it brings a web server along.
    from htx_async.simulator import SimulatedExchange, mix  # noqa: PLC0415 - see above

    codes = contracts(scene.contracts)
    if len(codes) * len(scene.margins) * scene.orders > _MOST_ORDERS:
        raise InvalidRequest(f"these are more than {_MOST_ORDERS} orders: lower --orders")
    exchange = SimulatedExchange(
        access_key=access_key,
        secret_key=secret_key,
        port=port,
        contracts=codes,
        account="v5" if scene.generation == "v5" else "v1",
        v1_variant="1051",
        moves_at=_MOVES_AT if scene.generation == "moving" else None,
        refill=_REFILL if scene.refill else 0.0,
        control=True,
    )
    for code in codes:
        for margin in scene.margins:
            exchange.place(code, "sell", "close", scene.orders, margin_mode=margin.value)
    return exchange, mix.arm(exchange, scene.seed, scene.generation) if scene.faults else ()


_MOST_ORDERS = 100_000
_MOVES_AT = 10
_REFILL = 2.0


def _guide(
    url: str,
    scene: Scene,
    faults: Sequence[str],
    keys: str | None,
    access_key: str,
    secret_key: str,
) -> str:
    codes = contracts(scene.contracts)
    shown = [*codes[:_SHOWN], *([f"{len(codes) - _SHOWN} more"] if len(codes) > _SHOWN else [])]
    where = " and in ".join(f"{margin} margin" for margin in scene.margins)
    lines = [
        f"Simulated exchange at {url}, until Ctrl-C.",
        f"Contracts: {', '.join(shown)}. No others exist.",
        f"Open trailing orders (sell, close): {scene.orders} on each, in {where}.",
        f"API: {_GENERATIONS[scene.generation]}.",
    ]
    if scene.faults:
        lines.append(f"Faults, each once (--seed {scene.seed}):")
        lines += [f"  {fault}" for fault in faults] or ["  none: there are no orders"]
    if scene.refill:
        lines.append(f"Refill: cancelled orders come back, {_REFILL:g} a second.")
    keys_told = _KEYS if keys is None else _KEYS_IN_FILE
    told = {"access": access_key, "secret": secret_key, "url": url, "code": codes[0]}
    file = {} if keys is None else {"file": keys, "dot": f". {in_shell(keys)}"}
    return "\n".join((*lines, "", keys_told.format(**told, **file), ""))


_SHOWN = 4
_GENERATIONS = {
    "v1": "v1",
    "v5": "V5; v1 says that there is nothing to cancel",
    "moving": f"v1, and V5 from the {_MOVES_AT}th signed request on, or from `htx-async simulate "
    "move`",
}

_KEYS = """\
These keys were made up for this run. They open nothing but this simulation:
export HTX_ACCESS_KEY={access}
export HTX_SECRET_KEY={secret}

With them set, point a command or a session at it:
  htx-async cancel-all {code} --base-url {url}
  htx-async simulate status --base-url {url}
  HtxSession.from_env(base_urls="{url}")
"""

_KEYS_IN_FILE = """\
Keys made up for this run, which open nothing but this simulation, are in {file}, for your eyes
only; it goes with the simulation. In another terminal:
  {dot}
  htx-async cancel-all {code}
  htx-async simulate status
"""
