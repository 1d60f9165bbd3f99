"""The clients that are compared: each opens once, and then makes the same call again and again.

Each library is loaded where it is installed, and there only.
"""
# ruff: noqa: PLC0415 - each in the environment that has it, see above

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, NamedTuple

from benchmarks.peers import ACCESS_KEY, BODY, SECRET_KEY

_CONTRACT = "BTC-USDT"


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
        # Whoever comes has a token at once, so that each call is a request of its own.
        return 0.0


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
async def ccxt_htx(
    base_url: str, contract_codes: Iterable[str] = (_CONTRACT,), **settings: Any
) -> AsyncIterator[Any]:
    """Its client, which knows these markets without asking for them. `settings`: its own."""
    import ccxt.async_support as ccxt  # type: ignore[import-not-found]  # another venv

    exchange = ccxt.htx({"apiKey": ACCESS_KEY, "secret": SECRET_KEY, **settings})
    scheme, _, exchange.urls["hostnames"]["contract"] = base_url.partition("://")
    exchange.urls["api"]["contract"] = f"{scheme}://{{hostname}}"
    exchange.set_markets([_market(code) for code in contract_codes])
    try:
        yield exchange
    finally:
        await exchange.close()


def ccxt_symbol(contract_code: str) -> str:
    """What ccxt calls a contract."""
    return f"{contract_code.replace('-', '/')}:USDT"


def _market(code: str) -> dict[str, Any]:
    base, _, _ = code.partition("-")
    return {
        **{"id": code, "symbol": ccxt_symbol(code), "base": base, "quote": "USDT"},
        **{"settle": "USDT", "baseId": base, "quoteId": "USDT", "settleId": "USDT"},
        **{"type": "swap", "contract": True, "swap": True, "future": False, "spot": False},
        **{"option": False, "linear": True, "inverse": False, "active": True},
        "contractSize": 0.001,
        "precision": {"amount": 1.0, "price": 0.1},
        "limits": {},
        "info": {},
    }


def _ids(orders: list[dict[str, Any]]) -> list[str]:
    return [order["id"] for order in orders]


@asynccontextmanager
async def _ccxt_last(base_url: str, order_id: str) -> AsyncIterator[Client]:
    filters = {"trailing": True, "marginMode": "isolated", "direction": "buy", "offset": "close"}
    # Nothing but the call is measured.
    async with ccxt_htx(base_url, enableRateLimit=False) as exchange:
        yield Client(
            lambda: exchange.cancel_all_orders(ccxt_symbol(_CONTRACT), dict(filters)), _ids
        )


@asynccontextmanager
async def _ccxt_newest(base_url: str, order_id: str) -> AsyncIterator[Client]:
    """It no longer has the endpoint, and its cancel-all no longer reaches trailing orders; what it
    has is a cancel of single ones, on V5."""
    # Nothing but the call is measured.
    async with ccxt_htx(base_url, enableRateLimit=False) as exchange:
        yield Client(
            lambda: exchange.cancel_order(order_id, ccxt_symbol(_CONTRACT), {"trailing": True}),
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
