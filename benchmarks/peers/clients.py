"""The clients that are compared: each opens once, and then makes the same call again and again.

Each library is loaded where it is installed, and there only.
"""
# ruff: noqa: PLC0415 - each in the environment that has it, see above

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, NamedTuple

from benchmarks.peers import ACCESS_KEY, BODY, SECRET_KEY

_SYMBOL = "BTC/USDT:USDT"


class Client(NamedTuple):
    """The call that is measured, and which orders its result names as taken, which is not."""

    call: Callable[[], Awaitable[Any]]
    taken: Callable[[Any], list[str]]


class _Held:
    def not_sent(self) -> None:
        pass


class _Unlimited:
    """A limiter that lets everything through, so that nothing but the call is measured."""

    def take(self, endpoint: str, *, urgent: bool = False) -> Any:
        return nullcontext(_Held())

    def pause(self, endpoint: str, seconds: float) -> None:
        pass

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
        return None


@asynccontextmanager
async def _floor(base_url: str, order_id: str) -> AsyncIterator[Client]:
    """A POST that was signed once, and whose answer nobody reads."""
    import aiohttp
    from yarl import URL

    from benchmarks.peers.by_hand import Reply, signed

    url = URL(signed(base_url), encoded=True)
    body = json.dumps(BODY).encode()
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession() as http:

        async def call() -> bytes:
            async with http.post(url, data=body, headers=headers) as response:
                return await response.read()

        yield Client(call, lambda raw: Reply.model_validate_json(raw).data.ids())


@asynccontextmanager
async def _aiohttp(base_url: str, order_id: str) -> AsyncIterator[Client]:
    import aiohttp
    from yarl import URL

    from benchmarks.peers.by_hand import Reply, signed

    async with aiohttp.ClientSession() as http:

        async def call() -> Reply:
            url = URL(signed(base_url), encoded=True)
            async with http.post(url, json=BODY) as response:
                response.raise_for_status()
                return Reply.model_validate_json(await response.read())

        yield Client(call, lambda reply: reply.data.ids())


@asynccontextmanager
async def _httpx(base_url: str, order_id: str) -> AsyncIterator[Client]:
    import httpx  # type: ignore[import-not-found]  # another venv

    from benchmarks.peers.by_hand import Reply, signed

    async with httpx.AsyncClient() as http:

        async def call() -> Reply:
            response = await http.post(signed(base_url), json=BODY)
            response.raise_for_status()
            return Reply.model_validate_json(response.content)

        yield Client(call, lambda reply: reply.data.ids())


@asynccontextmanager
async def _ours(base_url: str, order_id: str) -> AsyncIterator[Client]:
    from htx_async import Credentials, HtxSession

    credentials = Credentials(ACCESS_KEY, SECRET_KEY)
    async with HtxSession(credentials, base_urls=base_url, limiter=_Unlimited()) as htx:
        yield Client(
            lambda: htx.cancel_all_trailing("BTC-USDT", "buy", "close"),
            lambda report: list(report.successes),
        )


@asynccontextmanager
async def _ccxt(base_url: str) -> AsyncIterator[Any]:
    """An exchange that limits nothing and knows its one market without asking for it."""
    import ccxt.async_support as ccxt  # type: ignore[import-not-found]  # another venv

    keys = {"apiKey": ACCESS_KEY, "secret": SECRET_KEY}
    exchange = ccxt.htx({**keys, "enableRateLimit": False})
    scheme, _, exchange.urls["hostnames"]["contract"] = base_url.partition("://")
    exchange.urls["api"]["contract"] = f"{scheme}://{{hostname}}"
    market = {
        **{"id": "BTC-USDT", "symbol": _SYMBOL, "base": "BTC", "quote": "USDT", "settle": "USDT"},
        **{"baseId": "BTC", "quoteId": "USDT", "settleId": "USDT", "type": "swap"},
        **{"contract": True, "swap": True, "future": False, "spot": False, "option": False},
        **{"linear": True, "inverse": False, "active": True, "contractSize": 0.001},
        "precision": {"amount": 1.0, "price": 0.1},
        "limits": {},
        "info": {},
    }
    exchange.set_markets([market])
    try:
        yield exchange
    finally:
        await exchange.close()


def _ids(orders: list[dict[str, Any]]) -> list[str]:
    return [order["id"] for order in orders]


@asynccontextmanager
async def _ccxt_last(base_url: str, order_id: str) -> AsyncIterator[Client]:
    filters = {"trailing": True, "marginMode": "isolated", "direction": "buy", "offset": "close"}
    async with _ccxt(base_url) as exchange:
        yield Client(lambda: exchange.cancel_all_orders(_SYMBOL, dict(filters)), _ids)


@asynccontextmanager
async def _ccxt_newest(base_url: str, order_id: str) -> AsyncIterator[Client]:
    """It no longer has the endpoint, and its cancel-all no longer reaches trailing orders; what it
    has is a cancel of single ones, on V5."""
    async with _ccxt(base_url) as exchange:
        yield Client(
            lambda: exchange.cancel_order(order_id, _SYMBOL, {"trailing": True}),
            lambda order: _ids([order]),
        )


CLIENTS: dict[str, Callable[[str, str], AbstractAsyncContextManager[Client]]] = {
    "floor": _floor,
    "aiohttp": _aiohttp,
    "htx_async": _ours,
    "httpx": _httpx,
    "ccxt_last": _ccxt_last,
    "ccxt_newest": _ccxt_newest,
}
"""Each is opened with a base URL, and the id of an order for those that cancel single ones."""
