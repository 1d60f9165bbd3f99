"""The plan before and the account after, drawn for a terminal; rich reads no markup in them.

Loaded only when there is something to draw.
"""

import sys
from collections.abc import Iterable
from typing import TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from htx_async.cli.words import messages, orders, summary, words
from htx_async.mass_report import MassCancelReport
from htx_async.report import CancelReport
from htx_async.terms import Outcome

_STYLES = {Outcome.UNKNOWN: "bold red", Outcome.PARTIAL: "red", Outcome.REFUSED: "red"}

_ALL = 72
"""Columns of a terminal that has room for the whole table; a smaller one gets half of it."""


def console(stream: TextIO | None) -> Console:
    """A console that takes every text as it stands."""
    return Console(file=stream, markup=False, highlight=False, emoji=False)


def style(outcome: Outcome) -> str:
    """How an outcome is drawn."""
    return "green" if outcome.is_clear else _STYLES.get(outcome, "yellow")


def account(report: MassCancelReport, *, interrupted: bool) -> str:
    """A table of contracts, what has to be told of them, orders, and the line that sums it up."""
    last = Text("Interrupted. " if interrupted else "")
    last.append(summary(report), f"bold {'green' if report.is_clear else 'red'}")
    parts: list[RenderableType] = [_table(report.reports, console(sys.stdout).width)]
    for lines in (messages(report), orders(report)):
        told = [Text(line) for line in lines]
        parts += [Text(), *told] if told else []
    return drawn([*parts, Text(), last], sys.stdout)


def drawn(parts: Iterable[RenderableType], stream: TextIO | None) -> str:
    """What `stream` has to get: texts are wrapped on a terminal only, so that others can search
    in them."""
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


def _table(reports: Iterable[CancelReport], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    names = ("cancelled", "attempts", "waited", "elapsed") if width >= _ALL else ("cancelled",)
    for name in ("contract", "outcome"):
        table.add_column(name, overflow="fold")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for report in reports:
        cells = [Text.assemble(cell) for cell in _cells(report)]
        table.add_row(*cells[: len(table.columns)])
    return table


def _cells(report: CancelReport) -> Iterable[str | tuple[str, str]]:
    number = len(report.successes)
    return (
        report.contract_code,
        (words(report.outcome), style(report.outcome)),
        str(number) if report.ids_complete else f"{number or ''}?",
        str(len(report.attempts)),
        f"{sum(attempt.waited for attempt in report.attempts):.2f} s",
        f"{report.elapsed:.2f} s",
    )
