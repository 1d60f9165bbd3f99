"""A limit kept at any latency: tokens that come back one period after their request was answered.

A token is taken before a request is signed and sent, and comes back `per` seconds after that
request was answered or has failed; there is no other refill. So, at any latency, two requests that
used one token lie more than `per` apart at the exchange, and no window of that length holds more
than `size` of them (docs/limits.md, "Five in any second, and why it holds"). A bucket keyed on send
times cannot promise that: latency may push the sends of two windows into one.
"""

from htx_async.aio.loop_binding import LoopBinding
from htx_async.arguments import as_count, as_seconds
from htx_async.errors import InvalidRequest
from htx_async.exchange.endpoints import TRAILING, Limit, limit_of, periods
from htx_async.limits.account_budget import AccountBudget
from htx_async.limits.limiter import BaseLimiter
from htx_async.limits.token_queue import TakeToken, TokenQueue
from htx_async.limits.waiting_line import OnTurn


class TokenBucket(BaseLimiter):
    """`size` requests in any `per` seconds at the exchange, for each endpoint by itself.

    Without a size it keeps what is documented of each endpoint (`htx_async.exchange.endpoints`),
    five in any second of each trailing one; `per` other than one second takes the place of the
    period then.

    First in, first out among equals; `urgent` callers go before all others. A waiter that is
    cancelled leaves nothing behind. `round_trip_floor` (seconds) shortens the hold after an
    answer by the time that uplink and downlink together take *at the very least*, a physical
    bound of the route; the smallest round trip ever seen is not one. It belongs to one event loop
    at a time and carries its tokens over from a closed loop to the next.

    Raises `InvalidRequest` for numbers that describe no bucket, and when used from a second loop
    while the first one lives.
    """

    def __init__(
        self,
        size: int | None = None,
        per: float = TRAILING.per,
        *,
        round_trip_floor: float = 0.0,
    ) -> None:
        seconds = as_seconds("per", per)
        self._size = None if size is None else as_count("size", size)
        self._per = None if size is None and seconds == TRAILING.per else seconds
        self.size: int = self._size or TRAILING.size
        self.per: float = self._per or max(periods())
        """Of all endpoints the longest."""
        self.round_trip_floor: float = as_seconds("round_trip_floor", round_trip_floor, least=0)
        shortest = self._per or min(periods())
        if self.round_trip_floor >= shortest:
            raise InvalidRequest(f"round_trip_floor must be shorter than per ({shortest:g} s)")
        self._queues: dict[str, TokenQueue] = {}
        self._budget: AccountBudget | None = None
        self._binding = LoopBinding()

    def limit(self, endpoint: str) -> Limit:
        """What it keeps at `endpoint`, whatever a reply has told."""
        return limit_of(endpoint).but(self._size, self._per)

    def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> TakeToken:
        """See `BaseLimiter.take`."""
        return TakeToken(self._queue(endpoint), urgent, on_turn)

    def stand(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> TakeToken:
        """See `BaseLimiter.stand`."""
        return self.take(endpoint, urgent=urgent, on_turn=on_turn).stand()

    def pause(self, endpoint: str, seconds: float) -> None:
        """See `RateLimiter.pause`."""
        self._queue(endpoint).pause(seconds)

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float:
        """See `RateLimiter.earliest`."""
        return self._queue(endpoint).earliest(urgent)

    def foresee(
        self, endpoint: str, count: int, *, urgent: bool = False, round_trip: float = 0.0
    ) -> float:
        """`earliest` for the last of `count` callers that queue now, with answers that take
        `round_trip` seconds."""
        return self._queue(endpoint).foresee(urgent, count - 1, round_trip)

    def waiting(self, endpoint: str) -> int:
        """How many callers wait for `endpoint`."""
        return len(self._queue(endpoint).line)

    def refused(self, endpoint: str, seconds: float) -> float:
        """A request to `endpoint` was refused for its rate, and the reply asks to wait `seconds`.

        The endpoint is closed for that long, at least one second and 10 s at most; how long that
        is, is returned. Then one request asks, and the others wait for its answer; if it ends
        without one, the next asks. Of all urgent callers together one asks each second meanwhile.
        """
        return self._queue(endpoint).refused(seconds)

    def tighten(self, endpoint: str, requests: float, seconds: float) -> tuple[int, float] | None:
        """A reply says that `endpoint` takes `requests` per `seconds`.

        A slower limit than this bucket's is believed for a minute, which each reply that repeats it
        begins anew; urgent callers together keep one request a second all the same. A reply that
        names this bucket's own rate, or the endpoint's documented one, undoes it. Any other faster
        rate is ignored, since the figure may be that of the whole account.

        Returns size and period (seconds) of the limit in force when this reply has changed it, or
        is the first one since a slower one ran out; else None.
        """
        rate = as_seconds("requests", requests) / as_seconds("seconds", seconds)
        return self._queue(endpoint).tighten(rate, requests)

    def slower_named(self, endpoint: str) -> int:
        """How many replies have named the slower limit that `endpoint` has now; 0: it has none. One
        may be a mistake, which the next reply undoes."""
        return self._queue(endpoint).slower_named()

    def bind(self, *, take_over: bool = False) -> bool:
        """Belong to the running loop from now on; True when tokens came over from the one before.

        `take_over`: from a loop that is still open, too; only when nobody uses the bucket there.
        """
        shift = self._binding.enter(take_over=take_over)
        if shift is None:
            return False
        budget = self._budget = None if self._budget is None else self._budget.carried_over(shift)
        queues = self._queues.items()
        self._queues = {path: queue.carried_over(shift, budget) for path, queue in queues}
        return True

    def _queue(self, endpoint: str) -> TokenQueue:
        if not self._binding.is_here():
            self.bind()
        queue = self._queues.get(endpoint)
        if queue is None:
            settings = (self.limit(endpoint), limit_of(endpoint), self.round_trip_floor)
            queue = self._queues[endpoint] = TokenQueue(*settings, self._budget)
        return queue
