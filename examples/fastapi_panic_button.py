"""A panic button: POST /cancel pulls the trailing orders of both margin modes, and says what is so.

    PANIC_SECRET=... python examples/fastapi_panic_button.py --live BTC-USDT ETH-USDT
    curl --fail-with-body -X POST -H "X-Panic-Secret: $PANIC_SECRET" http://127.0.0.1:8000/cancel

HTTP 200 means that the exchange's lists show no such order any more, and nothing less does; 503 has
the same report, with what is still open or not known. One session serves the application's life,
so its connections are warm and its limit is counted once: one worker, or `HostTokenBucket`.
Needs fastapi and uvicorn. The rehearsal presses the button itself, first with a wrong secret.
"""

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aiohttp
import uvicorn
from _where import Where, chosen
from fastapi import FastAPI, Header, HTTPException, Response

from htx_async import HtxSession, MassCancelReport

CONTRACTS = ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
PORT, LEAST = 8000, 16


def told(report: MassCancelReport) -> dict[str, Any]:
    """What is known, for whoever pressed the button."""
    doubtful = [each for each in report.reports if not (each.is_clear and each.confirmed)]
    return {
        "outcome": report.outcome,
        "cancelled": len(report.successes),
        "triggered": [one for each in report.reports for one in each.triggered],
        "look_at": {each.contract_code: each.message for each in doubtful},
    }


def application(where: Where, secret: str) -> FastAPI:
    session: HtxSession

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        nonlocal session
        async with where.session(keep_warm=True) as session:
            await session.warm_up()
            yield

    app = FastAPI(lifespan=life, openapi_url=None)

    @app.post("/cancel")
    async def cancel(response: Response, x_panic_secret: Annotated[str, Header()]) -> object:
        if not secrets.compare_digest(x_panic_secret.encode(), secret.encode()):
            raise HTTPException(403, "X-Panic-Secret is wrong; nothing was sent")
        how: Any = {"deadline": 30.0, "urgent": True, "confirm": True}
        isolated, cross = await asyncio.gather(
            session.mass_cancel_trailing(where.contracts, **how),
            session.cross.mass_cancel_trailing(where.contracts, **how),
        )
        both = {"isolated": told(isolated), "cross": told(cross)}
        response.status_code = 503 if any(one["look_at"] for one in both.values()) else 200
        return both

    return app


async def press(url: str, secret: str) -> int:
    headers = {"X-Panic-Secret": secret}
    async with aiohttp.ClientSession() as http, http.post(url, headers=headers) as response:
        print(response.status, await response.text())
        return response.status


async def main(where: Where) -> int:
    secret = os.environ.get("PANIC_SECRET", "") if where.exchange is None else secrets.token_hex()
    if len(secret) < LEAST:
        sys.exit(f"PANIC_SECRET must have {LEAST} characters or more: nothing was sent")
    async with where:
        listener = socket.create_server(("127.0.0.1", PORT if where.exchange is None else 0))
        server = uvicorn.Server(uvicorn.Config(application(where, secret), log_level="warning"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        if where.exchange is not None:
            where.exchange.place("ETH-USDT", "sell", "close", 2)
            where.exchange.place("ETH-USDT", "sell", "close", 2, margin_mode="cross")
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/cancel"
            await press(url, "wrong")
            await press(url, secret)
            server.should_exit = True
        await serving
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(chosen(CONTRACTS))))
