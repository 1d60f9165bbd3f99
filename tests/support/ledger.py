"""The simulated exchange with a record of what each request did, and a line to it that delays.

All in virtual time.
"""

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, cast

from htx_async.exchange.messages import Answer, SendFailed, SignedRequest
from htx_async.simulator import Order, Reply, Request, SimulatedExchange
from htx_async.simulator.orders import CANCELLED, FAILED, TRIGGERED
from tests.support.book import START, Book, Letter
from tests.support.points import met
from tests.support.virtual import WITHOUT_WORK, VirtualLoop, VirtualSending, VirtualTransport

LETTERS: ContextVar[list[Letter]] = ContextVar("letters")
"""Those of the call that is running."""

CALLS_LETTERS: dict[int, list[Letter]] = {}
"""Those of each call, by its number in events."""

Rider = tuple[int, tuple[str, ...]]
"""A call and its contracts; none for the account."""

RIDERS: list[Rider] = []
"""Those that have a part in the request that was signed last."""

CONTRACTS = ("BTC-USDT", "ETH-USDT", "SOL-USDT", *(f"C{number}-USDT" for number in range(9)))


def weather(chance: random.Random) -> dict[str, Callable[[], float]]:
    """Seconds each way. Only "storm" goes beyond the time for one attempt."""
    return {
        "none": lambda: 0.0,
        "calm": lambda: 0.04,
        "jitter": lambda: chance.uniform(0.0, 0.4),
        "heavy tail": lambda: min(2.9, 0.03 * chance.paretovariate(0.8)),
        "storm": lambda: chance.choice((0.05, 0.5, 2.0, 3.5, 6.0)),
    }


REFUSALS = (403, 1000, 1004, 1014, 1014, 1014, 1030, 1030, 1032, 1056, 1066, 6002, 12001)
"""Some that end a call for good are drawn more often: sick hosts leave few calls to be refused."""

FAULTS: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = (
    ("lose_before_work", (), {}),
    ("lose_after_work", (), {}),
    ("lose_after_work", (), {}),
    ("truncate", (), {}),
    ("bad_gateway", (), {}),
    ("bad_gateway", (), {"after_work": True}),
    ("malform", (b"<html>",), {"after_work": True}),
    ("malform", (b"",), {"after_work": True}),
    ("malform", (b'{"status":"ok","data":{"errors":[]',), {"after_work": True}),
    ("maintain", (), {}),
    ("retire", (), {}),
    ("retire", (), {"path_gone": True}),
    ("redirect", (302, "/elsewhere"), {}),
    ("too_many", (), {}),
    ("too_many", (0.4,), {}),
    *(("late", (seconds,), {}) for seconds in (0.5, 2.5, 3.5, 8.0)),
    *(("refuse", (c,), {}) for c in REFUSALS),
)
"""Each misbehaviour that the exchange has, but for answers that lie about orders."""


class Ledger(SimulatedExchange):
    """The simulated exchange on the loop's clock, with a record of what each request did."""

    def __init__(self, loop: VirtualLoop, **settings: Any) -> None:
        self.loop = loop
        self.book = Book(lag=settings.get("v5_lag", 0.0))
        self.settings = settings
        self.met: set[str] = set()
        """What sources disagree on, and what is odd, as replies showed it."""
        self._looked = {True: -math.inf, False: -math.inf}
        self._placed_at = -math.inf
        self._refills = False
        super().__init__(clock=loop.time, now=self.wall, **settings)

    def wall(self) -> float:
        """Unix seconds."""
        return START + self.loop.time()

    def refill(self, rate: float) -> None:
        super().refill(rate)
        self._refills |= rate > 0

    def put(self, *order: Any, **more: Any) -> None:
        """Place orders, and remember when."""
        for order_id in self.place(*order, **more):
            placed = cast(Order, self._book.find(order_id))
            self.book.placed[order_id] = (placed, self.loop.time())
            self._placed_at = self.loop.time()

    def deliver(self, letter: Letter, request: Request) -> Reply:
        """Handle `request`; `letter` knows then what it did."""
        self._note_placed()
        before = self._untouched()
        reply = self.handle(request)
        self.met.update(met(request, reply, self.settings))
        if letter.lists_open:
            looked, self._looked[letter.is_v5] = self._looked[letter.is_v5], self.loop.time()
            if looked < self._placed_at and self.loop.time() < looked + 1.0:
                self.met.add(f"on {'V5' if letter.is_v5 else 'v1'}: placed between two looks")
        gone = before - self._untouched()
        ended = {order.order_id for order in self.ended_orders() if order.status == CANCELLED}
        letter.taken = frozenset(i for i in gone if i in ended or self._book.is_going(i))
        letter.in_book = frozenset(order.order_id for order in self.open_orders())
        letter.arrived = self.loop.time()
        self.book.taken |= letter.taken
        return reply

    def noted(self) -> Book:
        """The book as it is now."""
        self._note_placed()
        is_open = {order.order_id for order in self.open_orders()}
        going = {order_id for order_id in is_open if self._book.is_going(order_id)}
        ended, met = self.ended_orders(), (TRIGGERED, FAILED)
        self.book.is_open, self.book.untouched = is_open, is_open - going
        self.book.triggered = {order.order_id for order in ended if order.status in met}
        self.book.ended = {order.order_id: (order.ended_at or 0) / 1000 - START for order in ended}
        return self.book

    def _note_placed(self) -> None:
        """What came back by itself counts from its own time on."""
        for order in self.open_orders() if self._refills else ():
            if order.order_id not in self.book.placed:
                self._placed_at = order.created_at / 1000 - START
                self.book.placed[order.order_id] = (order, self._placed_at)

    def _untouched(self) -> set[str]:
        ids = (order.order_id for order in self.open_orders())
        return {order_id for order_id in ids if not self._book.is_going(order_id)}


