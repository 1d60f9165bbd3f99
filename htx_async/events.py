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


class Teller:
    """Builds the events and hands them to a listener; there is none where nobody listens.

    What the listener raises is logged by name and changes nothing.
    """

    def __init__(self, on_event: Callable[[Event], object]) -> None:
        self._on_event = on_event

    def call_started(self, at: float, call: int, contract_code: str, urgent: bool) -> None:
        """See `CallStarted`."""
        self._tell(CallStarted(at, call, contract_code, urgent))

    def token_granted(
        self, at: float, call: int, contract_code: str, base_url: str, waited: float
    ) -> None:
        """See `TokenGranted`."""
        self._tell(TokenGranted(at, call, contract_code, base_url, waited))

    def attempt_ended(self, at: float, call: int, contract_code: str, attempt: Attempt) -> None:
        """See `AttemptEnded`."""
        self._tell(AttemptEnded(at, call, contract_code, attempt))

    def call_ended(self, at: float, call: int, report: CancelReport) -> None:
        """See `CallEnded`."""
        self._tell(CallEnded(at, call, report))

    def endpoint_paused(self, at: float, endpoint: str, seconds: float) -> None:
        """See `EndpointPaused`."""
        self._tell(EndpointPaused(at, endpoint, seconds))

    def limit_changed(self, at: float, endpoint: str, requests: int, seconds: float) -> None:
        """See `LimitChanged`."""
        self._tell(LimitChanged(at, endpoint, requests, seconds))

    def _tell(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception as error:
            _LOG.warning("on_event raised %s at %s", type(error).__name__, type(event).__name__)
