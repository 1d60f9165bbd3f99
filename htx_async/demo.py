"""`htx-async demo`: twelve contracts, sixty orders and a few faults, over HTTP on this machine.

Each fault is bound to a contract, so that the story is the same every time.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from htx_async.codes import SETTLED_ORDER_CODES
from htx_async.errors import CancelError
from htx_async.report import CancelReport
from htx_async.session import HtxSession
from htx_async.simulator import SimulatedExchange
from htx_async.terms import Outcome

LIMIT = 5
"""Requests in any second that the exchange takes for this call."""

_ORDERS_EACH = 5

_Arm = Callable[[SimulatedExchange, str, tuple[str, ...]], None]
_NO_FAULT: tuple[str, _Arm] = ("", lambda exchange, contract, ids: None)

_FAULTS: dict[str, tuple[str, _Arm]] = {
    "BTC-USDT": _NO_FAULT,
    "ETH-USDT": ("answer lost", lambda ex, code, ids: ex.lose_after_work(contract_code=code)),
    "SOL-USDT": ("502 page", lambda ex, code, ids: ex.bad_gateway(contract_code=code)),
    "XRP-USDT": ("0.8 s late", lambda ex, code, ids: ex.late(0.8, contract_code=code)),
    "DOGE-USDT": _NO_FAULT,
    "ADA-USDT": ("1 refused", lambda ex, code, ids: ex.reject_order(ids[2], 1048)),
    "AVAX-USDT": _NO_FAULT,
    "LINK-USDT": ("1 triggered", lambda ex, code, ids: ex.reject_order(ids[0], 1063)),
    "LTC-USDT": (
        "rate limit",
        lambda ex, code, ids: ex.refuse(1032, "Too many.", contract_code=code),
    ),
    "DOT-USDT": _NO_FAULT,
    "TRX-USDT": _NO_FAULT,
    "UNI-USDT": _NO_FAULT,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One contract: what was placed, what its call reported, what the book holds afterwards."""

    contract: str
    fault: str
    report: CancelReport
    placed: frozenset[str]
    still_open: frozenset[str]

    @property
    def named(self) -> frozenset[str]:
        """Ids that the report says are off the book."""
        settled = (e.order_id for e in self.report.errors if e.err_code in SETTLED_ORDER_CODES)
        return frozenset((*self.report.successes, *settled))

    @property
    def reported_open(self) -> frozenset[str] | None:
        """Ids that the report says are still open; None if it does not claim to know."""
        if self.report.is_clear:
            return frozenset()
        if self.report.outcome is Outcome.UNKNOWN:
            return None
        return self.placed - self.named

    @property
    def unnamed(self) -> int:
        """Orders that are gone and that no answer named."""
        return len(self.placed - self.still_open - self.named)

    @property
    def agrees(self) -> bool:
        """Whether the report says nothing that the book contradicts, and all that it can."""
        if self.named & self.still_open or (self.report.ids_complete and self.unnamed):
            return False
        return self.reported_open in (None, self.still_open)


@dataclass(frozen=True, slots=True)
class Story:
    """What happened, as the reports say and as the exchange itself counted."""

    rows: tuple[Row, ...]
    seconds: float
    requests: int
    busiest: int

    @property
    def is_right(self) -> bool:
        """Whether every report agrees with the book and the limit was kept."""
        return self.busiest <= LIMIT and all(row.agrees for row in self.rows)


async def play(finished: Callable[[CancelReport], object]) -> Story:
    """Cancel everything at once on a fresh exchange; `finished` hears of each contract's end."""
    async with SimulatedExchange() as exchange:
        placed: dict[str, tuple[str, ...]] = {}
        for contract, (_, arm) in _FAULTS.items():
            placed[contract] = exchange.place(contract, "sell", "close", _ORDERS_EACH)
            arm(exchange, contract, placed[contract])
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with (
            HtxSession(exchange.credentials, base_urls=exchange.url) as htx,
            asyncio.TaskGroup() as group,
        ):
            calls = [group.create_task(_cancel(htx, contract, finished)) for contract in placed]
        seconds = loop.time() - began
        rows = (
            Row(
                contract,
                _FAULTS[contract][0],
                call.result(),
                frozenset(ids),
                frozenset(order.order_id for order in exchange.open_orders(contract)),
            )
            for (contract, ids), call in zip(placed.items(), calls, strict=True)
        )
        return Story(tuple(rows), seconds, len(exchange.arrivals), exchange.busiest(1.0))


async def _cancel(
    htx: HtxSession, contract: str, finished: Callable[[CancelReport], object]
) -> CancelReport:
    try:
        report = await htx.cancel_all_trailing(contract)
    except CancelError as failure:
        report = failure.report
    finished(report)
    return report


def run() -> int:
    """Play the story and show it; 0 when the account is right and the limit was kept, else 1."""
    aside = Console(stderr=True, highlight=False)
    if aside.is_terminal:
        story = _play_with_bar(aside)
    else:
        story = asyncio.run(play(lambda report: aside.print(_line(report))))
    show(story, Console(highlight=False))
    return 0 if story.is_right else 1


def show(story: Story, console: Console) -> None:
    """The outcomes of each contract, then the account as a whole; readable at 80 columns."""
    console.print(_table(story))
    console.print()
    console.print(_summary(story))


def _play_with_bar(console: Console) -> Story:
    columns = (
        TextColumn("Cancelling"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("contracts"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(_FAULTS))
        return asyncio.run(play(lambda report: progress.advance(bar)))


def _line(report: CancelReport) -> Text:
    return Text(f"{report.contract_code}: {_words(report.outcome)}")


def _table(story: Story) -> Table:
    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for name in ("Contract", "Fault", "Outcome"):
        result.add_column(name, no_wrap=True)
    for name in ("Cancelled", "Attempts", "Waited", "Elapsed"):
        result.add_column(name, justify="right", no_wrap=True)
    for row in story.rows:
        report = row.report
        style = "green" if report.is_clear else "yellow"
        result.add_row(
            Text(row.contract),
            Text(row.fault),
            Text(_words(report.outcome), style),
            str(len(report.successes)) if row.unnamed == 0 else "ids lost",
            str(len(report.attempts)),
            f"{sum(attempt.waited for attempt in report.attempts):.2f} s",
            f"{report.elapsed:.2f} s",
        )
    return result


def _summary(story: Story) -> Text:
    rows = story.rows
    by_id = sum(len(row.report.successes) for row in rows)
    settled = sum(len(row.named) for row in rows) - by_id
    unnamed = sum(row.unnamed for row in rows)
    in_book = sum(len(row.still_open) for row in rows)
    reported = sum(len(row.reported_open or ()) for row in rows)
    agree = all(row.agrees for row in rows)
    kept = story.busiest <= LIMIT
    return Text.assemble(
        f"{len(rows)} contracts, {sum(len(row.placed) for row in rows)} orders, "
        f"{story.requests} requests in {story.seconds:.1f} s.\n",
        f"Busiest second, as the exchange counted it: {story.busiest} requests, limit {LIMIT}: ",
        _verdict(kept, "kept", "broken"),
        f"\nGone: {by_id} cancelled by id, {settled} triggered meanwhile, {unnamed} whose ids are "
        "unknown.\n",
        f"Still open: {in_book} in the exchange's book, {reported} by the reports: ",
        _verdict(agree, "they agree", "they disagree"),
    )


def _verdict(good: bool, yes: str, no: str) -> tuple[str, str]:
    return (f"{yes}.", "bold green") if good else (f"{no}.", "bold red")


def _words(outcome: Outcome) -> str:
    return outcome.value.replace("_", " ")
