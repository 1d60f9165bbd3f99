"""Who cancels: this SDK, and what users would write. Each calls all contracts off at once.

Each library is loaded where it is installed, and there only.
"""
# ruff: noqa: PLC0415 - each in the environment that has it, see above

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.peers import ACCESS_KEY, PATH, SECRET_KEY
from benchmarks.time_to_flat.situations import ATTEMPT_TIMEOUT, Situation

if TYPE_CHECKING:
    from htx_async.enums import GenerationLike

_SUCCESS, _TOO_MANY, _NOTHING = 200, 1032, 1051

AFTER_REFUSAL = 1.0
"""Seconds after which users' code asks again where it was refused for the rate."""

_OPENS, _CANCEL = "/v5/algo/order/opens", "/v5/algo/cancel_orders"

MassCancel = Callable[[], Awaitable[dict[str, Any]]]
"""All contracts together. When it `began` on the machine's clock, after how many seconds its caller
was `told`, and what."""

_ACCOUNTS = (f"account {number}" for number in itertools.count())


@asynccontextmanager
async def _ours(situation: Situation, urls: Sequence[str]) -> AsyncIterator[MassCancel]:
    from htx_async import ALL_CONTRACTS, Credentials, HtxSession

    codes = ALL_CONTRACTS if situation.is_all else situation.codes
    credentials = Credentials(ACCESS_KEY, SECRET_KEY)
    generation: GenerationLike = "v5" if situation.is_known else "auto"
    async with HtxSession(
        credentials,
        base_urls=urls,
        # Limiters outlive sessions, and a new run must not inherit what the one before has used.
        account=next(_ACCOUNTS),
        attempt_timeout=ATTEMPT_TIMEOUT,
        generation=generation,
    ) as htx:

        async def cancel() -> dict[str, Any]:
            if situation.is_all:
                # A plan needs the list, which the mass cancel reads once more.
                await htx.contracts()
            plan, began = htx.plan(codes), time.monotonic()
            report = await htx.mass_cancel_trailing(codes)
            return {
                "began": began,
                "told": time.monotonic() - began,
                "plan": (plan.least_seconds, plan.seconds),
                "report": json.loads(report.model_dump_json()),
            }

        yield cancel


@asynccontextmanager
async def _by_hand(situation: Situation, urls: Sequence[str]) -> AsyncIterator[MassCancel]:
    """aiohttp, `AsyncLimiter(5, 1)` and `gather`; on V5, when it is known to be needed."""
    import aiohttp
    from aiolimiter import AsyncLimiter
    from yarl import URL

    from benchmarks.peers.by_hand import signed

    timeout = aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT)
    reads, limiter = AsyncLimiter(72, 3), AsyncLimiter(5, 1)
    async with aiohttp.ClientSession(timeout=timeout) as http:

        async def ask(
            limited: AsyncLimiter, method: str, path: str, body: object = None, **asked: str
        ) -> dict[str, Any]:
            while True:
                async with limited:
                    url = URL(signed(urls[0], path, method, **asked), encoded=True)
                    async with http.request(method, url, json=body) as response:
                        reply: dict[str, Any] = await response.json(content_type=None)
                if _TOO_MANY not in (reply.get("err_code"), reply.get("code")):
                    return reply
                await asyncio.sleep(AFTER_REFUSAL)

        async def on_v1(code: str) -> str:
            reply = await ask(limiter, "POST", PATH, {"contract_code": code})
            refusal = reply.get("err_code")
            return "" if refusal in (None, _NOTHING) else str(refusal)

        async def on_v5(code: str) -> str:
            asked = {"type": "trailing_stop", "contract_code": code, "limit": "100"}
            rows = (await ask(reads, "GET", _OPENS, **asked))["data"]
            items = [{"contract_code": code, "algo_id": row["algo_id"]} for row in rows]
            reply = await ask(limiter, "POST", _CANCEL, items)
            return "" if reply["code"] == _SUCCESS else str(reply["code"])

        yield _gathered(on_v5 if situation.is_known else on_v1, situation.codes)


@asynccontextmanager
async def _ccxt(situation: Situation, urls: Sequence[str]) -> AsyncIterator[MassCancel]:
    """Its cancel-all of each contract, its limiter set to five a second: as it comes it lets ten
    go, and an exchange that counts what it refuses takes five of them, and then none."""
    import ccxt  # type: ignore[import-not-found]  # another venv

    from benchmarks.peers.clients import ccxt_htx, ccxt_symbol

    filters = {"trailing": True, "marginMode": "isolated"}
    settings = {"rateLimit": 200, "timeout": round(ATTEMPT_TIMEOUT * 1000)}
    async with ccxt_htx(urls[0], situation.codes, **settings) as exchange:

        async def cancel(code: str) -> str:
            while True:
                try:
                    await exchange.cancel_all_orders(ccxt_symbol(code), dict(filters))
                except ccxt.InvalidOrder:
                    # 1051, nothing to cancel.
                    return ""
                except ccxt.ExchangeError as error:
                    if f'"err_code":{_TOO_MANY}' not in str(error):
                        raise
                    await asyncio.sleep(AFTER_REFUSAL)
                else:
                    return ""

        yield _gathered(cancel, situation.codes)


def _gathered(cancel: Callable[[str], Awaitable[str]], codes: Sequence[str]) -> MassCancel:
    """`cancel` of every contract at once; what went wrong, with how many of them."""

    async def all_of_them() -> dict[str, Any]:
        began = time.monotonic()
        ended = await asyncio.gather(*map(cancel, codes), return_exceptions=True)
        told = time.monotonic() - began
        words = (type(one).__name__ if isinstance(one, BaseException) else one for one in ended)
        return {"began": began, "told": told, "problems": Counter(filter(None, words))}

    return all_of_them


CLIENTS: dict[
    str, Callable[[Situation, Sequence[str]], AbstractAsyncContextManager[MassCancel]]
] = {"htx_async": _ours, "by_hand": _by_hand, "ccxt": _ccxt}
"""Each is opened for a situation, at the exchange's base URLs."""

STANDS_ON = {
    "htx_async": ("htx-async", "aiohttp", "pydantic"),
    "by_hand": ("aiohttp", "aiolimiter"),
    "ccxt": ("ccxt", "aiohttp"),
}
