"""Open trailing orders, drawn for a terminal; rich reads no markup in them.

Loaded only when there is something to draw.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from htx_async.cli.report_page import drawn, fits, table
from htx_async.cli.words import count, visible
from htx_async.enums import MarginMode
from htx_async.orders import TrailingOrder

_MOST_DIGITS = 20
"""Beyond so many places a number is shown as it came."""

_Row = tuple[MarginMode, TrailingOrder]


def listing(orders: Sequence[_Row], read: str, *, is_whole: bool) -> str:
    """A table of orders, or blocks of lines where there is no room for one, and a line that sums it
    up. `read`: how the margin modes were read. `is_whole`: whether all could be."""
    if not orders:
        nothing = "No such trailing orders are open" if is_whole else "None found"
        return drawn([Text(f"{nothing}. {read}")], sys.stdout)
    last = f"{count(len(orders), 'open trailing order')}. {read}"
    made: RenderableType = _table(orders, tuple(_CELLS))
    if not fits(made):
        made = _table(orders, tuple(name for name in _CELLS if name not in _NUMBERS))
        if fits(made):
            last += f" A wider terminal also shows {', '.join(_NUMBERS)}; so does --json."
        else:
            made = Group(*(Text(visible(line)) for row in orders for line in _block(row)))
    return drawn([made, Text(), Text(last)], sys.stdout)


def _block(row: _Row) -> Iterator[str]:
    """An order in lines of some 40 columns."""
    cells = {name: cell(row) for name, cell in _CELLS.items()}
    names = ("contract", "margin", "direction", "offset")
    yield " ".join(cells[name] for name in names)
    yield f"  order id {cells['order id']}"
    yield f"  {cells['state']}, {cells['age']}, volume {cells['volume']}"
    yield f"  callback {cells['callback']}, from {cells['activation']}"


def _table(orders: Sequence[_Row], names: Sequence[str]) -> Table:
    rows = ([Text(visible(_CELLS[name](row))) for name in names] for row in orders)
    return table(names, rows, _NUMBERS)


def _number(value: Decimal | None) -> str:
    if value is None:
        return "?"
    if abs(value.adjusted()) > _MOST_DIGITS:
        return str(value)
    whole, _, rest = f"{value:f}".partition(".")
    rest = rest.rstrip("0")
    return f"{whole}.{rest}" if rest else whole


def _percent(rate: Decimal | None) -> str:
    return "?" if rate is None else f"{_number(rate.scaleb(2))}%"


def _state(order: TrailingOrder) -> str:
    return {1: "active", 0: "waiting"}.get(-1 if order.is_active is None else order.is_active, "?")


def _age(order: TrailingOrder) -> str:
    if order.created_at is None:
        return "?"
    seconds = max(0, int(time.time() - order.created_at / 1000))
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))

_CELLS: dict[str, Callable[[_Row], str]] = {
    "contract": lambda row: row[1].contract_code,
    "margin": lambda row: row[0],
    "direction": lambda row: row[1].direction,
    "offset": lambda row: row[1].offset,
    "volume": lambda row: _number(row[1].volume),
    "callback": lambda row: _percent(row[1].callback_rate),
    "activation": lambda row: _number(row[1].active_price),
    "state": lambda row: _state(row[1]),
    "age": lambda row: _age(row[1]),
    "order id": lambda row: row[1].order_id,
}
_NUMBERS = ("volume", "callback", "activation", "age")
