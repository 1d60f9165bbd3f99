"""The simulated exchange itself: one synchronous core and what a test may ask of it."""

import asyncio
import gzip
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from htx_async.signing import Credentials
from htx_async.simulator.book import Book, Order
from htx_async.simulator.door import Door
from htx_async.simulator.faults import Fault, Misbehaviour
from htx_async.simulator.judge import NOT_VERIFIED, STALE, Judge
from htx_async.simulator.messages import (
    Answer,
    Refusal,
    Reply,
    Request,
    accepted,
    as_json,
    not_found,
    read_json,
    refused,
)
from htx_async.simulator.traffic import Arrival, Rate, Window, busiest

CANCEL_ALL = ("POST", "/linear-swap-api/v1/swap_track_cancelall")
TIMESTAMP = ("GET", "/api/v1/timestamp")

_TOO_MANY = Refusal(1032, "The number of access exceeded the limit.")


class SimulatedExchange(Misbehaviour):
    """HTX USDT-M trailing orders in isolated margin, as far as cancelling them all goes.

    * POST /linear-swap-api/v1/swap_track_cancelall (HTX API docs, "Cancel All Trailing Orders
      (isolated)"). Signature and body are judged. `direction` and `offset` are independent
      filters, both together mean AND. Assumed: an `offset` filter does not see one-way orders,
      whose offset is `both`. Orders leave the book at once, not some tens of ms later.
    * GET /api/v1/timestamp (HTX API docs, "Get current system timestamp"), public, 240 per 3 s.
    * Any other path, or method: HTTP 404. Assumed: if such a request is signed, a wrong signature
      is answered first.

    The private path takes `limit` arrivals in any `interval` seconds; one more is answered
    err_code 1032 with HTTP 200 (the status is assumed) before anything else is judged.

    `contracts`: the contracts that exist, and else every well-formed one does. `clock`: seconds
    for arrivals and limits, by default the running loop's time. `now`: Unix seconds for
    Timestamp, `ts` and `ratelimit-reset`. Keys not given are random.
    """

    latency: float | Callable[[], float]
    """Seconds, or what returns them, added before every answer."""

    reply_headers: dict[str, str]
    """Headers added to every answer; they replace those of the same name."""

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
        self._judge = Judge(access_key, secret_key)
        self._book = Book(contracts)
        self._windows = {CANCEL_ALL: Window(limit, interval), TIMESTAMP: Window(240, 3.0)}
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

    def place(self, contract_code: str, direction: str, offset: str, n: int = 1) -> tuple[str, ...]:
        """Put `n` trailing orders in the book and return their ids; the contract exists now."""
        return self._book.place(contract_code, direction, offset, n)

    def open_orders(self, contract_code: str | None = None) -> tuple[Order, ...]:
        """What is in the book, oldest first."""
        return self._book.open_orders(contract_code)

    def unknown_contract(self, contract_code: str) -> None:
        """From now on this contract is answered 1014."""
        self._book.unknown_contract(contract_code)

    def reject_order(
        self, order_id: str, err_code: int, err_msg: str | None = None, *, times: int = 1
    ) -> None:
        """The next `times` cancels that reach this order list it in `errors`.

        It stays open, except after 1017, 1061, 1062, 1063 and 1071, which say that it is gone or
        going. ValueError if it is not open now.
        """
        self._book.reject(order_id, err_code, err_msg, times)

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """Every request so far, in order."""
        return tuple(self._arrivals)

    def busiest(self, window: float = 1.0, path: str | None = None) -> int:
        """The most arrivals in any half-open window of `window` seconds: those of the private
        call, or those on `path`.
        """
        if path is None:
            chosen = (one.at for one in self._arrivals if (one.method, one.path) == CANCEL_ALL)
        else:
            chosen = (one.at for one in self._arrivals if one.path == path)
        return busiest(chosen, window)

    def handle(self, request: Request) -> Reply:
        """Do everything that `request` causes, at once, and return what its sender is to see."""
        at, now = self._clock(), self._now()
        form = read_json(request.body)
        contract_code = _contract_code(form)
        call = (request.method, request.path)
        rate = self._windows[call].arrive(at) if call in self._windows else None
        fault = None
        if rate is not None and call == CANCEL_ALL:
            fault = self._take(contract_code, exceeded=rate.exceeded)
        answer = self._answer(request, form, now, rate, fault)
        reply = self._reply(request, answer, now, rate, fault)
        code = answer.code if reply.fate != "dropped" else None
        host = request.header("Host")
        self._arrivals.append(Arrival(at, request.method, request.path, contract_code, code, host))
        return reply

    def _answer(
        self, request: Request, form: Any, now: float, rate: Rate | None, fault: Fault | None
    ) -> Answer:
        ts = int(now * 1000)
        if rate is None:
            return self._lost(request, now)
        if rate.exceeded:
            return refused(_TOO_MANY, ts)
        if request.path == TIMESTAMP[1]:
            return Answer(as_json({"status": "ok", "ts": ts}))
        answer = Answer(b"") if fault and not fault.work else self._work(request, form, now)
        return fault.page(ts, request.path) if fault and fault.page else answer

    def _lost(self, request: Request, now: float) -> Answer:
        ts = int(now * 1000)
        refusal = self._verdict(request, now) if "Signature=" in request.query else None
        return refused(refusal, ts) if refusal else not_found(request.path, ts)

    def _work(self, request: Request, form: Any, now: float) -> Answer:
        ts = int(now * 1000)
        outcome = self._verdict(request, now) or self._book.cancel_all(form)
        return refused(outcome, ts) if isinstance(outcome, Refusal) else accepted(outcome, ts)

    def _verdict(self, request: Request, now: float) -> Refusal | None:
        refusal = self._judge.verdict(request, now)
        if refusal is STALE and self.stale_code != STALE.code:
            return NOT_VERIFIED
        return refusal

    def _reply(
        self, request: Request, answer: Answer, now: float, rate: Rate | None, fault: Fault | None
    ) -> Reply:
        headers = {"Content-Type": answer.content_type, **answer.headers}
        if rate is not None and answer.metered:
            headers |= rate.headers(now)
        body = answer.body
        if body and _asks_for_gzip(request.header("Accept-Encoding")):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, mtime=0)
        ours = {name.lower() for name in self.reply_headers}
        headers = {name: value for name, value in headers.items() if name.lower() not in ours}
        headers |= self.reply_headers
        delay = self.latency() if callable(self.latency) else self.latency
        if fault is None:
            return Reply(answer.status, headers, body, delay)
        return Reply(answer.status, headers, body, delay + fault.delay, fault.fate)


def _loop_time() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


def _contract_code(form: Any) -> str | None:
    value = form.get("contract_code") if isinstance(form, dict) else None
    return value if isinstance(value, str) else None


def _asks_for_gzip(accept_encoding: str) -> bool:
    """Whether the header names gzip, other than to forbid it with `q=0`."""
    for item in accept_encoding.lower().split(","):
        coding, _, weight = item.replace(" ", "").partition(";")
        if coding in ("gzip", "*"):
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
