"""What a session tells its listeners, as frozen values; nothing secret is in them.

Every event has `at` (loop time, seconds) and, where it belongs to one, `call`: a number that is
the same for all events of one call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from htx_async.aio.listeners import LEAVING, Audience
from htx_async.aio.tasks import own_task
from htx_async.enums import ApiGeneration, Direction, LimiterMode, Offset
from htx_async.filters import OrderFilter
from htx_async.report import Attempt, CancelReport


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call was made; it has not asked for a token yet."""

    at: float
    call: int
    contract_code: str
    urgent: bool
    direction: Direction | None = None
    offset: Offset | None = None


@dataclass(frozen=True, slots=True)
class TokenGranted:
    """The next attempt of a call may leave, after `waited` seconds in the queue.

    `contract_codes`: the contracts that it serves; none where it serves the whole account.
    """

    at: float
    call: int
    contract_code: str
    base_url: str
    waited: float
    contract_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt came to a verdict. `contract_codes`: see `TokenGranted`."""

    at: float
    call: int
    contract_code: str
    attempt: Attempt
    contract_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is over; `report` is what its caller gets, or would have got if it was cancelled."""

    at: float
    call: int
    report: CancelReport


@dataclass(frozen=True, slots=True)
class EndpointPaused:
    """A reply paused an endpoint for `seconds`; after a refusal that is one second at least and 10
    at most, whatever it asked for."""

    at: float
    endpoint: str
    seconds: float


@dataclass(frozen=True, slots=True)
class LimitChanged:
    """From this reply on the limit of an endpoint is `requests` in any `seconds`: its headers named
    a slower one, or the documented one again, or a slower one had run out before it came."""

    at: float
    endpoint: str
    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LimiterModeChanged:
    """A limiter of a fleet changed whose tokens it uses for an endpoint, and why."""

    at: float
    endpoint: str
    mode: LimiterMode
    reason: str


@dataclass(frozen=True, slots=True)
class GenerationChanged:
    """The account turned out to be on another generation of the API, and how that showed."""

    at: float
    generation: ApiGeneration
    reason: str


Event = (
    CallStarted
    | TokenGranted
    | AttemptEnded
    | CallEnded
    | EndpointPaused
    | LimitChanged
    | LimiterModeChanged
    | GenerationChanged
)


Listener = Callable[[Event], object]


@runtime_checkable
class WritesAhead(Protocol):
    """A listener that keeps a record which should be safe before a call's first byte leaves."""

    def written(self, call: int) -> Awaitable[str]:
        """Ends when the `CallStarted` of `call` is safe, with "", or with why it is not.

        A call waits for it, though not for long, and goes all the same.
        """


class Teller:
    """Builds the events and hands them to the listeners; there is none where nobody listens.

    What a listener raises is logged by name and changes nothing; see `htx_async.aio.listeners`.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._audience = Audience("on_event", listeners)
        objects: Sequence[object] = listeners
        self._ahead = [each for each in objects if isinstance(each, WritesAhead)]

    def call_started(self, at: float, call: int, intent: OrderFilter, urgent: bool) -> None:
        """See `CallStarted`."""
        filters = (intent.direction, intent.offset)
        self._tell(CallStarted(at, call, intent.instrument, urgent, *filters))

    async def written(self, call: int, until: float) -> tuple[str, ...]:
        """Wait for the records of a call's start, at most until loop time `until`; what failed."""
        if not self._ahead:
            return ()
        records = [own_task(_kept(listener, call)) for listener in self._ahead]
        left = max(0.0, until - asyncio.get_running_loop().time())
        try:
            safe, late = await asyncio.wait(records, timeout=left)
        finally:
            for record in records:
                record.cancel()
        return (*filter(None, (record.result() for record in safe)), *(_LATE for _ in late))

    def token_granted(
        self,
        at: float,
        call: int,
        contract_code: str,
        base_url: str,
        waited: float,
        contract_codes: tuple[str, ...],
    ) -> None:
        """See `TokenGranted`."""
        self._tell(TokenGranted(at, call, contract_code, base_url, waited, contract_codes))

    def attempt_ended(
        self,
        at: float,
        call: int,
        contract_code: str,
        attempt: Attempt,
        contract_codes: tuple[str, ...],
    ) -> None:
        """See `AttemptEnded`."""
        self._tell(AttemptEnded(at, call, contract_code, attempt, contract_codes))

    def call_ended(self, at: float, call: int, report: CancelReport) -> None:
        """See `CallEnded`."""
        self._tell(CallEnded(at, call, report))

    def endpoint_paused(self, at: float, endpoint: str, seconds: float) -> None:
        """See `EndpointPaused`."""
        self._tell(EndpointPaused(at, endpoint, seconds))

    def limit_changed(self, at: float, endpoint: str, requests: int, seconds: float) -> None:
        """See `LimitChanged`."""
        self._tell(LimitChanged(at, endpoint, requests, seconds))

    def generation_changed(self, at: float, generation: ApiGeneration, reason: str) -> None:
        """See `GenerationChanged`."""
        self._tell(GenerationChanged(at, generation, reason))

    def limiter_mode_changed(self, endpoint: str, mode: LimiterMode, reason: str) -> None:
        """See `LimiterModeChanged`."""
        at = asyncio.get_running_loop().time()
        self._tell(LimiterModeChanged(at, endpoint, mode, reason))

    def _tell(self, event: Event) -> None:
        self._audience.tell(type(event).__name__, event)


async def _kept(listener: WritesAhead, call: int) -> str:
    """Why the record of `call` is not kept; "" when it is."""
    try:
        told: object = await listener.written(call)
    except LEAVING:
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return f"{_FAILED}: {type(error).__name__}"
    return told if isinstance(told, str) else f"{_FAILED}: it says {type(told).__name__}"


_FAILED = "the record of this call could not be kept"
_LATE = "the record of this call was not safe yet when its first request left"
