"""What a session tells its listeners, as frozen values; nothing secret is in them.

Every event has `at` (loop time, seconds) and, where it belongs to one, `call`: a number that is
the same for all events of one call.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from htx_async.enums import (
    TRAILING_ORDERS,
    ApiGeneration,
    Direction,
    LimiterMode,
    MarginMode,
    Offset,
)
from htx_async.report import Attempt, CancelReport


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call was made; it has not asked for a token yet. `family`: of the orders it is about."""

    at: float
    call: int
    contract_code: str
    urgent: bool
    direction: Direction | None = None
    offset: Offset | None = None
    family: str = TRAILING_ORDERS


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
class LookEnded:
    """A mass cancel has looked at open orders before it cancels, or while its calls wait: it found
    `orders` that it means, on `contracts`; `read`: of how many contracts it knows all there are."""

    at: float
    call: int
    margin_mode: MarginMode
    read: int
    contracts: int
    orders: int


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
    | LookEnded
    | GenerationChanged
)


Listener = Callable[[Event], object]
"""Called with each event on the event loop, as it happens; what it raises is logged by name."""


@runtime_checkable
class WritesAhead(Protocol):
    """A listener that keeps a record which should be safe before a call's first cancel leaves."""

    def written(self, call: int) -> Awaitable[str]:
        """Ends when the `CallStarted` of `call` is safe, with "", or with why it is not.

        A cancel waits for it, though not for long, and goes all the same; a list does not wait.
        """
