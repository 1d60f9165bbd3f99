"""The plan before and the account after, drawn for a terminal; rich reads no markup in them.

Loaded only when there is something to draw.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from htx_async.cli.result import Result, is_unconfirmed, was_only_looked_at
from htx_async.cli.streams import is_terminal
from htx_async.cli.words import count, messages, orders, summary, words
from htx_async.enums import MarginMode, Outcome
from htx_async.report import CancelReport

_STYLES = {Outcome.UNKNOWN: "bold red", Outcome.PARTIAL: "red", Outcome.REFUSED: "red"}

_ENDLESS = 1000


def console(stream: TextIO | None) -> Console:
    """A console that takes every text as it stands, and has room for every line unless it is a
    terminal: whoever searches in a file wants whole lines."""
    width = None if is_terminal(stream) else _ENDLESS
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def style(outcome: Outcome) -> str:
    """How an outcome is drawn."""
    return "green" if outcome.is_clear else _STYLES.get(outcome, "yellow")


def account(result: Result, *, interrupted: bool) -> str:
    """A table of contracts, what has to be told of them, orders, and the line that sums it up."""
    last = Text("Interrupted. " if interrupted else "")
    last.append(summary(result), f"bold {'green' if result.is_clear else 'red'}")
    reports = result.whole.reports
    shown = [report for report in reports if not was_only_looked_at(report)]
    parts: list[RenderableType] = [_table(shown, result)] if shown else []
    if number := len(reports) - len(shown):
        has = "has" if number == 1 else "have"
        parts.append(Text(f"{count(number, 'contract')} {has} no such order open."))
    for lines in (messages(result), orders(result)):
        told = [Text(line) for line in lines]
        parts += [Text(), *told] if told else []
    return drawn([*parts, Text(), last], sys.stdout)


def drawn(parts: Iterable[RenderableType], stream: TextIO | None) -> str:
    """What `stream` has to get: texts are wrapped on a terminal only."""
    paper = console(stream)
    with paper.capture() as capture:
        for part in parts:
            paper.print(part, soft_wrap=isinstance(part, Text) and not paper.is_terminal)
    lines = capture.get().splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def columns(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what they stand for, side by side."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name, "bold"), Text(value))
    return table


def table(names: Iterable[str], rows: Iterable[Iterable[Text]], numbers: Iterable[str]) -> Table:
    """A table with these columns, of which nothing is cut off; those of `numbers` end together."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    for name in names:
        made.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def fits(made: Table) -> bool:
    """Whether stdout has room for it without folding a cell."""
    paper = console(sys.stdout)
    return paper.measure(made, options=paper.options.update(width=_ENDLESS)).maximum <= paper.width


def _table(reports: Sequence[CancelReport], result: Result) -> Table:
    """All columns, or half of them on a terminal without room for all."""
    usual = all(report.margin_mode is MarginMode.ISOLATED for report in reports)
    left_out = {"margin": usual, "confirmed": not result.confirm}
    names = [name for name in _CELLS if not left_out.get(name)]
    rows = [[_CELLS[name](report) for name in names] for report in reports]
    made = table(names, rows, _NUMBERS)
    if fits(made):
        return made
    kept = len(names) - len(_LESS)
    return table(names[:kept], [row[:kept] for row in rows], _NUMBERS)


def _outcome(report: CancelReport) -> Text:
    return Text(words(report.outcome), style(report.outcome))


def _confirmed(report: CancelReport) -> Text:
    if report.confirmed is None and report.is_clear and not is_unconfirmed(report):
        return Text("only looked at")
    if report.confirmed is None:
        return Text("not confirmed", "bold red" if report.is_clear else "")
    return Text("confirmed", "green") if report.confirmed else Text("still open", "red")


def _cancelled(report: CancelReport) -> Text:
    number = len(report.successes)
    return Text(str(number) if report.ids_complete else f"{number or ''}?")


def _waited(report: CancelReport) -> Text:
    return Text(f"{sum(attempt.waited for attempt in report.attempts):.2f} s")


_CELLS: dict[str, Callable[[CancelReport], Text]] = {
    "contract": lambda report: Text(report.instrument),
    "margin": lambda report: Text(report.margin_mode),
    "outcome": _outcome,
    "confirmed": _confirmed,
    "cancelled": _cancelled,
    "attempts": lambda report: Text(str(len(report.attempts))),
    "waited": _waited,
    "elapsed": lambda report: Text(f"{report.elapsed:.2f} s"),
}
_LESS = ("attempts", "waited", "elapsed")
_NUMBERS = ("cancelled", *_LESS)
