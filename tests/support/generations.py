"""Accounts on v1, moved, or moving, and sessions of them, in virtual time."""

import asyncio
from typing import get_args

from htx_async import HtxSession
from htx_async.simulator import SimulatedExchange
from htx_async.simulator.account import V1Variant
from tests.support.virtual import virtual_session

CODE = "BTC-USDT"
WALL = 1_700_000_000.0
VARIANTS: tuple[str, ...] = get_args(V1Variant)


def wall() -> float:
    return WALL + asyncio.get_running_loop().time()


def exchange_of(
    account: str = "v1", variant: str = "answering", **more: object
) -> SimulatedExchange:
    clock = asyncio.get_running_loop().time
    settings = {"account": account, "v1_variant": variant, "clock": clock, "now": wall, **more}
    return SimulatedExchange(**settings)  # type: ignore[arg-type]  # chosen by parameters


def session_of(exchange: SimulatedExchange, **settings: object) -> HtxSession:
    settings = {"generation": "auto", "now": wall, **settings}
    return virtual_session(exchange, **settings)  # type: ignore[arg-type]  # as above
