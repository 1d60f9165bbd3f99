"""The calls of a history, each judged at the moment when it ends by what the exchange saw of it."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st

from htx_async import (
    ApiGeneration,
    CancelError,
    CancelReport,
    HtxSession,
    MarginMode,
    MassCancelReport,
    ReadFailed,
    SessionClosed,
    TrailingOrder,
)
from htx_async.events import CallEnded, CallStarted, Event, TokenGranted
from htx_async.exchange.endpoints import CANCEL, CANCEL_ALL, READS, V5_CANCEL
from tests.support.book import GRAIN, Book, Evidence, Letter, Wanted, assert_still_true, assert_true
from tests.support.ledger import CALLS_LETTERS, CONTRACTS, LETTERS, RIDERS, Ledger, Line
from tests.support.virtual import virtual_session

DEADLINE = 10.0
"""Seconds, for a call without its own."""

_HEARD: ContextVar[list[CancelReport]] = ContextVar("heard")


def now() -> float:
    return asyncio.get_running_loop().time()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Draft(NamedTuple):
    """What calls have in common."""

    session: int
    code: str
    margin: str
    filters: tuple[str | None, str | None]
    deadline: float | None
    urgent: bool

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.code, self.margin, *self.filters)

    def margin_calls(self, htx: HtxSession) -> Any:
        """The session's calls for this margin mode."""
        return htx.cross if self.margin == "cross" else htx


MARGINS = st.sampled_from(("isolated", "isolated", "cross"))
CODES = st.sampled_from(CONTRACTS[:3])
INDEX = st.integers(0, 11)
TIMES = st.sampled_from((1, 1, 2, 5))
ANY = (None, None)
DRAFTS = st.builds(
    Draft,
    INDEX,
    CODES,
    MARGINS,
    st.sampled_from((ANY, ANY, ("buy", None), (None, "close"), ("sell", "open"))),
    st.sampled_from((None, None, None, 0.05, 0.3, 1.0, 2.5, 6.0)),
    st.booleans(),
)
CALLS = st.sampled_from(
    ("cancelall", "cancelall", "cancel", "openorders", "hisorders", "v5_opens", "v5_cancel", "any")
)


def opened(line: Line, **settings: Any) -> HtxSession:
    """One more session of the account."""
    settings = {"on_event": _heard, "now": line.ledger.wall, **settings}
    session = virtual_session(line.ledger, **settings)
    session._opening.transport = line  # type: ignore[assignment]  # the seam
    return session


def _heard(event: Event) -> None:
    if isinstance(event, CallStarted):
        CALLS_LETTERS[event.call] = LETTERS.get()
    if isinstance(event, TokenGranted):
        RIDERS.append((event.call, event.contract_codes))
    if isinstance(event, CallEnded):
        _HEARD.get().append(event.report)


