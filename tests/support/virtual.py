"""An event loop in virtual time, and a transport that talks to the simulated exchange in it."""

import asyncio
import json
import math
import os
import selectors
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Literal, NamedTuple, TypeVar, TypeVarTuple, Unpack, get_args

from htx_async.aio.timers import TimeLimit
from htx_async.exchange.messages import Answer, SendFailed, SignedRequest
from htx_async.session import HtxSession
from htx_async.simulator import Request, SimulatedExchange

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SOAK = os.environ.get("HTX_SOAK") == "1"
"""Whether the long runs were asked for, as `make soak` does."""

MUTATED = "MUTANT_UNDER_TEST" in os.environ
"""Whether mutmut runs the tests: each of its mutants is to meet the same ones, and few."""

SLOW = 2.0
OWN: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
"""The package's own tasks, which `asyncio.all_tasks()` does not list."""

_unregister = asyncio.tasks._unregister_task


def _remembered(task: asyncio.Task[Any]) -> None:
    OWN.add(task)
    _unregister(task)


asyncio.tasks._unregister_task = _remembered


def own_tasks_left() -> set[asyncio.Task[Any]]:
    """Those of the running loop that are not over."""
    loop = asyncio.get_running_loop()
    return {task for task in OWN if not task.done() and task.get_loop() is loop}


_TICK = 1e-6
_NEXT = 1e-12
_STUCK = 5.0


class _InstantSelector(selectors.DefaultSelector):
    """Never waits: the loop's clock jumps over the time for which it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            events = super().select(_STUCK)
            if not events:
                raise RuntimeError("every task waits for something that will never come")
            return events
        # A tick for every turn, or a clock that lands exactly on a timer could stand still there.
        self.now += max(0.0, timeout) + _TICK
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` starts at 0 and passes at once; I/O and threads still work."""

    def __init__(self) -> None:
        self._instant = _InstantSelector()
        self._count = 0
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        # Timers of one moment fire in the order in which they were set, which asyncio does not
        # promise: what is sent together arrives in the order in which it was sent.
        self._count += 1
        return super().call_at(when + self._count * _NEXT, callback, *args, context=context)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time; tasks that it leaves behind are an error."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        # Not its `run`, which hands signals over and takes them back for every little loop.
        return runner.get_loop().run_until_complete(_alone(main))


async def _alone(main: Coroutine[Any, Any, T]) -> T:
    result = await main
    left = (asyncio.all_tasks() | own_tasks_left()) - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"
    return result


FIRST, SECOND = "http://127.0.0.1:1", "http://127.0.0.1:2"
"""Two hosts of one exchange."""

Sickness = Literal[
    "refusing", "unreachable", "silent", "mute", "resets", "bad_gateway", "page", "busy", "slow"
]
SICKNESSES: tuple[Sickness, ...] = get_args(Sickness)
WITHOUT_WORK: tuple[Sickness | None, ...] = ("silent", "resets", "bad_gateway", "page", "busy")
HTML = b"<html>502 Bad Gateway</html>"
BUSY = {"status": "error", "err_code": 1004, "err_msg": "System busy.", "ts": 1_700_000_000_000}


class Outage(NamedTuple):
    """What is wrong with `host`, or with all, from loop time `start` to `end`.

    Connections are refused, or time out ("unreachable"); requests are never answered, undone
    ("silent") or done ("mute"); answered by a reset, HTTP 502, a page with HTTP 200, or 1004; or
    done, and answered 2 s late ("slow"). What a request meets depends on when it arrives.
    """

    what: Sickness
    start: float = 0.0
    end: float = math.inf
    host: str | None = None


class Met(NamedTuple):
    """One request that met an outage: when it arrived, and where."""

    at: float
    host: str
    path: str
    body: bytes
    what: Sickness


