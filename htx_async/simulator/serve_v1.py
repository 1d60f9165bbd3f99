"""What v1 does for a verified private call, without I/O."""

from collections.abc import Callable, Iterable
from math import ceil
from typing import Any, Literal, assert_never, get_args

from htx_async.simulator.book import CANCELLING, NOT_FOUND, Book
from htx_async.simulator.contracts import Contracts
from htx_async.simulator.endpoints import Call, Endpoint, V1Call
from htx_async.simulator.forms import (
    Form,
    read_cancel,
    read_cancel_all,
    read_history,
    read_page,
)
from htx_async.simulator.messages import Refusal, Refused
from htx_async.simulator.orders import Moment, Order, as_a_double, ended_row, open_row
from htx_async.simulator.settings import InvalidSetting

NOTHING_TO_CANCEL = Refusal(1051, "No orders to cancel.")

_DAY = 86_400_000

Successes = Literal["text", "list", "numbers", "in errors too"]
"""How v1 names the orders whose cancel it took: joined by commas, as documented; in a list; in one
of numbers, as exact as a double; joined, and each in `errors` beside that, with 1062 (an example of
HTX's docs has an id in both)."""


class ServeV1:
    """Reads what is asked of `contracts` and carries it out on `book`. `successes`: see there.
    `rows_twice`: each row of a list stands in it twice, whatever it says of its length.
    """

    def __init__(
        self,
        contracts: Contracts,
        book: Book,
        successes: Successes = "text",
        rows_twice: bool = False,
    ) -> None:
        if successes not in get_args(Successes):
            raise InvalidSetting(f"v1_successes is one of {', '.join(get_args(Successes))}")
        self._contracts = contracts
        self._book = book
        self._successes = successes
        self._copies = 2 if rows_twice else 1

    def serve(
        self, call: V1Call, endpoint: Endpoint, body: Any, when: Moment, delay: Callable[[], float]
    ) -> dict[str, object]:
        """The `data` of the reply to `call`, asked of its path `endpoint`; raises `Refused`. A
        cancel takes effect `delay()` seconds after `when`.
        """
        asked = body, endpoint, self._contracts
        match call:
            case Call.CANCEL_ALL:
                form = read_cancel_all(*asked)
                return self._cancel(self._hit_by(form), form, when, delay)
            case Call.CANCEL:
                form = read_cancel(*asked)
                return self._cancel(form.order_ids, form, when, delay)
            case Call.OPEN_ORDERS:
                form = read_page(*asked)
                return self._page(form, [open_row(order) for order in self._open(form)])
            case Call.HISTORY:
                form = read_history(*asked)
                return self._page(form, [ended_row(order) for order in self._ended(form, when.ms)])
            case _:
                assert_never(call)

    def _hit_by(self, form: Form) -> list[str]:
        """Assumed: an order that is being cancelled is not hit again."""
        hit = [
            order.order_id
            for order in self._book.of(form.scope.contract_code)
            if form.scope.covers(order)
            and not self._book.is_going(order.order_id)
            and all(getattr(order, name) == value for name, value in form.filters.items())
        ]
        if not hit:
            raise Refused(NOTHING_TO_CANCEL)
        return hit

    def _cancel(
        self, order_ids: Iterable[str], form: Form, when: Moment, delay: Callable[[], float]
    ) -> dict[str, object]:
        """Assumed: an order of another contract or margin mode is not found."""
        errors: list[dict[str, object]] = []
        successes: list[str] = []
        for order_id in order_ids:
            order = self._book.find(order_id)
            refusal: Refusal | None = NOT_FOUND
            if order is not None and form.scope.covers(order):
                refusal = self._book.cancel(order_id, when, delay)
            if refusal is None:
                successes.append(order_id)
            else:
                errors.append(_error(order_id, refusal))
        told: object = ",".join(successes)
        if self._successes == "list":
            told = successes
        elif self._successes == "numbers":
            told = [as_a_double(order_id) for order_id in successes]
        elif self._successes == "in errors too":
            errors += [_error(order_id, CANCELLING) for order_id in successes]
        return {"errors": errors, "successes": told}

    def _open(self, form: Form) -> list[Order]:
        """Assumed: newest first, as in the history."""
        orders = [order for order in self._book.open() if _fits(order, form)]
        return sorted(orders, key=lambda order: (order.created_at, order.order_id), reverse=True)

    def _ended(self, form: Form, ms: int) -> list[Order]:
        """Newest first. Assumed: the days count from when an order was placed."""
        orders = [
            order
            for order in self._book.ended()
            if _fits(order, form)
            and order.status in form.statuses
            and order.created_at >= ms - form.days * _DAY
        ]
        orders.reverse()
        return sorted(orders, key=lambda order: getattr(order, form.sort_by), reverse=True)

    def _page(self, form: Form, rows: list[dict[str, object]]) -> dict[str, object]:
        """Assumed: no orders make no page, and a page past the last one is empty."""
        first = (form.page_index - 1) * form.page_size
        page = rows[first : first + form.page_size]
        return {
            "orders": [row for row in page for _ in range(self._copies)],
            "total_page": ceil(len(rows) / form.page_size),
            "current_page": form.page_index,
            "total_size": len(rows),
        }


def _fits(order: Order, form: Form) -> bool:
    return form.scope.covers(order) and form.trade_type in (0, order.trade_type)


def _error(order_id: str, refusal: Refusal) -> dict[str, object]:
    return {"order_id": order_id, "err_code": refusal.code, "err_msg": refusal.message}