class Undertaking:
    """One call of a history, judged at the moment when it ends.

    `until`: tells, as it begins, the loop time by which it has to be over. `is_whole`: the
    listener's reports are those of whole calls, not of single rounds. `listed`: those contracts of
    `wanted` that have to be told of; None: all, in their order.
    """

    def __init__(
        self,
        session: HtxSession,
        ledger: Ledger,
        wanted: Sequence[Wanted],
        call: Callable[[], Awaitable[Any]],
        until: Callable[[], float],
        *,
        is_mass: bool = False,
        is_history: bool = False,
        is_whole: bool = True,
        listed: Collection[str] | None = None,
        since: float = -math.inf,
    ) -> None:
        self.session = session
        self.ledger = ledger
        self.wanted = {each.contract_code: each for each in wanted}
        self.latest = math.inf
        self.letters: list[Letter] = []
        self.heard: list[CancelReport] = []
        self.reports: list[CancelReport] = []
        self.is_cancelled = False
        self.is_mass = is_mass
        self._is_history = is_history
        self._is_whole = is_whole
        self._listed = listed
        self._since = since
        self._until = until
        self._call = call
        self.began = ledger.loop.time()
        context = copy_context()
        context.run(LETTERS.set, self.letters)
        context.run(_HEARD.set, self.heard)
        self.task = ledger.loop.create_task(self._carried(), context=context)

    @property
    def weight(self) -> int:
        """How many requests it may queue at once."""
        return 2 * sum(1 + len(wanted.order_ids) // 10 for wanted in self.wanted.values())

    @property
    def has_time(self) -> bool:
        """Whether it has no deadline that is tighter than the default."""
        return self.latest - self.began >= DEADLINE

    def cancel(self) -> None:
        """Cancel its task: a mass cancel may take a second to account for it."""
        self.is_cancelled = self.task.cancel() or self.is_cancelled
        self.latest = min(self.latest, self.ledger.loop.time() + (1.0 if self.is_mass else 0.0))

    def assert_still_true(self) -> None:
        for report in self.reports:
            assert_still_true(report, self._evidence(report))

    async def _carried(self) -> None:
        told: object = None
        self.began, self.latest = now(), min(self.latest, self._until())
        try:
            told = await self._call()
        except CancelError as error:
            told = error.report
        except (ReadFailed, SessionClosed) as error:
            told = error
        except asyncio.CancelledError:
            assert self.is_cancelled
        finally:
            late = now() - self.latest
        assert late <= 0.05, f"it ended {late:.3f} s after its deadline"
        self._judge(told)

    def _judge(self, told: object) -> None:
        book = self.ledger.noted()
        if isinstance(told, CancelReport):
            assert self.heard == [told]
            self.reports = [told]
            assert told.elapsed == pytest.approx(now() - self.began, abs=GRAIN)
        elif isinstance(told, MassCancelReport):
            self.reports = list(told.reports)
            codes = [report.contract_code for report in self.reports]
            if self._listed is None:
                assert codes == list(self.wanted)
            else:
                assert {*self._listed} <= {*codes}, "a contract is left out"
                assert len({*codes}) == len(codes)
            assert not self._is_whole or set(map(id, self.heard)) <= set(map(id, self.reports))
        elif isinstance(told, SessionClosed):
            assert not self.letters
        elif isinstance(told, tuple):
            self._assert_rows(told, book)
        elif self._is_whole:
            self.reports = self.heard
        for report in self.reports:
            seen = self._evidence(report)
            try:
                assert_true(report, seen)
            except AssertionError as error:
                letters = "\n".join(map(str, seen.letters))
                error.add_note(f"{report!r}\nat {now():.3f}, of {seen.wanted}\n{letters}")
                raise

    def _evidence(self, report: CancelReport) -> Evidence:
        code = report.contract_code
        mine = id(self.letters)
        letters = [x for x in self.letters if code in x.codes and code in x.parts[mine]]
        shared = [letter for letter in self.letters if not letter.codes]
        return Evidence(self.wanted[code], self.began, letters, self.ledger.book, shared)

    def _assert_rows(self, rows: tuple[TrailingOrder, ...], book: Book) -> None:
        """A list holds what was so for the whole time, and nothing that was not so for any."""
        (wanted,) = self.wanted.values()
        shown = {row.order_id for row in rows}
        assert all(wanted.may_mean(book.placed[i][0]) for i in shown), "a stranger's"
        placed = book.placed.items()
        since = self.began - (book.lag if any(letter.is_v5 for letter in self.letters) else 0.0)
        meant = {i for i, (order, at) in placed if at <= since and wanted.may_mean(order)}
        earlier = {i for i, at in book.ended.items() if at < self.began - GRAIN}
        if self._is_history:
            assert shown <= book.ended.keys()
            # On V5 it is asked for by times that may be those of placing.
            is_v5 = any(letter.is_v5 for letter in self.letters)
            late = {i for i in earlier if book.ended[i] >= self._since}
            late = {i for i in late if not is_v5 or book.placed[i][1] >= self._since}
            assert meant & late <= shown or self._may_be_elsewhere()
            return
        assert meant & book.is_open <= shown, "an open order is missing"
        assert not shown & earlier, "an order was gone before"

    def _may_be_elsewhere(self) -> bool:
        """Whether v1's lists are those of an account that has moved away from it."""
        return self.ledger.generation == "v5" and not any(x.is_v5 for x in self.letters)


def until(
    htx: HtxSession,
    draft: Draft,
    count: int = 1,
    kind: str = "",
    others: Sequence[Undertaking] = (),
) -> float:
    """When a call that begins now has to be over, by the rule for deadlines; `count`: its requests,
    `kind`: "read", "ids" or "mass", else a single cancel-all."""
    time = now()
    if draft.deadline is not None:
        return time + draft.deadline
    resources = htx._ready()
    if kind == "read":
        return max(time, resources.reads.earliest(READS) or 0.0) + DEADLINE
    path = (CANCEL if kind == "ids" else CANCEL_ALL).path(MarginMode(draft.margin))
    if kind == "ids" and htx.generation[0] is ApiGeneration.V5:
        path = V5_CANCEL.path()
    # Those that are just about to queue count too, and mass cancels that look first do so late.
    count += sum(one.weight for one in others if one.is_mass or time - one.began < 0.001)
    # A default deadline grows with the round trips that are seen, up to the time for one attempt.
    trip = resources.attempt_timeout if kind else 0.0
    turn = resources.trades.foresee(path, count, urgent=draft.urgent, round_trip=trip)
    # And where the account may be on V5, by the five answers that come one after the other there.
    steps = 5 if htx._generation.is_auto or htx.generation[0] is ApiGeneration.V5 else 0
    return max(time, turn) + DEADLINE + steps * trip
