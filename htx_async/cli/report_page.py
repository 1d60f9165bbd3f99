"""The plan before and the report after, drawn for a terminal; rich reads no markup in them.

Loaded only when there is something to draw.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from htx_async.cli.result import Result, is_unconfirmed, was_only_looked_at
from htx_async.cli.streams import is_smart
from htx_async.cli.words import (
    besides,
    cancelled,
    count,
    left_open,
    messages,
    named,
    summary,
    words,
)
from htx_async.cli.wrapping import width_of
from htx_async.enums import MarginMode, Outcome
from htx_async.mass_report import count_of_orders
from htx_async.report import CancelReport

_STYLES = {Outcome.UNKNOWN: "bold red", Outcome.PARTIAL: "red", Outcome.REFUSED: "red"}

_ENDLESS = 1000
_LINES = 25


def console(stream: TextIO | None) -> Console:
    """A console that takes every text as it stands, and has room for every line unless it is a
    terminal: whoever searches in a file wants whole lines."""
    width = width_of(stream) or _ENDLESS
    # Of a dumb terminal rich would know better, unless it is told the height, too.
    size = (None, None) if is_smart(stream) else (width, _LINES)
    return Console(
        file=stream,
        width=size[0],
        height=size[1],
        markup=False,
        highlight=False,
        emoji=False,
    )


def style(outcome: Outcome) -> str:
    """How an outcome is drawn."""
    return "green" if outcome.is_clear else _STYLES.get(outcome, "yellow")


def page(result: Result, *, interrupted: bool) -> str:
    """A table of contracts, ids, what has to be told, how to go on, and the line that sums it up:
    whatever needs a person stands at the end."""
    last = Text("Interrupted. " if interrupted else "")
    last.append(summary(result), f"bold {_colour(result)}")
    reports = result.whole.reports
    shown = [report for report in reports if not was_only_looked_at(report)]
    parts: list[RenderableType] = [_table(shown, result)] if shown else []
    parts += [Text(line) for line in _only_looked_at(reports)]
    for lines in (cancelled(result), besides(result), left_open(result), messages(result)):
        told = [Text(line) for line in lines]
        parts += [Text(), *told] if told else []
    again = result.again
    before = drawn(parts, sys.stdout)
    return "".join((before, f"\n{again}" if again else "", drawn([Text(), last], sys.stdout)))


def _colour(result: Result) -> str:
    if not result.is_clear:
        return "red"
    return "yellow" if any(result.beside.values()) else "green"


def _only_looked_at(reports: Sequence[CancelReport]) -> Iterator[str]:
    for mode in MarginMode:
        number = sum(was_only_looked_at(one) for one in reports if one.margin_mode is mode)
        if number:
            has = "has" if number == 1 else "have"
            yield f"{count(number, 'contract')} {has} no such order open in {mode} margin."


def drawn(parts: Iterable[RenderableType], stream: TextIO | None) -> str:
    """What `stream` has to get: texts are wrapped on a terminal only."""
    paper = console(stream)
    with paper.capture() as capture:
        for part in parts:
            paper.print(part, soft_wrap=isinstance(part, Text) and not paper.is_terminal)
    lines = capture.get().splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def table(names: Iterable[str], rows: Iterable[Iterable[Text]], numbers: Iterable[str]) -> Table:
    """A table with these columns, of which nothing is cut off; those of `numbers` end together."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    for name in names:
        made.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def fits(made: RenderableType) -> bool:
    """Whether stdout has room for it without folding a cell."""
    paper = console(sys.stdout)
    return paper.measure(made, options=paper.options.update(width=_ENDLESS)).maximum <= paper.width


def _table(reports: Sequence[CancelReport], result: Result) -> RenderableType:
    """All columns, or half of them on a terminal without room for all, or lines in words."""
    names = [name for name in _CELLS if result.confirm or name != "confirmed"]
    rows = [[_CELLS[name](report) for name in names] for report in reports]
    for kept in (len(names), len(names) - len(_LESS)):
        made = table(names[:kept], [row[:kept] for row in rows], _NUMBERS)
        if fits(made):
            return made
    return Group(*(_line(report, result) for report in reports))


def _line(report: CancelReport, result: Result) -> Text:
    """A contract in words."""
    told = [_outcome(report)]
    if report.successes:
        told[0].append(f" {count_of_orders([report])}")
    elif not report.ids_complete:
        told.append(Text(count_of_orders([report])))
    if result.confirm:
        told.append(_confirmed(report))
    return Text(f"{named(report)}: ").append_text(Text(", ").join(told))


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
    return Text(str(number) if report.ids_complete else f"{number} + ?" if number else "?")


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