class Line(VirtualTransport):
    """The way to the exchange. `residual`: a request that its sender gives up arrives all the
    same, as what has left the machine may."""

    def __init__(self, exchange: Ledger, latency: Callable[[], float], residual: bool) -> None:
        super().__init__(exchange, latency)
        self.ledger = exchange
        self.residual = residual
        self.letters: list[Letter] = []

    def prepare(self, request: SignedRequest) -> "Sending":
        # Who hears next that it has a token has a part in this request.
        RIDERS[:] = []
        return Sending(self, request)


class Sending(VirtualSending):
    def __init__(self, line: Line, request: SignedRequest) -> None:
        super().__init__(line, request)
        self._line = line

    async def _exchange(self) -> Answer:
        line, loop = self._line, asyncio.get_running_loop()
        letter = _written(self._request, loop.time(), self._riders)
        line.letters.append(letter)
        self.sent = True
        arrival: asyncio.Future[Reply | None] = loop.create_future()
        way = loop.call_later(line.latency(), self._arrive, letter, arrival)
        try:
            reply = await arrival
            if reply is None:
                answer = await self._meet(self._sickness)
                letter.answered, letter.tells_time = answer is not None, False
                assert answer is not None
                return answer
            await self._linger(self._sickness)
            await asyncio.sleep(line.latency() + reply.delay)
            letter.answered = reply.fate == "answered"
            letter.tells_time = b'"ts"' in reply.body and reply.body.endswith(b"}")
        finally:
            letter.ended = loop.time()
            if not line.residual:
                way.cancel()
        if not letter.answered:
            raise SendFailed("the answer was lost", sent=True)
        return Answer(reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.body)

    async def answer(self, within: float, connect: float) -> Answer:
        self._riders = tuple(RIDERS)
        return await super().answer(within, connect)

    async def _connect(self, within: float) -> None:
        try:
            await super()._connect(within)
        except BaseException:
            letter = _written(self._request, asyncio.get_running_loop().time(), self._riders)
            self._line.letters.append(letter)
            letter.sent = False
            raise

    def _arrive(self, letter: Letter, arrival: "asyncio.Future[Reply | None]") -> None:
        request = self._request
        self._sickness = self._line.sickness(request)
        if self._sickness in WITHOUT_WORK:
            letter.arrived = asyncio.get_running_loop().time()
            if not arrival.done():
                arrival.set_result(None)
            return
        headers = {"Host": request.base_url.partition("://")[2]}
        target = request.url().removeprefix(request.base_url)
        message = Request(request.method, target, headers, request.body)
        reply = self._line.ledger.deliver(letter, message)
        if not arrival.done():
            arrival.set_result(reply)


def _written(request: SignedRequest, at: float, riders: Sequence[Rider]) -> Letter:
    """The letter of `request`, known to the calls that it is sent for."""
    text = request.body.decode() + request.url()
    codes = tuple(code for code in CONTRACTS if code in text)
    letter = Letter(request.path, request.body, codes, at, is_shared=len(riders) > 1)
    if letter.cancels or "order" in request.path:
        for number, contracts in riders:
            file = CALLS_LETTERS.get(number, LETTERS.get())
            letter.parts.setdefault(id(file), set()).update(contracts)
            if letter not in file:
                file.append(letter)
    return letter


def next_timer(loop: VirtualLoop) -> float:
    """When the loop has something to do next."""
    timers: list[asyncio.TimerHandle] = loop._scheduled  # type: ignore[attr-defined]  # asyncio's own
    return min((timer.when() for timer in timers if not timer.cancelled()), default=loop.time())


def proper(letters: Iterable[Letter]) -> list[float]:
    """When those arrived whose senders still waited for them."""
    arrived = (letter.arrived for letter in letters if not letter.is_residual)
    return sorted(at for at in arrived if at is not None)


def most_within(moments: Sequence[float], window: float) -> int:
    """The most of `moments` in any half-open window of so many seconds."""
    ends = range(len(moments))
    return max((end - _first(moments, end, window) + 1 for end in ends), default=0)


def _first(moments: Sequence[float], end: int, window: float) -> int:
    first = end
    while first and moments[end] - moments[first - 1] < window - 1e-9:
        first -= 1
    return first