class VirtualTransport:
    """Stands in for `Transport`: the exchange's own core answers, `latency()` seconds each way.

    `outages`: what is wrong with its hosts. `met`: requests that met one without any work done.
    """

    def __init__(self, exchange: SimulatedExchange, latency: Callable[[], float]) -> None:
        self.exchange = exchange
        self.latency = latency
        self.outages: list[Outage] = []
        self.met: list[Met] = []

    def sickness(self, request: SignedRequest) -> Sickness | None:
        """What `request` meets now."""
        now, url = asyncio.get_running_loop().time(), request.base_url
        hits = (o for o in self.outages if o.start <= now < o.end and o.host in (None, url))
        return next((outage.what for outage in hits), None)

    def seen(self, path: str) -> list[float]:
        """When each request to `path` arrived anywhere, whatever it met there."""
        arrived = [a.at for a in self.exchange.arrivals if a.path == path]
        return sorted([*arrived, *(met.at for met in self.met if met.path == path)])

    def check_open(self) -> None:
        pass

    def promise(self) -> None:
        pass

    def prepare(self, request: SignedRequest) -> "VirtualSending":
        return VirtualSending(self, request)

    async def aclose(self) -> None:
        pass


class VirtualSending:
    def __init__(self, transport: VirtualTransport, request: SignedRequest) -> None:
        self._transport = transport
        self._request = request
        self.sent = False

    def withdraw(self) -> None:
        """Nothing comes between this and the end of its task here."""

    async def answer(self, within: float, connect: float) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            with TimeLimit(loop.time() + within):
                await self._connect(connect)
                return await self._exchange()
        except TimeoutError:
            pass
        reason = f"no complete answer within {within:g} s"
        raise SendFailed(reason, sent=self.sent, connecting=not self.sent)

    async def _connect(self, within: float) -> None:
        sickness = self._transport.sickness(self._request)
        if sickness == "unreachable":
            await asyncio.sleep(within)
        if sickness in ("refusing", "unreachable"):
            raise SendFailed("no connection", sent=False, connecting=True)

    async def _meet(self, sickness: Sickness | None) -> Answer | None:
        """What becomes of a request that has arrived, if no work is done for it."""
        if sickness is None or sickness not in WITHOUT_WORK:
            return None
        loop, request, latency = asyncio.get_running_loop(), self._request, self._transport.latency
        met = Met(loop.time(), request.base_url, request.path, request.body, sickness)
        self._transport.met.append(met)
        if sickness == "silent":
            await loop.create_future()
        await asyncio.sleep(latency())
        if sickness == "resets":
            raise SendFailed("the connection failed", sent=True)
        body = json.dumps(BUSY).encode() if sickness == "busy" else HTML
        return Answer(502 if sickness == "bad_gateway" else 200, {}, body)

    async def _linger(self, sickness: Sickness | None) -> None:
        """What the answer to a request meets for which the work was done."""
        if sickness == "mute":
            await asyncio.get_running_loop().create_future()
        if sickness == "slow":
            await asyncio.sleep(SLOW)

    async def _exchange(self) -> Answer:
        self.sent = True
        await asyncio.sleep(self._transport.latency())
        sickness = self._transport.sickness(self._request)
        if (answer := await self._meet(sickness)) is not None:
            return answer
        request = self._request
        target = request.url().removeprefix(request.base_url)
        headers = {"Host": request.base_url.partition("://")[2]}
        reply = self._transport.exchange.handle(
            Request(request.method, target, headers, request.body)
        )
        await self._linger(sickness)
        await asyncio.sleep(self._transport.latency() + reply.delay)
        if reply.fate != "answered":
            raise SendFailed("the answer was lost", sent=True)
        return Answer(reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.body)


def virtual_session(
    exchange: SimulatedExchange, latency: Callable[[], float] = lambda: 0.04, **settings: Any
) -> HtxSession:
    """A session of `exchange` without sockets; `latency` seconds each way. On v1, unless said
    otherwise: what is counted is that call alone."""
    settings = {"generation": "v1", **settings}
    session = HtxSession(exchange.credentials, **{"base_urls": FIRST, **settings})
    session._opening.transport = VirtualTransport(exchange, latency)  # type: ignore[assignment]  # the seam
    return session


def transport_of(session: HtxSession) -> VirtualTransport:
    """The one that `virtual_session` gave it."""
    transport: Any = session._opening.transport
    assert isinstance(transport, VirtualTransport)
    return transport
