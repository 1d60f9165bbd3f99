"""The simulated exchange itself: one synchronous core and what a test may ask of it."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, assert_never
from urllib.parse import parse_qsl

from htx_async.exchange.signing import Credentials
from htx_async.simulator.account import Account, V1Variant, V5Refusal
from htx_async.simulator.book import Book
from htx_async.simulator.control import Control
from htx_async.simulator.endpoints import Call, Endpoint, Generation, check_name, find
from htx_async.simulator.faults import Fault
from htx_async.simulator.messages import (
    Answer,
    Fate,
    NotServed,
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
from htx_async.simulator.serve_v1 import ServeV1, Successes
from htx_async.simulator.serve_v5 import DataForm, ItemForm, Lists, RowOrder, ServeV5, Unnamed
from htx_async.simulator.serving import Serving
from htx_async.simulator.settings import flag, names, number, one_of, seconds_or_source, text, whole
from htx_async.simulator.signature_check import NOT_VERIFIED, STALE, SignatureCheck
from htx_async.simulator.threads import one_at_a_time
from htx_async.simulator.traffic import Arrival, Limits, Rate, busiest
from htx_async.simulator.v5_forms import CancelForm, Mixed, knows_path, named_contract

_TOO_MANY = Refusal(1032, "The number of access exceeded the limit.")


@one_at_a_time
class SimulatedExchange(Serving):
    """HTX USDT-M trailing orders in isolated and cross margin, all but the placing of them, over
    one book for both generations of the API.

    * POST /linear-swap-api/v1/swap_track_cancelall, _cancel, _openorders, _hisorders and their
      twins `swap_cross_track_...` (HTX API docs, "[Isolated] Cancel All Trailing Orders" and the
      pages beside it). Signature and body are checked. Each path sees the orders of its own margin
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
      example that `record` was given for it, and without one LookupError, over HTTP status 501.
    * Any other path, or method: HTTP 404. Assumed: if such a request is signed, a wrong signature
      is answered first.

    Each v1 path that cancels takes `limit` arrivals in any `interval` seconds, by default what the
    table of endpoints says of it; one more is answered code 1032 with HTTP 200 (the status is
    assumed) before anything else is checked. All calls that cancel together, the private reads
    together and the public calls together take what that table says (assumed for the first, and
    more if `limit` says more). V5's cancel has no limit of its own but `v5_limit` in `interval`
    seconds, if given.

    A broker's `channel_code` may stand in any body (see `read_json`); `arrivals` show it.

    `access_key`, `secret_key`: the key pair of `credentials`, random unless given. `port`: on
    loopback, a free one for 0. `latency`, `reply_headers`, `stale_code`, `cancel_delay`: see the
    attributes of these names, which may be set at any time.

    `account`: the generation that the account is on, v1 or v5, until `move`. `v1_variant`: what v1
    answers once it is on V5 (see `Account`). `v5_refusal`: the code of V5 until then, 6001 or 4007;
    None: it answers as if the account had no orders. `v5_items`: the form of what V5 says of a
    single order, by `code` or by `success` (see `ServeV5`). `v5_cancel`: the form in which it wants
    cancels (see `CancelForm`). `v5_mixed`: what becomes of one that names orders of several
    contracts (see `Mixed`). `v5_page`, `v5_order`, `v5_inclusive`, `v5_lag`: the most rows on a
    page of V5's, their order, whether the row that a page is asked for from is on it, and the
    seconds until an order that was placed is among the open ones (see `Lists`). `v5_unnamed`: what
    its lists are of that name no contract (see `Unnamed`). `v5_data`: how it tells of none, and of
    one alone (see `DataForm`). `v1_successes`: how v1 names the orders whose cancel it took (see
    `Successes`). `rows_twice`: each row of a list, on either, stands in it twice.

    `contracts`: the contracts that exist, and else every well-formed one does. `clock`: seconds
    for arrivals, limits and what takes effect when, by default the running loop's time. `now`:
    Unix seconds for Timestamp, `ts`, `ratelimit-reset` and the times of orders.

    `moves_at`: the account moves to V5 just before its so many-th private request. `refill`: see
    the method of this name. `control`: over HTTP, what tests and people in any language may ask of
    it and do to it is served below /_control (see `control.Control`); without it that is a path
    that there is not, as at the exchange.

    InvalidSetting, a ValueError, for settings that cannot be. `async with` serves HTTP on the loop
    that runs, `with` on one in a thread of its own, by `time.monotonic` unless a clock is given
    (OSError if the port is taken); `handle` needs no server. Each method may be called from any
    thread; what is given as a function is called in the one that serves, or asks.
    """

    credentials: Credentials
    """The key pair of the account, with which a session signs."""

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
        v5_mixed: Mixed = "taken",
        v5_page: int = 100,
        v5_order: RowOrder = "oldest first",
        v5_inclusive: bool = False,
        v5_lag: float = 0.0,
        v5_unnamed: Unnamed = "all",
        v5_data: DataForm = "list",
        v1_successes: Successes = "text",
        rows_twice: bool = False,
        v5_limit: int | None = None,
        moves_at: int | None = None,
        refill: float = 0.0,
        control: bool = False,
        clock: Callable[[], float] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(names("contracts", contracts), clock, now)
        access_key = (access_key and text("access_key", access_key)) or secrets.token_hex(16)
        secret_key = (secret_key and text("secret_key", secret_key)) or secrets.token_hex(16)
        self.credentials = Credentials(access_key, secret_key)
        self.latency = seconds_or_source("latency", latency)
        self.reply_headers = dict(reply_headers or {})
        self.stale_code = one_of("stale_code", stale_code, (12001, 403))
        self.cancel_delay = seconds_or_source("cancel_delay", cancel_delay)
        self._signature_check = SignatureCheck(access_key, secret_key)
        page, inclusive = whole("v5_page", v5_page), flag("v5_inclusive", v5_inclusive)
        twice, lag = flag("rows_twice", rows_twice), number("v5_lag", v5_lag)
        lists = Lists(page, v5_order, inclusive, lag, v5_unnamed, v5_data, twice)
        self._v5 = ServeV5(self._contracts, self._book, v5_items, lists, v5_cancel, v5_mixed)
        self._cancel_form: CancelForm = v5_cancel
        v1, empty_v1 = (
            ServeV1(self._contracts, book, v1_successes, twice) for book in (self._book, Book())
        )
        empty_v5 = ServeV5(self._contracts, Book(), v5_items, lists)
        self._account = Account(account, v1_variant, v5_refusal, v1, self._v5, empty_v1, empty_v5)
        self._limits = Limits(*_checked_limits(limit, interval, v5_limit))
        self._examples: dict[str, bytes] = {}
        self._arrivals: list[Arrival] = []
        self._moves_at = None if moves_at is None else whole("moves_at", moves_at)
        self._private = 0
        if refill:
            self.refill(refill)
        self._port = whole("port", port, 0, 65535)
        self._control = Control(self).handle if flag("control", control) else None

    def __repr__(self) -> str:
        return f"<SimulatedExchange {self._url or 'closed'}>"

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """Every request so far, in order, those that were refused among them."""
        return tuple(self._arrivals)

    def busiest(
        self, window: float = 1.0, path: str | None = None, *, call: str | None = None
    ) -> int:
        """The most arrivals in any half-open window of `window` seconds.

        Those on `path`, or those of `call`, the name of a row of the table of endpoints, in both
        margin modes together. Without either: those of cancel-all, on the busier of its two paths,
        for each has a limit of its own.
        """
        return busiest(self._arrivals, window, path, call)

    def record(self, call: str, example: bytes) -> None:
        """Answer each request of `call`, a row of the table of endpoints, by `example`, the body of
        a recorded reply, whatever it asks for and whatever the book holds; a private one once its
        signature is verified. InvalidSetting if the table has no such row.
        """
        check_name(call)
        self._examples[call] = example

    def handle(self, request: Request) -> Reply:
        """Do everything that `request` causes, at once, and return what its sender is to see.

        LookupError for a row of the table of endpoints that only an example can answer, and
        without one (over HTTP: status 501, and why).
        """
        when = self._settle()
        endpoint = self._endpoint(request)
        form = read_json(request.body) if request.method == "POST" else _query(request)
        contract_code = named_contract(form)
        rate, fault = None, None
        if endpoint is not None:
            self._count(endpoint, when)
            rate = self._limits.arrive(endpoint, when.at)
            fault = self._outage_at(when.at) or self._take(
                endpoint.row.name, contract_code, exceeded=rate.exceeded
            )
        answer = self._answer(request, endpoint, form, when, rate, fault)
        reply = self._reply(request, answer, when, rate, fault)
        code = answer.code if reply.fate != "dropped" else None
        host = request.header("Host")
        self._arrivals.append(
            Arrival(when.at, request.method, request.path, contract_code, code, host, request.body)
        )
        return reply

    def _count(self, endpoint: Endpoint, when: Moment) -> None:
        self._private += not endpoint.is_public
        if self._private == self._moves_at:
            self._account.move(when.at)

    def _endpoint(self, request: Request) -> Endpoint | None:
        found = find(request.method, request.path)
        is_cancel = found is not None and found.call is Call.V5_CANCEL
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
            refusal = self._check(request, when) if "Signature=" in request.query else None
            if refusal:
                return refused(refusal, when.ms, request.path)
            return not_found(when.ms, request.path)
        if rate.exceeded and not (fault is not None and fault.is_first):
            return refused(_TOO_MANY, when.ms, request.path)
        answer = Answer(b"")
        if fault is None or fault.work:
            try:
                answer = self._work(request, endpoint, form, when)
            except Refused as error:
                answer = refused(error.refusal, when.ms, request.path)
        return fault.page(when.ms, request.path) if fault and fault.page else answer

    def _work(self, request: Request, endpoint: Endpoint, form: Any, when: Moment) -> Answer:
        refusal = None if endpoint.is_public else self._check(request, when)
        if refusal is not None:
            raise Refused(refusal)
        if endpoint.row.name in self._examples:
            return Answer(self._examples[endpoint.row.name])
        match endpoint.call:
            case None:
                raise NotServed(f"nothing to answer {endpoint.path} by: give `record` an example")
            case Call.TIMESTAMP:
                return Answer(as_json({"status": "ok", "ts": when.ms}))
            case Call.CONTRACTS:
                return accepted(self._contracts.info(form, when.ms), when.ms)
            case Call.CANCEL_ALL | Call.CANCEL | Call.OPEN_ORDERS | Call.HISTORY as call:
                return self._account.serve_v1(call, endpoint, form, when, self._delay)
            case (
                Call.V5_CANCEL
                | Call.V5_OPEN_ORDERS
                | Call.V5_HISTORY
                | Call.V5_ORDER
                | Call.V5_ASSET_MODE
                | Call.V5_POSITION_MODE
            ) as call:
                return self._account.serve_v5(call, endpoint, form, when, self._delay)
            case call:
                assert_never(call)

    def _delay(self) -> float:
        return self.cancel_delay() if callable(self.cancel_delay) else self.cancel_delay

    def _check(self, request: Request, when: Moment) -> Refusal | None:
        refusal = self._signature_check.check(request, when.now)
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


def _checked_limits(
    limit: int | None, interval: float | None, v5_limit: int | None
) -> tuple[int | None, float | None, int | None]:
    return (
        None if limit is None else whole("limit", limit),
        None if interval is None else number("interval", interval, above=True),
        None if v5_limit is None else whole("v5_limit", v5_limit),
    )


def _query(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.query))
