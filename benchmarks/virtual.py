"""Sessions that reach a counting exchange over a modelled network in virtual time."""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from benchmarks.exchanges import LIMIT, Exchange
from benchmarks.networks import Network, Route
from htx_async import Credentials, HtxSession
from htx_async.exchange.messages import Answer, SignedRequest
from tests.support.virtual import VirtualLoop, VirtualSending, VirtualTransport

T = TypeVar("T")

UNIX = 1_767_225_600.0
"""What a wall clock shows when the loop's clock shows 0."""

_ACCEPTED = (
    b'{"status":"ok","data":{"errors":[],"successes":"826054603831312384,826054608491184128"},'
    b'"ts":%d}'
)
_REFUSED = (
    b'{"status":"error","err_code":1032,"err_msg":"The number of access exceeded the limit.",'
    b'"ts":%d}'
)


class _Loop(VirtualLoop):
    """Does the work of threads itself: in virtual time a timer would overtake them."""

    def run_in_executor(  # type: ignore[override]  # asyncio's own stub says "an awaitable" too
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()
        done.set_result(func(*args))
        return done


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)


_ACCOUNTS = (f"account {number}" for number in itertools.count())


def session(
    exchange: Exchange, network: Network, chance: random.Random, **settings: Any
) -> HtxSession:
    """A session of an account of its own that reaches `exchange` through `network`."""
    credentials = Credentials("access-key", "secret-key")
    # Limiters outlive loops, and a new run must not inherit what the one before has used.
    settings = {"account": next(_ACCOUNTS), **settings}
    htx = HtxSession(credentials, base_urls="http://127.0.0.1:1", **settings)
    htx._opening.transport = _Wire(exchange, Route(network, chance))  # type: ignore[assignment]  # the seam
    return htx


class _Wire(VirtualTransport):
    """Stands in for the session's transport."""

    def __init__(self, exchange: Exchange, route: Route) -> None:
        self.outages = []
        self._counting = exchange
        self._route = route

    def prepare(self, request: SignedRequest) -> "_Sending":
        return _Sending(self, request)

    async def carry(self) -> Answer:
        return await self._route.carry(self._answer)

    def _answer(self) -> Answer:
        """With the headers of HTX API docs, "API Rate Limit Illustration"."""
        verdict = self._counting.arrive()
        now = round((UNIX + self._counting.arrivals[-1]) * 1000)
        headers = {
            "ratelimit-limit": str(LIMIT),
            "ratelimit-interval": "1000",
            "ratelimit-remaining": str(verdict.remaining),
            "ratelimit-reset": str(now + round(verdict.wait * 1000)),
        }
        return Answer(200, headers, (_REFUSED if verdict.refused else _ACCEPTED) % now)


class _Sending(VirtualSending):
    def __init__(self, wire: _Wire, request: SignedRequest) -> None:
        super().__init__(wire, request)
        self._wire = wire

    async def _exchange(self) -> Answer:
        self.sent = True
        return await self._wire.carry()
