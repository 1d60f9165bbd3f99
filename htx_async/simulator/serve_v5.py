"""What V5 does for a verified private call, without I/O."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, assert_never, get_args

from htx_async.simulator.book import NOT_FOUND, Book
from htx_async.simulator.contracts import Contracts
from htx_async.simulator.endpoints import Call, Endpoint, V5Call, V5Read
from htx_async.simulator.messages import Refusal, Refused, illegal
from htx_async.simulator.orders import Moment, Order
from htx_async.simulator.settings import InvalidSetting
from htx_async.simulator.v5_forms import (
    CancelForm,
    Item,
    Mixed,
    Wanted,
    read_items,
    read_nothing,
    read_query,
)
from htx_async.simulator.v5_rows import position_side, v5_row

ItemForm = Literal["code", "success"]
RowOrder = Literal["oldest first", "newest first", "newest first, next is newer"]

DataForm = Literal["list", "null for empty", "object for one", "null or object"]
"""How V5's `data` comes where it is documented as a list: null where there is nothing in it, and
what is alone as itself (HTX.Net reads either)."""

Unnamed = Literal["all", "none", "one", "refused"]
"""What a list is of that names no contract, which nobody has shown: of all, of none, of the first
by name that ever had orders; or it is refused (1067)."""

_SUCCESS = Refusal(200, "Success")


class _Spoiled(NamedTuple):
    items: tuple[object, ...]
    work: bool


class Lists(NamedTuple):
    """How V5 lists, of which HTX publishes nothing. `most`: rows on a page, whatever was asked for.
    `order`: "oldest first", where `next` leads to newer rows (HTX V5 docs, the example of "Get
    Current Orders"); "newest first", where it leads to older ones; or newest first, and `next`
    leads to newer ones all the same. `inclusive`: the row that a page is asked for from is on it.
    `lag`: seconds until an order that was placed is among the open ones. `unnamed`: see `Unnamed`.
    `data`: see `DataForm`, which goes for replies to cancels, too. `twice`: each row stands twice.
    """

    most: int = 100
    order: RowOrder = "oldest first"
    inclusive: bool = False
    lag: float = 0.0
    unnamed: Unnamed = "all"
    data: DataForm = "list"
    twice: bool = False


class ServeV5:
    """The same book as v1's, over V5's calls: lists, and cancels by ids.

    `item_form`: how the reply to a cancel tells of one order. "code": `code` and `message`, from
    ccxt's example, which is adapted from that of HTX V5 docs, "Cancel Multiple Orders". "success":
    `success`, `error_code` and `error_msg`, as HTX's Java SDK models it. No failing item was ever
    published: that the outer code stays 200 and that the codes are v1's is assumed. `mixed`: see
    there.
    """

    def __init__(
        self,
        contracts: Contracts,
        book: Book,
        item_form: ItemForm,
        lists: Lists,
        cancel_form: CancelForm = "array",
        mixed: Mixed = "taken",
    ) -> None:
        if mixed not in get_args(Mixed):
            raise InvalidSetting(f"v5_mixed is one of {', '.join(get_args(Mixed))}")
        self._mixed: Mixed = mixed
        if cancel_form not in get_args(CancelForm):
            raise InvalidSetting(f"v5_cancel is one of {', '.join(get_args(CancelForm))}")
        self._cancel_form: CancelForm = cancel_form
        if item_form not in ("code", "success"):
            raise InvalidSetting("v5_items is code or success")
        if lists.order not in get_args(RowOrder) or lists.most < 1:
            raise InvalidSetting(
                f"v5_order is one of {', '.join(get_args(RowOrder))}, of a row or more"
            )
        if lists.unnamed not in get_args(Unnamed):
            raise InvalidSetting(f"v5_unnamed is one of {', '.join(get_args(Unnamed))}")
        if lists.data not in get_args(DataForm):
            raise InvalidSetting(f"v5_data is one of {', '.join(get_args(DataForm))}")
        self._lists = lists
        self._contracts = contracts
        self._book = book
        self._item_form = item_form
        self._spoiled: dict[str, deque[_Spoiled]] = {}

    def serve(
        self, call: V5Call, endpoint: Endpoint, form: Any, when: Moment, delay: Callable[[], float]
    ) -> object:
        """The `data` of the reply to `call`, asked of its path `endpoint`; raises `Refused`. A
        cancel takes effect `delay()` seconds after `when`.

        Assumed: an account on V5 is in multi-assets mode; it is in one-way mode if it has, open
        or ended, a one-way order.
        """
        match call:
            case Call.V5_CANCEL:
                items = read_items(form, self._cancel_form, endpoint.row.most_ids)
                return self._data(self._cancel_all(items, when, delay))
            case Call.V5_OPEN_ORDERS | Call.V5_HISTORY | Call.V5_ORDER:
                return self._data(self._list(call, endpoint, form, when.ms))
            case Call.V5_ASSET_MODE:
                read_nothing(form)
                return {"assets_mode": 1}
            case Call.V5_POSITION_MODE:
                read_nothing(form)
                one_way = "both" in map(position_side, self._orders())
                return {"position_mode": "single_side" if one_way else "dual_side"}
            case _:
                assert_never(call)

    def spoil(self, order_id: str, items: tuple[object, ...], work: bool, times: int) -> None:
        """See `SimulatedExchange.spoil_item`."""
        if self._book.find(order_id) is None:
            raise InvalidSetting("no such order")
        if times < 1:
            raise InvalidSetting("times is at least 1")
        self._spoiled.setdefault(order_id, deque()).extend([_Spoiled(items, work)] * times)

    def _orders(self) -> tuple[Order, ...]:
        return (*self._book.open(), *self._book.ended())

    def _list(
        self, call: V5Read, endpoint: Endpoint, query: dict[str, str], ms: int
    ) -> list[dict[str, object]]:
        wanted = read_query(query, call, endpoint, self._contracts, ms)
        lag = self._lists.lag if call is Call.V5_OPEN_ORDERS else 0.0
        is_named = wanted.contract_code is not None or call is Call.V5_ORDER
        if not is_named and self._lists.unnamed == "refused":
            raise Refused(illegal("contract_code"))
        page = self._page(wanted, ms - round(lag * 1000), None if is_named else self._lists.unnamed)
        return [v5_row(order) for order in page]

    def _data(self, rows: list[Any]) -> object:
        form = self._lists.data
        if not rows and form in ("null for empty", "null or object"):
            return None
        return rows[0] if len(rows) == 1 and form in ("object for one", "null or object") else rows

    def _page(self, wanted: Wanted, latest: int, unnamed: Unnamed | None) -> list[Order]:
        """Placed by `latest`, in the order of row ids. Assumed: `prev` goes the other way than
        `next`, the nearest row first, and from 0 starts at the other end.
        """
        found = [one for one in self._orders() if wanted.covers(one) and one.created_at <= latest]
        if found and unnamed in ("none", "one"):
            first = min(one.contract_code for one in self._orders())
            found = [one for one in found if unnamed == "one" and one.contract_code == first]
        found = [one for one in found for _ in range(1 + self._lists.twice)]
        order, row = self._lists.order, wanted.after
        is_mirrored = order == "newest first, next is newer"
        to_older = wanted.backwards != (order == "newest first") or (is_mirrored and not row)
        if row:
            found = [one for one in found if self._lies_beyond(row, one.query_id, to_older)]
        found.sort(key=lambda one: one.query_id, reverse=to_older)
        page = found[: min(wanted.limit, self._lists.most)]
        return page[::-1] if is_mirrored and not to_older else page

    def _lies_beyond(self, row: int, other: int, to_older: bool) -> bool:
        if other == row:
            return self._lists.inclusive
        return other < row if to_older else other > row

    def _cancel_all(
        self, items: Sequence[Item], when: Moment, delay: Callable[[], float]
    ) -> list[Any]:
        others = [item for item in items if item.contract_code != items[0].contract_code]
        if others and self._mixed == "malformed":
            raise Refused(illegal("orders"))
        rows: list[Any] = []
        for item in items:
            if item not in others or self._mixed == "taken":
                rows += self._cancel(item, when, delay)
            elif self._mixed == "refused":
                rows.append(self._row(item, None, illegal("contract_code")))
        return rows

    def _cancel(self, item: Item, when: Moment, delay: Callable[[], float]) -> tuple[object, ...]:
        """Assumed: an order of another contract is not found."""
        order = self._find(item)
        refusal: Refusal | None = NOT_FOUND
        spoiled = None
        if order is not None and order.contract_code.upper() == item.contract_code.upper():
            waiting = self._spoiled.get(order.order_id)
            spoiled = waiting.popleft() if waiting else None
            if spoiled is None or spoiled.work:
                refusal = self._book.cancel(order.order_id, when, delay)
        return (self._row(item, order, refusal),) if spoiled is None else spoiled.items

    def _find(self, item: Item) -> Order | None:
        if item.algo_id is not None:
            return self._book.find(item.algo_id)
        return self._book.named(item.client_order_id or "")

    def _row(self, item: Item, order: Order | None, refusal: Refusal | None) -> dict[str, object]:
        row: dict[str, object] = {
            "algo_client_order_id": order.client_order_id if order else item.client_order_id,
            "algo_id": order.order_id if order else item.algo_id,
        }
        if self._item_form == "code":
            code, message = refusal or _SUCCESS
            return {**row, "code": code, "message": message}
        row["success"] = refusal is None
        if refusal is not None:
            row |= {"error_code": refusal.code, "error_msg": refusal.message}
        return row
