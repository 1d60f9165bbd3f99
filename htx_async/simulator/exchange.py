"""The simulated exchange itself: one synchronous core and what a test may ask of it."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl

from htx_async.exchange.endpoints import ENDPOINTS
from htx_async.exchange.signing import Credentials
from htx_async.simulator.account import Account, V1Variant, V5Refusal
from htx_async.simulator.book import Book
from htx_async.simulator.door import Door
from htx_async.simulator.endpoints import Call, Endpoint, Generation, find
from htx_async.simulator.faults import Fault
from htx_async.simulator.holdings import Holdings
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
from htx_async.simulator.orders import Moment
from htx_async.simulator.serve_v5 import ItemForm, Lists, RowOrder, V5Desk
from htx_async.simulator.signature_check import NOT_VERIFIED, STALE, Judge
from htx_async.simulator.traffic import Arrival, Limits, Rate, busiest
from htx_async.simulator.v5_forms import CancelForm, knows_path, rows_of

_TOO_MANY = Refusal(1032, "The number of access exceeded the limit.")


class SimulatedExchange(Holdings):
    """HTX USDT-M trailing orders in isolated and cross margin, all but the placing of them, over
    one book for both generations of the API.

    * POST /linear-swap-api/v1/swap_track_cancelall, _cancel, _openorders, _hisorders and their
      twins swap_cross_track_... (HTX API docs, "[Isolated] Cancel All Trailing Orders" and the
      pages beside it). Signature and body are judged. Each path sees the orders of its own margin
      mode only. `direction` and `offset` of a cancel-all are independent filters, both together
      mean AND. Assumed: an `offset` filter does not see one-way orders, whose offset is `both`.
    * GET /v5/algo/order/opens, /v5/algo/order/history, /v5/algo/order, POST
      /v5/algo/cancel_orders, GET /v5/account/asset_mode, /v5/position/mode. HTX publishes no page
      on V5's algo orders; each module says whose word it goes by. Assumed: an order has the same
      id on both generations. There is no cancel-all.
    * GET /linear-swap-api/v1/swap_contract_info, public, with `contract_code` and
      `business_type`: the contracts given or placed on, or the one that is named.
    * GET /api/v1/timestamp (HTX API docs, "Get current system timestamp"), public.
    * Any other row of the table of endpoints (`htx_async.exchange.endpoints`): the
      example that `record` was given for it.
    * Any other path, or method: HTTP 404. Assumed: if such a request is signed, a wrong signature
      is answered first.

    Each v1 path that cancels takes `limit` arrivals in any `interval` seconds, by default what the
    table of endpoints says of it; one more is answered code 1032 with HTTP 200 (the status is
    assumed) before anything else is judged. All calls that cancel together, the private reads
    together and the public calls together take what that table says (assumed for the first, and
    more if `limit` says more). V5's cancel has no limit of its own but `v5_limit` in `interval`
    seconds, if given.

    `account`: the generation that the account is on, until `move`. `v1_variant`: what v1 answers
    once it is on V5 (see `Account`). `v5_refusal`: the code of V5 until then; None: it answers as
    if the account had no orders. `v5_items`: the form of what V5 says of a single order, by `code`
    or by `success` (see `V5Desk`); `v5_cancel`: the form in which it wants cancels (see
    `CancelForm`). `v5_page`, `v5_order`, `v5_inclusive`, `v5_lag`: how V5 lists,
    the most rows on a page, their order, and so on (see `Lists`).

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
        limit: int | None = None,
        interval: float | None = None,
        latency: float | Callable[[], float] = 0.0,
        reply_headers: Mapping[str, str] | None = None,
        stale_code: Literal[12001, 403] = 12001,
        cancel_delay: float | Callable[[], float] = 0.0,
        account: Generation = "v1",
        v1_variant: V1Variant = "answering",
        v5_refusal: V5Refusal | None = 6001,
        v5_items: ItemForm = "code",
        v5_cancel: CancelForm = "array",
        v5_page: int = 100,
        v5_order: RowOrder = "oldest first",
        v5_inclusive: bool = False,
        v5_lag: float = 0.0,
        v5_limit: int | None = None,
        clock: Callable[[], float] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(contracts, clock, now)
        access_key = access_key or secrets.token_hex(16)
        secret_key = secret_key or secrets.token_hex(16)
        self.credentials = Credentials(access_key, secret_key)
        self.latency = latency
        self.reply_headers = dict(reply_headers or {})
        self.stale_code = stale_code
        self.cancel_delay = cancel_delay
        self._judge = Judge(access_key, secret_key)
        lists = Lists(v5_page, v5_order, v5_inclusive, v5_lag)
        self._v5 = V5Desk(self._contracts, self._book, v5_items, lists, v5_cancel)
        self._cancel_form: CancelForm = v5_cancel
        bare = V5Desk(self._contracts, Book(), v5_items, lists)
        self._account = Account(
            account, v1_variant, v5_refusal, self._contracts, self._book, self._v5, bare
        )
        self._limits = Limits(limit, interval, v5_limit)
        self._examples: dict[Call, bytes] = {}
        self._arrivals: list[Arrival] = []
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

    def record(self, call: Call, example: bytes) -> None:
        """Answer each verified request of `call`, a row of the table of endpoints, by the body of a
        recorded reply, whatever it asks for and whatever the book holds."""
        if call not in ENDPOINTS:
            raise ValueError(f"call is one of {', '.join(ENDPOINTS)}, not {call!r}")
        self._examples[call] = example

    def handle(self, request: Request) -> Reply:
        """Do everything that `request` causes, at once, and return what its sender is to see."""
        when = self._settle()
        endpoint = self._endpoint(request)
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

    def _endpoint(self, request: Request) -> Endpoint | None:
        found = find(request.method, request.path)
        is_cancel = found is not None and found.call == "v5_cancel"
        return None if is_cancel and not knows_path(request.path, self._cancel_form) else found

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
            if refusal:
                return refused(refusal, when.ms, request.path)
            return not_found(when.ms, request.path)
        if rate.exceeded:
            return refused(_TOO_MANY, when.ms, request.path)
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
                return refused(refusal, when.ms, request.path)
            if endpoint.call in self._examples:
                return Answer(self._examples[endpoint.call])
            return self._account.serve(endpoint, form, when, self._delay)
        except Refused as error:
            return refused(error.refusal, when.ms, request.path)

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


def _query(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.query))


def _contract_code(form: Any) -> str | None:
    """The one that is named; in a cancel on V5 that of its first order."""
    rows = rows_of(form) or [form]
    value = rows[0].get("contract_code") if isinstance(rows[0], dict) else None
    return value if isinstance(value, str) else None
