"""What a session tells a listener, as frozen values; nothing secret is in them.

Every event has `at` (loop time, seconds) and, where it belongs to one, `call`: a number that is
the same for all events of one call.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from htx_async.report import Attempt, CancelReport

_LOG = logging.getLogger("htx_async")


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call was made; it has not asked for a token yet."""

    at: float
    call: int
    contract_code: str
    urgent: bool


@dataclass(frozen=True, slots=True)
class TokenGranted:
    """The next attempt of a call may leave, after `waited` seconds in the queue."""

    at: float
    call: int
    contract_code: str
    base_url: str
    waited: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt came to a verdict."""

    at: float
    call: int
    contract_code: str
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is over; `report` is what its caller gets, or would have got if it was cancelled."""

    at: float
    call: int
    report: CancelReport


@dataclass(frozen=True, slots=True)
class EndpointPaused:
    """A reply paused an endpoint for `seconds`."""

    at: float
    endpoint: str
    seconds: float


@dataclass(frozen=True, slots=True)
class LimitChanged:
    """A reply's headers slowed an endpoint down to `requests` in any `seconds`."""

    at: float
    endpoint: str
    requests: int
    seconds: float


Event = CallStarted | TokenGranted | AttemptEnded | CallEnded | EndpointPaused | LimitChanged


def safely(on_event: Callable[[Event], object]) -> Callable[[Event], None]:
    """`on_event` as something that never raises: what it raises is logged by name."""

    def emit(event: Event) -> None:
        try:
            on_event(event)
        except Exception as error:
            _LOG.warning("on_event raised %s at %s", type(error).__name__, type(event).__name__)

    return emit
