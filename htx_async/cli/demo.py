"""`htx-async demo`: a mass cancel of 40 contracts, 200 orders and a few faults, over HTTP on this
machine.

Each fault is bound to a contract, so that the story is the same every time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from htx_async.cli.coins import contracts
from htx_async.codes import SETTLED_ORDER_CODES
from htx_async.enums import Outcome
from htx_async.exchange.endpoints import CANCEL_ALL, limit_of
from htx_async.report import CancelReport
from htx_async.session import HtxSession
from htx_async.simulator import SimulatedExchange

LIMIT, _PER = limit_of(CANCEL_ALL.path())
"""Requests in any so many seconds that the exchange takes for this call."""

_ORDERS_EACH = 5

_Arm = Callable[[SimulatedExchange, str, tuple[str, ...]], None]
_NO_FAULT: tuple[str, _Arm] = ("", lambda exchange, contract, ids: None)

_FAULTS: dict[str, tuple[str, _Arm]] = {
    "ETH-USDT": ("answer lost", lambda ex, code, ids: ex.lose_after_work(contract_code=code)),
    "XRP-USDT": ("0.8 s late", lambda ex, code, ids: ex.late(0.8, contract_code=code)),
    "LTC-USDT": (
        "rate limit",
        lambda ex, code, ids: ex.refuse(1032, "Too many.", contract_code=code),
    ),
    "ADA-USDT": ("1 refused", lambda ex, code, ids: ex.reject_order(ids[2], 1048)),
    "LINK-USDT": ("1 triggered", lambda ex, code, ids: ex.reject_order(ids[0], 1063)),
    "NEAR-USDT": ("502 page", lambda ex, code, ids: ex.bad_gateway(contract_code=code)),
}

CONTRACTS = contracts(40)


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
    def is_plain(self) -> bool:
        """Whether there is nothing to tell: one request, and every order gone by its id."""
        told = self.report.outcome is Outcome.CANCELLED and len(self.report.attempts) == 1
        return told and not self.fault and self.agrees and self.named == self.placed

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


async def play(finished: Callable[[CancelReport], object] | None) -> Story:
    """Cancel everything at once on a fresh exchange; `finished`, if any, hears of each
    contract's end."""
    async with SimulatedExchange() as exchange:
        placed: dict[str, tuple[str, ...]] = {}
        for contract in CONTRACTS:
            placed[contract] = exchange.place(contract, "sell", "close", _ORDERS_EACH)
            _, arm = _FAULTS.get(contract, _NO_FAULT)
            arm(exchange, contract, placed[contract])
        async with HtxSession(exchange.credentials, base_urls=exchange.url) as htx:
            whole = await htx.mass_cancel_trailing(placed, look="none", on_report=finished)
        rows = (
            Row(
                contract,
                _FAULTS.get(contract, _NO_FAULT)[0],
                report,
                frozenset(ids),
                frozenset(order.order_id for order in exchange.open_orders(contract)),
            )
            for (contract, ids), report in zip(placed.items(), whole.reports, strict=True)
        )
        return Story(tuple(rows), whole.elapsed, len(exchange.arrivals), exchange.busiest(_PER))


def show(story: Story, console: Console) -> None:
    """Each contract with something to tell, the others in one row, then the sum of them;
    readable at 80 columns."""
    console.print(_table(story))
    console.print()
    console.print(_summary(story))


def drawn(story: Story) -> str:
    """The same as text for stdout, with colours where that is a terminal."""
    paper = Console(highlight=False)
    with paper.capture() as capture:
        show(story, paper)
    return capture.get()


def _table(story: Story) -> Table:
    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for name in ("Contract", "Fault", "Outcome"):
        result.add_column(name, no_wrap=True)
    for name in ("Cancelled", "Attempts", "Waited", "Elapsed"):
        result.add_column(name, justify="right", no_wrap=True)
    plain = [row for row in story.rows if row.is_plain]
    for row in story.rows:
        if not row.is_plain:
            result.add_row(*_cells(row))
    if plain:
        result.add_row(*_cells_of_all(plain))
    return result


def _cells(row: Row) -> tuple[Text | str, ...]:
    report = row.report
    return (
        Text(row.contract),
        Text(row.fault),
        _outcome(report),
        str(len(report.successes)) if row.unnamed == 0 else "ids lost",
        str(len(report.attempts)),
        f"{_waited(report):.2f} s",
        f"{report.elapsed:.2f} s",
    )


def _cells_of_all(plain: Sequence[Row]) -> tuple[Text | str, ...]:
    """One row for contracts that ended alike: sums, and bounds for the times."""
    reports = [row.report for row in plain]
    return (
        f"{len(plain)} others",
        "",
        _outcome(reports[0]),
        str(sum(len(report.successes) for report in reports)),
        str(sum(len(report.attempts) for report in reports)),
        f"<= {ceil(max(map(_waited, reports)))} s",
        f"<= {ceil(max(report.elapsed for report in reports))} s",
    )


def _outcome(report: CancelReport) -> Text:
    return Text(_words(report.outcome), "green" if report.is_clear else "yellow")


def _waited(report: CancelReport) -> float:
    return sum(attempt.waited for attempt in report.attempts)


def _summary(story: Story) -> Text:
    rows = story.rows
    by_id = sum(len(row.report.successes) for row in rows)
    settled = sum(len(row.named) for row in rows) - by_id
    unnamed = sum(row.unnamed for row in rows)
    in_book = sum(len(row.still_open) for row in rows)
    reported = sum(len(row.reported_open or ()) for row in rows)
    not_clear = [row.contract for row in rows if not row.report.is_clear]
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
        f"\nNot clear, so for a person to look at: {', '.join(not_clear) or 'none'}.",
    )


def _verdict(good: bool, yes: str, no: str) -> tuple[str, str]:
    return (f"{yes}.", "bold green") if good else (f"{no}.", "bold red")


def _words(outcome: Outcome) -> str:
    return outcome.value.replace("_", " ")
