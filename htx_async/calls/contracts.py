"""The exchange's public list of contracts."""

import asyncio

from htx_async.aio.timers import TimeLimit
from htx_async.calls.resources import Resources
from htx_async.enums import MarginMode
from htx_async.errors import ReadFailed
from htx_async.exchange import v1
from htx_async.exchange.messages import SendFailed, unsigned

_ROUNDS = 2
"""How often each base URL is asked."""


async def listed(resources: Resources, margin_mode: MarginMode, deadline: float) -> tuple[str, ...]:
    """Codes of all contracts that can have orders of `margin_mode`, within the public budget, by
    loop time `deadline`.

    Raises `ReadFailed` when no base URL tells.
    """
    loop = asyncio.get_running_loop()
    problem = "no base URL answered in time"
    limit = TimeLimit(deadline)
    part = _Part(limit)
    try:
        with limit, resources.live.holding(part):
            itinerary = resources.base_urls.itinerary(loop.time())
            for _ in [*resources.base_urls] * _ROUNDS:
                await resources.public.acquire()
                began = loop.time()
                base_url = itinerary.choose(began)
                try:
                    return await _ask(resources, base_url, margin_mode)
                except SendFailed as failure:
                    problem, is_sick = f"{base_url}: {failure.reason}", failure.is_of_host
                except ValueError:
                    problem, is_sick = f"{base_url}: the reply is no list of contracts", True
                if is_sick:
                    now = loop.time()
                    resources.base_urls.note(base_url, now, answered=False, took=now - began)
                itinerary.advance()
    except TimeoutError:
        problem = part.reason or problem
    raise ReadFailed(
        f"the list of contracts could not be read ({problem}). No order was touched. Call again, "
        "or name the contracts."
    )


class _Part:
    """What goes on in the session, and ends as soon as that is closed: nothing is lost with it."""

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit
        self.reason = ""

    def hold_back(self, reason: str) -> None:
        self.stop(reason)

    def stop(self, reason: str) -> None:
        self.reason = reason
        self._limit.expire()

    def extend(self, deadline: float) -> None:
        """It has its own time."""


async def _ask(resources: Resources, base_url: str, margin_mode: MarginMode) -> tuple[str, ...]:
    sending = resources.transport.prepare(unsigned(v1.contracts(margin_mode), base_url))
    timeout, began = resources.attempt_timeout, asyncio.get_running_loop().time()
    answer = await sending.answer(timeout, timeout / 2)
    found = v1.read_contracts(answer)
    if not found:
        raise ValueError("an empty list")
    now = asyncio.get_running_loop().time()
    resources.base_urls.note(base_url, now, answered=True, took=now - began)
    codes = (contract.contract_code for contract in found if contract.trades_in(margin_mode))
    return tuple(dict.fromkeys(codes))
