"""An event loop in virtual time, and a transport that talks to the simulated exchange in it."""

import asyncio
import os
import selectors
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from htx_async.session import HtxSession
from htx_async.simulator import Request, SimulatedExchange
from htx_async.timers import TimeLimit
from htx_async.wire import Answer, SendFailed, SignedRequest

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SOAK = os.environ.get("HTX_SOAK") == "1"
"""Whether the long runs were asked for, as `make soak` does."""

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


class VirtualTransport:
    """Stands in for `Transport`: the exchange's own core answers, `latency()` seconds each way."""

    def __init__(self, exchange: SimulatedExchange, latency: Callable[[], float]) -> None:
        self.exchange = exchange
        self.latency = latency

    def check_open(self) -> None:
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

    async def answer(self, within: float, connect: float, limit: TimeLimit | None = None) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            with TimeLimit(loop.time() + within, outer=limit):
                return await self._exchange()
        except TimeoutError:
            pass
        raise SendFailed(f"no complete answer within {within:g} s", sent=True)

    async def _exchange(self) -> Answer:
        self.sent = True
        await asyncio.sleep(self._transport.latency())
        request = self._request
        target = request.url().removeprefix(request.base_url)
        headers = {"Host": request.base_url.partition("://")[2]}
        reply = self._transport.exchange.handle(
            Request(request.method, target, headers, request.body)
        )
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
    session = HtxSession(exchange.credentials, base_urls="http://127.0.0.1:1", **settings)
    session._transport = VirtualTransport(exchange, latency)  # type: ignore[assignment]  # the seam
    return session
