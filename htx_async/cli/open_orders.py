"""`htx-async open`: the open trailing orders, which nothing here changes."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any, NamedTuple

from htx_async.arguments import as_seconds
from htx_async.cli.access import Access, access, tell_of_urls
from htx_async.cli.aside import Aside
from htx_async.cli.contracts import chosen
from htx_async.cli.exit_codes import UNKNOWN, USAGE
from htx_async.cli.given import Named, Orders, Reach
from htx_async.cli.intent import desk_of
from htx_async.cli.key_refusals import KEY_REFUSED, REFUSED, KeyRefusals
from htx_async.cli.running import print_report, run, unless_stopped
from htx_async.cli.streams import json_of
from htx_async.cli.words import V1_ALONE, count
from htx_async.codes import CodeClass
from htx_async.enums import ALL_CONTRACTS, AllContracts, Direction, MarginMode, Offset, Verdict
from htx_async.errors import ReadFailed, SessionClosed
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
    """Orders with their margin mode; how each mode was read, in words; why the rest is not known,
    and of how many contracts. `is_v1_given`: whether V5 was not to be asked."""

    orders: tuple[tuple[MarginMode, TrailingOrder], ...]
    read: tuple[str, ...]
    failures: tuple[ReadFailed, ...]
    is_v1_given: bool

    @property
    def may_have_moved(self) -> bool:
        """Whether v1 alone was asked, and has shown no order: see `Result`."""
        return self.is_v1_given and bool(self.read) and not self.orders


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
        tell_of_urls(reached.base_urls, aside.say)
        listed = unless_stopped(runner, _listed(query, reached, aside))
        return _shown(listed, as_json, aside)

    return run(work, untouched="no order was touched")


def _shown(listed: Listed, as_json: bool, aside: Aside) -> int:
    told = told_together(listed.failures)
    for text, _ in told[:_MOST_SHOWN]:
        aside.say(text)
    if rest := sum(number for _, number in told[_MOST_SHOWN:]):
        aside.say(f"{count(rest, 'more contract')} could not be read either.")
    if as_json and listed.read:
        # An array has no room for it.
        aside.say(read_in_words(listed.read, is_whole=not listed.failures))
    if listed.may_have_moved:
        aside.say(V1_ALONE)
    aside.settle()
    problem = print_report(partial(_as_json if as_json else _drawn, listed))
    if problem:
        aside.say(f"The list could not be printed: {problem}.")
    if listed.failures:
        return UNKNOWN
    return USAGE if problem else 0


def told_together(failures: Sequence[ReadFailed]) -> list[tuple[str, int]]:
    """Why lists could not be read, and how many of them: once, where many share it."""
    of: dict[str, dict[str, list[str]]] = {}
    for failure in failures:
        named, _, why = str(failure).partition(_UNREAD)
        owner, whose, mode = named.partition(_WHOSE)
        # Whatever is said of no list stands as it is.
        told = (mode, owner, why) if whose and why else ("", "", str(failure))
        of.setdefault(told[2], {}).setdefault(told[0], []).append(told[1])
    return [(_told_of(modes, why), sum(map(len, modes.values()))) for why, modes in of.items()]


def _told_of(modes: Mapping[str, Sequence[str]], why: str) -> str:
    lists = (f"{', '.join(owners)}{_WHOSE}{mode}" for mode, owners in modes.items() if mode)
    named = "; ".join(lists)
    return f"{named}{_UNREAD}{why}" if named else why


_WHOSE = "'s open trailing orders"
_UNREAD = " could not be read: "


def _as_json(listed: Listed) -> bytes:
    # What the exchange left out of a row is known from the list that it stands in.
    rows = [{**row.model_dump(mode="json"), "margin_mode": mode} for mode, row in listed.orders]
    return json_of(rows)


def _drawn(listed: Listed) -> str:
    # Only when there is something to draw.
    from htx_async.cli.listing import listing  # noqa: PLC0415 - see above

    is_whole = not listed.failures
    read = read_in_words(listed.read, is_whole=is_whole)
    if not listed.read:
        return f"{read}\n"
    return listing(listed.orders, read, is_whole=is_whole)


def read_in_words(read: Sequence[str], *, is_whole: bool) -> str:
    """How the margin modes were read, as far as they could be."""
    if not read:
        return "Nothing could be read."
    return f"Read: {'; '.join(read)}{'' if is_whole else '; others could not be read'}."


async def _listed(query: Query, reached: Access, aside: Aside) -> Listed:
    refusals = KeyRefusals()
    async with reached.session(aside.say, refusals) as htx:
        refusals.begin(htx.warm_up)
        share_of = 1 if reached.fleet is None else reached.fleet.share_of
        modes = [_Reading(htx, query, mode, share_of) for mode in query.margins]
        reading = asyncio.gather(*(one.read() for one in modes))
        refused = asyncio.create_task(refusals.came.wait())
        ends: list[asyncio.Future[Any]] = [reading, refused]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        refusals.end()
        if refused.done() and not reading.done():
            aside.say(KEY_REFUSED)
            await htx.aclose(reason=REFUSED)
        refused.cancel()
        await reading
    return Listed(
        orders=tuple((one.mode, order) for one in modes for order in one.orders),
        read=tuple(one.told for one in modes if one.told),
        failures=tuple(failure for one in modes for failure in one.failures),
        is_v1_given=reached.is_v1_given,
    )


class _Reading:
    """The open orders of one margin mode: cross margin has one list of the account on v1, isolated
    margin one for each contract."""

    def __init__(self, htx: HtxSession, query: Query, mode: MarginMode, share_of: int) -> None:
        self.mode = mode
        self.orders: list[TrailingOrder] = []
        self.failures: list[ReadFailed] = []
        self.told = ""
        self._htx = htx
        self._query = query
        self._share_of = share_of

    async def read(self) -> None:
        """All that is asked for; what could not be had is in `failures`."""
        codes = self._query.contracts
        is_many = isinstance(codes, AllContracts) or len(codes) > 1
        if self.mode is MarginMode.CROSS and is_many and await self._read_account():
            return
        if isinstance(codes, AllContracts):
            try:
                codes = await desk_of(self._htx, self.mode).contracts()
            except ReadFailed as failure:
                self.failures.append(failure)
                return
        await self._read_each(codes)

    async def _read_account(self) -> bool:
        """Whether one list has told it all, or nothing else would."""
        query = self._query
        within = query.deadline or _ALLOWANCE
        try:
            rows = await self._htx.cross.open_trailing(
                ALL_CONTRACTS, query.direction, query.offset, deadline=within
            )
        except ReadFailed as failure:
            # V5 is not known to have such a list.
            if _may_be_elsewhere(failure):
                return False
            self.failures.append(failure)
            return True
        codes = query.contracts
        named = None if isinstance(codes, AllContracts) else {*codes}
        self.orders += (r for r in rows if named is None or r.contract_code.upper() in named)
        self.told = "cross margin: the whole account, by one list"
        return True

    async def _read_each(self, codes: Sequence[str]) -> None:
        query, calls = self._query, desk_of(self._htx, self.mode)
        each = _ROUND_TRIPS / limit_of(READS).rate
        within = query.deadline or _ALLOWANCE + ceil(len(codes) * each * self._share_of)
        reads = (
            calls.open_trailing(code, query.direction, query.offset, deadline=within)
            for code in codes
        )
        answers = await asyncio.gather(*reads, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, ReadFailed):
                self.failures.append(answer)
            elif isinstance(answer, SessionClosed):
                self.failures.append(ReadFailed(REFUSED))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self.orders += answer
        read = len(answers) - len(self.failures)
        if read:
            by = "one list" if read == 1 else "a list each"
            self.told = f"{self.mode} margin: {count(read, 'contract')}, by {by}"


def _may_be_elsewhere(failure: ReadFailed) -> bool:
    """Whether it says nothing of the account's orders, since they may be on V5."""
    last = failure.attempts[-1] if failure.attempts else None
    if last is None or last.verdict is Verdict.UNKNOWN:
        return False
    return last.verdict is Verdict.ACCEPTED or last.code_class in _ELSEWHERE


_ELSEWHERE = (CodeClass.MIGRATED, CodeClass.RETIRED, CodeClass.NOT_RETRYABLE)
