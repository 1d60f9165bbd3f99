"""The exchange's public list of contracts."""

import asyncio

from htx_async.errors import ReadFailed
from htx_async.means import Means
from htx_async.routes import v1
from htx_async.terms import MarginMode
from htx_async.timers import TimeLimit
from htx_async.wire import SendFailed, unsigned

_ROUNDS = 2
"""How often each base URL is asked."""


async def listed(means: Means, margin_mode: MarginMode, deadline: float) -> tuple[str, ...]:
    """Codes of all contracts that can have orders of `margin_mode`, within the public budget, by
    loop time `deadline`.

    Raises `ReadFailed` when no base URL tells.
    """
    problem = "no base URL answered in time"
    try:
        with TimeLimit(deadline):
            for base_url in [*means.base_urls] * _ROUNDS:
                await means.public.acquire()
                try:
                    return await _ask(means, base_url, margin_mode)
                except SendFailed as failure:
                    problem = f"{base_url}: {failure.reason}"
                except ValueError:
                    problem = f"{base_url}: the reply is no list of contracts"
    except TimeoutError:
        pass
    raise ReadFailed(
        f"the list of contracts could not be read ({problem}). No order was touched. Call again, "
        "or name the contracts."
    )


async def _ask(means: Means, base_url: str, margin_mode: MarginMode) -> tuple[str, ...]:
    loop = asyncio.get_running_loop()
    sending = means.transport.prepare(unsigned(v1.contracts(margin_mode), base_url))
    timeout = means.attempt_timeout
    answer = await sending.answer(timeout, timeout / 2)
    means.base_urls.note(base_url, loop.time(), connected=True)
    found = v1.read_contracts(answer)
    if not found:
        raise ValueError("an empty list")
    codes = (contract.contract_code for contract in found if contract.trades_in(margin_mode))
    return tuple(dict.fromkeys(codes))
