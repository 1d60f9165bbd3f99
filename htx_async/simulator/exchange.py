"""The simulated exchange itself: one synchronous core and what a test may ask of it."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl

from htx_async.signing import Credentials
from htx_async.simulator.book import Book
from htx_async.simulator.contracts import Contracts
from htx_async.simulator.desk import Desk
from htx_async.simulator.door import Door
from htx_async.simulator.endpoints import BY_REQUEST, Call, Endpoint, MarginMode
from htx_async.simulator.faults import Fault, Misbehaviour
from htx_async.simulator.judge import NOT_VERIFIED, STALE, Judge
from htx_async.simulator.messages import (
    Answer,
    Fate,
    Refusal,
    Refused,
    Reply,
    Request,
    accepted,
    as_json,
    not_found,
    read_json,
    refused,
    wrapped,
)
from htx_async.simulator.orders import Moment, Order
from htx_async.simulator.traffic import Arrival, Limits, Rate, busiest

_TOO_MANY = Refusal(1032, "The number of access exceeded the limit.")


class SimulatedExchange(Misbehaviour):
    """HTX USDT-M trailing orders in isolated and cross margin, all but the placing of them.

    * POST /linear-swap-api/v1/swap_track_cancelall, _cancel, _openorders, _hisorders and their
      twins swap_cross_track_... (HTX API docs, "[Isolated] Cancel All Trailing Orders" and the
      pages beside it). Signature and body are judged. Each path sees the orders of its own margin
      mode only. `direction` and `offset` of a cancel-all are independent filters, both together
      mean AND. Assumed: an `offset` filter does not see one-way orders, whose offset is `both`.
    * GET /linear-swap-api/v1/swap_contract_info, public, with `contract_code` and
      `business_type`: the contracts given or placed on, or the one that is named.
    * GET /api/v1/timestamp (HTX API docs, "Get current system timestamp"), public.
    * Any other path, or method: HTTP 404. Assumed: if such a request is signed, a wrong signature
      is answered first.

    Each path that cancels takes `limit` arrivals in any `interval` seconds; one more is answered
    err_code 1032 with HTTP 200 (the status is assumed) before anything else is judged. All of
    them together take 72 in 3 s (assumed, and more if `limit` says more), the private reads
    together 72, the public calls together 240.

    `contracts`: the contracts that exist, and else every well-formed one does. `clock`: seconds
    for arrivals, limits and what takes effect when, by default the running loop's time. `now`:
    Unix seconds for Timestamp, `ts`, `ratelimit-reset` and the times of orders. Keys not given
    are random.
    """

    latency: float | Callable[[], float]
    """Seconds, or what returns them, added before every answer."""

    reply_headers: dict[str, str]
    """Headers added to every answer; they replace those of the same name."""

    cancel_delay: float | Callable[[], float]
    """Seconds, or what returns them for each order, from the accepted cancel to its effect; the
    docs' own example shows 1.1 s. Until then the order is open and may trigger. Assumed: a second
    cancel-all does not hit it (1051 if there is nothing else), and a cancel by its id is 1062.
    """

    stale_code: Literal[12001, 403]
    """The code for a Timestamp over five minutes off. Which one the exchange sends is unconfirmed:
    12001 is the documented meaning, 403 is what every other signature fault gets.
    """

    def __init__(
        self,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        port: int = 0,
        contracts: Iterable[str] | None = None,
        limit: int = 5,
        interval: float = 1.0,
        latency: float | Callable[[], float] = 0.0,
        reply_headers: Mapping[str, str] | None = None,
        stale_code: Literal[12001, 403] = 12001,
        cancel_delay: float | Callable[[], float] = 0.0,
        clock: Callable[[], float] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        access_key = access_key or secrets.token_hex(16)
        secret_key = secret_key or secrets.token_hex(16)
        self.credentials = Credentials(access_key, secret_key)
        self.latency = latency
        self.reply_headers = dict(reply_headers or {})
        self.stale_code = stale_code
        self.cancel_delay = cancel_delay
        self._judge = Judge(access_key, secret_key)
        self._contracts = Contracts(contracts)
        self._book = Book()
        self._desk = Desk(self._contracts, self._book)
        self._limits = Limits(limit, interval)
        self._arrivals: list[Arrival] = []
        self._clock = clock or _loop_time
        self._now = now
        self._port = port
        self._door: Door | None = None
        self._url = ""

    async def __aenter__(self) -> Self:
        if self._door is not None:
            raise RuntimeError("this exchange is already open")
        self._door = Door(self.handle)
        try:
            self._url = await self._door.open(self._port)
        except BaseException:
            self._door = None
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        door, self._door, self._url = self._door, None, ""
        if door is not None:
            await door.close()

    def __repr__(self) -> str:
        return f"<SimulatedExchange {self._url or 'closed'}>"

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT, without a slash; RuntimeError unless inside `async with`."""
        if not self._url:
            raise RuntimeError("the exchange is closed: use `async with SimulatedExchange()`")
        return self._url

    def place(
        self,
        contract_code: str,
        direction: str,
        offset: str,
        n: int = 1,
        *,
        margin_mode: MarginMode = "isolated",
        contract_type: str | None = None,
        volume: Decimal | float | str = 1,
        callback_rate: Decimal | float | str = "0.05",
        active_price: Decimal | float | str = 50_000,
        reduce_only: bool | int = 0,
    ) -> tuple[str, ...]:
        """Put `n` trailing orders in the book and return their ids; the contract exists now.

        `offset` "both" makes them one-way orders. `contract_type`: for a dated future such as
        BTC-USDT-261225, "quarter" unless it is known by another; those are for cross margin only.
        ValueError for what the exchange would not hold.
        """
        if margin_mode not in ("isolated", "cross"):
            raise ValueError("margin_mode is isolated or cross")
        order = Order(
            "",
            contract_code,
            direction,
            offset,
            margin_mode,
            created_at=self._settle().ms,
            contract_type=self._contracts.type_of(contract_code, margin_mode, contract_type),
            volume=Decimal(str(volume)),
            callback_rate=Decimal(str(callback_rate)),
            active_price=Decimal(str(active_price)),
            reduce_only=int(reduce_only),
        )
        ids = self._book.place(order, n)
        self._contracts.add(contract_code, order.contract_type)
        return ids

    def open_orders(
        self, contract_code: str | None = None, margin_mode: MarginMode | None = None
    ) -> tuple[Order, ...]:
        """What is in the book, oldest first; an order being cancelled still is."""
        self._settle()
        return self._book.open(contract_code, margin_mode)

    def ended_orders(
        self, contract_code: str | None = None, margin_mode: MarginMode | None = None
    ) -> tuple[Order, ...]:
        """What was cancelled, triggered or failed, in the order in which it ended."""
        self._settle()
        return self._book.ended(contract_code, margin_mode)

    def status_of(self, order_id: str) -> int:
        """2 open, 4 triggered, 5 failed as it triggered, 6 cancelled; ValueError if unknown."""
        self._settle()
        order = self._book.find(order_id)
        if order is None:
            raise ValueError("no such order")
        return order.status

    def trigger(self, order_id: str, after: float = 0.0, *, fail_code: int | None = None) -> None:
        """In `after` seconds, if it is open then, this order triggers and is a limit order.

        A cancel that was accepted but has not taken effect by then comes too late. With
        `fail_code` the limit order is not taken, and the status is 5. ValueError if the order is
        not open now.
        """
        self._book.trigger(order_id, self._settle(), after, fail_code)

    def unknown_contract(self, contract_code: str) -> None:
        """From now on this contract is answered 1014."""
        self._contracts.remove(contract_code)

    def reject_order(
        self, order_id: str, err_code: int, err_msg: str | None = None, *, times: int = 1
    ) -> None:
        """The next `times` cancels that reach this order list it in `errors`.

        It stays open, except after 1017, 1061, 1062, 1063 and 1071, which say that it is gone or
        going: unknown, being cancelled, triggered, cancelled. ValueError if it is not open now.
        """
        self._settle()
        self._book.reject(order_id, err_code, err_msg, times)

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """Every request so far, in order."""
        return tuple(self._arrivals)

    def busiest(
        self, window: float = 1.0, path: str | None = None, *, call: Call | None = None
    ) -> int:
        """The most arrivals in any half-open window of `window` seconds.

        Those on `path`, or those of `call` in both margin modes together. Without either: those
        of cancel-all, on the busier of its two paths, for each has a limit of its own.
        """
        return busiest(self._arrivals, window, path, call)

    def handle(self, request: Request) -> Reply:
        """Do everything that `request` causes, at once, and return what its sender is to see."""
        when = self._settle()
        endpoint = BY_REQUEST.get((request.method, request.path))
        form = read_json(request.body) if request.method == "POST" else _query(request)
        contract_code = _contract_code(form)
        rate, fault = None, None
        if endpoint is not None:
            rate = self._limits.arrive(endpoint, when.at)
            fault = self._take(endpoint.call, contract_code, exceeded=rate.exceeded)
        answer = self._answer(request, endpoint, form, when, rate, fault)
        reply = self._reply(request, answer, when, rate, fault)
        code = answer.code if reply.fate != "dropped" else None
        host = request.header("Host")
        self._arrivals.append(
            Arrival(when.at, request.method, request.path, contract_code, code, host)
        )
        return reply

    def _settle(self) -> Moment:
        """Read the clocks, and let take effect what is due."""
        when = Moment(self._clock(), self._now())
        self._book.settle(when.at)
        return when

    def _answer(
        self,
        request: Request,
        endpoint: Endpoint | None,
        form: Any,
        when: Moment,
        rate: Rate | None,
        fault: Fault | None,
    ) -> Answer:
        if endpoint is None or rate is None:
            refusal = self._verdict(request, when.now) if "Signature=" in request.query else None
            return refused(refusal, when.ms) if refusal else not_found(request.path, when.ms)
        if rate.exceeded:
            return refused(_TOO_MANY, when.ms)
        answer = Answer(b"")
        if fault is None or fault.work:
            answer = self._work(request, endpoint, form, when)
        return fault.page(when.ms, request.path) if fault and fault.page else answer

    def _work(self, request: Request, endpoint: Endpoint, form: Any, when: Moment) -> Answer:
        if endpoint.call == "timestamp":
            return Answer(as_json({"status": "ok", "ts": when.ms}))
        try:
            if endpoint.call == "contract_info":
                return accepted(self._contracts.info(form, when.ms), when.ms)
            refusal = self._verdict(request, when.now)
            if refusal is not None:
                return refused(refusal, when.ms)
            return accepted(self._desk.serve(endpoint, form, when, self._delay), when.ms)
        except Refused as error:
            return refused(error.refusal, when.ms)

    def _delay(self) -> float:
        return self.cancel_delay() if callable(self.cancel_delay) else self.cancel_delay

    def _verdict(self, request: Request, now: float) -> Refusal | None:
        refusal = self._judge.verdict(request, now)
        if refusal is STALE and self.stale_code != STALE.code:
            return NOT_VERIFIED
        return refusal

    def _reply(
        self, request: Request, answer: Answer, when: Moment, rate: Rate | None, fault: Fault | None
    ) -> Reply:
        headers = rate.headers(when.now) if rate is not None and answer.metered else {}
        delay = self.latency() if callable(self.latency) else self.latency
        fate: Fate = "answered"
        if fault is not None:
            delay, fate = delay + fault.delay, fault.fate
        return wrapped(request, answer, headers, self.reply_headers, delay, fate)


def _loop_time() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


def _query(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.query))


def _contract_code(form: Any) -> str | None:
    value = form.get("contract_code") if isinstance(form, dict) else None
    return value if isinstance(value, str) else None
