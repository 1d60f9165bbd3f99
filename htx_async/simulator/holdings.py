"""What a test puts on the simulated exchange and asks of it: orders, contracts, the account."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Literal, cast, get_args

from htx_async.enums import ContractTypeLike, DirectionLike, MarginModeLike, OffsetLike
from htx_async.simulator.account import Account
from htx_async.simulator.book import Book
from htx_async.simulator.contracts import Contracts
from htx_async.simulator.endpoints import Generation, MarginMode
from htx_async.simulator.faults import Fault, Misbehaviour, Outage, fault_of
from htx_async.simulator.orders import TRAILING, Moment, Order
from htx_async.simulator.serve_v5 import ServeV5
from htx_async.simulator.settings import InvalidSetting, flag, number, one_of, whole
from htx_async.simulator.threads import one_at_a_time
from htx_async.simulator.v5_forms import TYPES

_MOST_A_SECOND = 1000.0

# Instants are sums of floats: what is over a rounding error from now is over.
_GRAIN = 1e-9


@one_at_a_time
class Holdings(Misbehaviour):
    """Book, contracts and account on the exchange's clocks; a part of `SimulatedExchange`."""

    _account: Account
    _v5: ServeV5

    def __init__(
        self,
        contracts: Iterable[str] | None,
        clock: Callable[[], float] | None,
        now: Callable[[], float],
    ) -> None:
        super().__init__()
        self._contracts = Contracts(contracts)
        self._book = Book()
        self._clock = clock or loop_time
        self._now = now
        self._outage: Outage = "silent"
        self._outage_ends = -math.inf
        self._refill = 0.0

    def place(
        self,
        contract_code: str,
        direction: DirectionLike,
        offset: OffsetLike | Literal["both"],
        n: int = 1,
        *,
        margin_mode: MarginModeLike = "isolated",
        contract_type: ContractTypeLike | None = None,
        volume: Decimal | float | str = 1,
        callback_rate: Decimal | float | str = "0.05",
        active_price: Decimal | float | str = 50_000,
        reduce_only: bool | int = 0,
        client_order_id: str | None = None,
        v5_type: str = TRAILING,
    ) -> tuple[str, ...]:
        """Put `n` trailing orders in the book and return their ids; `contract_code` exists now.

        Both generations show them. `direction`: buy or sell. `offset`: open or close; "both" makes
        them one-way orders; on V5 open and close show as the position sides of hedge mode.
        `contract_type`: for a dated future such as BTC-USDT-261225, "quarter" unless it is known by
        another; those are for cross margin only. `client_order_id`: of one order, for V5.
        `margin_mode`: isolated or cross. `volume`: in contracts. `callback_rate`: a share of the
        price, 0.05 for 5 %. `active_price`: in USDT. `reduce_only`: as v1's rows show it, 0 or 1.
        `v5_type`: with tp, sl, tpsl or trigger orders of another type, which V5 lists among the
        trailing ones and cancels if told to, and v1's trailing calls do not know; `open_orders` has
        them. InvalidSetting for what the exchange would not hold.
        """
        mode = _mode(margin_mode)
        if reduce_only not in (0, 1):
            raise InvalidSetting("reduce_only is 0 or 1")
        order = Order(
            "",
            contract_code,
            str(direction),
            str(offset),
            mode,
            created_at=self._settle().ms,
            contract_type=self._contracts.type_of(contract_code, mode, contract_type),
            volume=_decimal("volume", volume),
            callback_rate=_decimal("callback_rate", callback_rate),
            active_price=_decimal("active_price", active_price),
            reduce_only=int(reduce_only),
            client_order_id=client_order_id,
            v5_type=one_of("v5_type", v5_type, TYPES),
        )
        ids = self._book.place(order, whole("n", n, 0))
        self._contracts.add(contract_code, order.contract_type)
        return ids

    def open_orders(
        self, contract_code: str | None = None, margin_mode: MarginModeLike | None = None
    ) -> tuple[Order, ...]:
        """What is in the book, oldest first; an order being cancelled still is. Those of one
        `contract_code` in any case, or of one `margin_mode`, if given. InvalidSetting for another
        margin mode.
        """
        self._settle()
        return self._book.open(contract_code, _mode_or_none(margin_mode))

    def ended_orders(
        self, contract_code: str | None = None, margin_mode: MarginModeLike | None = None
    ) -> tuple[Order, ...]:
        """What was cancelled, triggered or failed, in the order in which it ended; chosen by
        `contract_code` and `margin_mode` as in `open_orders`.
        """
        self._settle()
        return self._book.ended(contract_code, _mode_or_none(margin_mode))

    def status_of(self, order_id: str) -> int:
        """What became of the order `order_id`: 2 open, 4 triggered, 5 failed as it triggered, 6
        cancelled; InvalidSetting if there never was such an order.
        """
        self._settle()
        order = self._book.find(order_id)
        if order is None:
            raise InvalidSetting("no such order")
        return order.status

    def trigger(self, order_id: str, after: float = 0.0, *, fail_code: int | None = None) -> None:
        """In `after` seconds, if it is open then, the order `order_id` triggers and is a limit
        order.

        A cancel that was accepted but has not taken effect by then comes too late. With
        `fail_code` the limit order is not taken, and the status is 5. InvalidSetting if the order
        is not open now, or `after` is below 0.
        """
        self._book.trigger(order_id, self._settle(), after, fail_code)

    def unknown_contract(self, contract_code: str) -> None:
        """From now on `contract_code` is answered 1014, until an order is placed on it."""
        self._contracts.remove(contract_code)

    def reject_order(
        self, order_id: str, err_code: int, err_msg: str | None = None, *, times: int = 1
    ) -> None:
        """The next `times` cancels that reach the order `order_id` list it in `errors` with
        `err_code` and `err_msg` (a text of the exchange, or a simulated one), or on V5 give it this
        code.

        It stays open, except after 1017, 1061, 1062, 1063 and 1071, which say that it is gone or
        going: unknown, being cancelled, triggered, cancelled. InvalidSetting if it is not open now.
        """
        self._settle()
        self._book.reject(order_id, err_code, err_msg, times)

    def spoil_item(self, order_id: str, *items: object, work: bool = True, times: int = 1) -> None:
        """The replies to the next `times` cancels on V5 that reach the order `order_id` have these
        `items` in the place of its own, or none without any; without `work` it is not cancelled.

        InvalidSetting for `times` below 1, and if there never was such an order.
        """
        self._v5.spoil(order_id, items, flag("work", work), times)

    def move(self, after: float = 0.0) -> None:
        """In `after` seconds the account goes over to V5, with its orders, at once and for good.

        The exchange requires an account without orders (announcement 55029524265440); here they
        may be open, so that who takes v1's word that there are none is found out. InvalidSetting
        for a time in the past.
        """
        if after < 0:
            raise InvalidSetting("an account moves in `after` seconds, and not in the past")
        self._account.move(self._clock() + after)

    def outage(self, seconds: float, kind: Outage = "silent") -> None:
        """For so many `seconds` from now on no request, but for paths that there are not, gets its
        answer; 0 ends one that is under way. It is on record, and counts against the limit.

        `kind`: "silent", connections are taken, nothing is done, and they are aborted at the end;
        "reset", aborted at once; "lost", what is asked is done, and no answer comes; "gateway",
        HTTP 502 and an HTML page; "maintenance", HTX's `{"status": "maintain"}`. InvalidSetting for
        another kind, and for more than a day.
        """
        chosen = one_of("kind", kind, get_args(Outage))
        until = self._settle().at + number("seconds", seconds)
        self._outage, self._outage_ends = chosen, until

    @property
    def outage_left(self) -> float:
        """Seconds until the outage is over; 0 without one."""
        return max(0.0, self._outage_ends - self._clock())

    def refill(self, rate: float) -> None:
        """From now on orders come back: for each that was cancelled another one like it is placed,
        `rate` of them a second, in the order in which they went; as by a strategy that keeps
        placing. 0: no more. InvalidSetting for less, and for more than 1000 a second.
        """
        self._settle()
        self._refill = number("refill", rate, most=_MOST_A_SECOND)
        self._book.refill(self._refill)

    @property
    def refill_rate(self) -> float:
        """Orders a second that come back at most after cancels; 0 for none."""
        return self._refill

    @property
    def contracts(self) -> tuple[str, ...]:
        """The contracts that are listed: those given and those placed on, sorted."""
        return self._contracts.listed

    def has_contract(self, contract_code: str) -> bool:
        """Whether there is a contract `contract_code`, in any case, if only in cross margin."""
        return self._contracts.exists(contract_code, "cross")

    @property
    def generation(self) -> Generation:
        """The generation that the account is on now."""
        return self._account.generation(self._clock())

    def _outage_at(self, at: float) -> Fault | None:
        left = self._outage_ends - at
        return fault_of(self._outage, left) if left > _GRAIN else None

    def _settle(self) -> Moment:
        """Read the clocks, and let take effect what is due."""
        when = Moment(self._clock(), self._now())
        self._book.settle(when.at)
        return when


def _mode(margin_mode: MarginModeLike) -> MarginMode:
    for mode in get_args(MarginMode):
        if margin_mode == mode:
            return cast(MarginMode, mode)
    raise InvalidSetting("margin_mode is isolated or cross")


def _mode_or_none(margin_mode: MarginModeLike | None) -> MarginMode | None:
    return None if margin_mode is None else _mode(margin_mode)


def _decimal(name: str, value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise InvalidSetting(f"{name} is a number, or its digits") from None


def loop_time() -> float:
    """The time of the loop that runs here, or where there is none what loops go by."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()
