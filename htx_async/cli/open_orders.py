"""`htx-async open`: the open trailing orders, which nothing here changes."""

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import NamedTuple

from htx_async.arguments import as_seconds
from htx_async.cli.access import Access, access
from htx_async.cli.aside import Aside
from htx_async.cli.contracts import chosen
from htx_async.cli.exit_codes import UNKNOWN, USAGE
from htx_async.cli.given import Named, Orders, Reach
from htx_async.cli.intent import desk_of
from htx_async.cli.running import print_account, run, unless_stopped
from htx_async.enums import AllContracts, Direction, MarginMode, Offset
from htx_async.errors import ReadFailed
from htx_async.exchange.endpoints import READS, limit_of
from htx_async.orders import TrailingOrder
from htx_async.session import HtxSession

_ALLOWANCE = 10.0
_ROUND_TRIPS = 1.5
"""How much longer than the account's budget of reads alone many lists take."""

_MOST_SHOWN = 5


class Query(NamedTuple):
    """Which orders are asked for. `deadline`: seconds, None for what so many lists need."""

    contracts: tuple[str, ...] | AllContracts
    margins: tuple[MarginMode, ...]
    direction: Direction | None
    offset: Offset | None
    deadline: float | None


class Listed(NamedTuple):
    """Orders with their margin mode, how many contracts were read, and those that were not."""

    orders: tuple[tuple[MarginMode, TrailingOrder], ...]
    read: int
    failures: tuple[ReadFailed, ...]


def begin(
    named: Named, orders: Orders, deadline: float | None, reach: Reach, *, as_json: bool
) -> int:
    """The exit code, once the list is shown."""

    def asked() -> tuple[Query, Access]:
        contracts = chosen(named)
        within = None if deadline is None else as_seconds("deadline", deadline)
        return Query(contracts, *orders, within), access(reach)

    def work(runner: asyncio.Runner, aside: Aside) -> int:
        query, reached = asked()
        listed = unless_stopped(runner, _listed(query, reached, aside))
        return _shown(listed, as_json, aside)

    return run(work, untouched="no order was touched")


def _shown(listed: Listed, as_json: bool, aside: Aside) -> int:
    for failure in listed.failures[:_MOST_SHOWN]:
        aside.say(str(failure))
    if len(listed.failures) > _MOST_SHOWN:
        aside.say(f"{len(listed.failures) - _MOST_SHOWN} more contracts could not be read either.")
    aside.settle()
    problem = print_account(partial(_as_json if as_json else _drawn, listed))
    if problem:
        aside.say(f"The list could not be printed: {problem}.")
    if listed.failures:
        return UNKNOWN
    return USAGE if problem else 0


def _as_json(listed: Listed) -> bytes:
    # What the exchange left out of a row is known from the list that it stands in.
    rows = [{**row.model_dump(mode="json"), "margin_mode": mode} for mode, row in listed.orders]
    return json.dumps(rows, ensure_ascii=False).encode()


def _drawn(listed: Listed) -> str:
    # Only when there is something to draw.
    from htx_async.cli.listing import listing  # noqa: PLC0415 - see above

    return listing(listed.orders, listed.read, is_whole=not listed.failures)


async def _listed(query: Query, reached: Access, aside: Aside) -> Listed:
    async with reached.session(aside.say) as htx:
        found, failures = await _contracts(query, htx)
        share_of = 1 if reached.fleet is None else reached.fleet.share_of
        each = _ROUND_TRIPS / limit_of(READS).rate
        within = query.deadline or _ALLOWANCE + ceil(len(found) * each * share_of)
        reads = [
            desk_of(htx, margin).open_trailing(code, query.direction, query.offset, deadline=within)
            for margin, code in found
        ]
        answers = await asyncio.gather(*reads, return_exceptions=True)
    orders: list[tuple[MarginMode, TrailingOrder]] = []
    for (margin, _), answer in zip(found, answers, strict=True):
        if isinstance(answer, ReadFailed):
            failures.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            orders += ((margin, order) for order in answer)
    read = len(found) - sum(isinstance(answer, ReadFailed) for answer in answers)
    return Listed(tuple(orders), read, tuple(failures))


async def _contracts(
    query: Query, htx: HtxSession
) -> tuple[list[tuple[MarginMode, str]], list[ReadFailed]]:
    """What is to be read, and why the rest is not known."""
    found: list[tuple[MarginMode, str]] = []
    failures: list[ReadFailed] = []
    for margin in query.margins:
        codes: Sequence[str] = ()
        if not isinstance(query.contracts, AllContracts):
            codes = query.contracts
        else:
            try:
                codes = await desk_of(htx, margin).contracts()
            except ReadFailed as failure:
                failures.append(failure)
        found += ((margin, code) for code in codes)
    return found, failures
