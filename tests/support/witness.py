"""Sessions that keep step with the clock of a simulated exchange, and one that looks on."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from htx_async import HtxSession
from htx_async.simulator import Reply, Request, SimulatedExchange
from tests.support.virtual import virtual_session

BTC = "BTC-USDT"
START = 1_700_000_000
HALF_A_TICK = 0.01


def now() -> float:
    return asyncio.get_running_loop().time()


class Witness(SimulatedExchange):
    """An exchange that lets a test look on, and act, at each arrival."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.before: Callable[[str], object] = lambda call: None

    def handle(self, request: Request) -> Reply:
        self.before(request.path.rsplit("_", 1)[-1])
        return super().handle(request)


def in_step(**options: Any) -> Witness:
    """An exchange whose wall clock goes with the loop's."""
    loop = asyncio.get_running_loop()
    return Witness(clock=loop.time, now=lambda: START + loop.time(), **options)


def v1_session(
    exchange: SimulatedExchange,
    latency: Callable[[], float] = lambda: 0.02,
    *,
    skew: float = 0.0,
    **settings: Any,
) -> HtxSession:
    """A session on v1 whose wall clock is `skew` seconds ahead of the exchange's."""
    loop = asyncio.get_running_loop()
    settings.setdefault("now", lambda: START + skew + loop.time())
    return virtual_session(exchange, latency, **settings)


def asked(exchange: SimulatedExchange, call: str) -> list[float]:
    """When requests for this list arrived."""
    return [one.at for one in exchange.arrivals if one.path.endswith(f"_{call}")]


def page(*rows: Any, pages: int, size: int) -> bytes:
    data = {"orders": rows, "total_page": pages, "current_page": 1, "total_size": size}
    return json.dumps({"status": "ok", "data": data, "ts": START * 1000}).encode()


def row_of(order_id: str) -> dict[str, object]:
    return {"order_id_str": order_id, "contract_code": BTC, "direction": "buy", "offset": "open"}
