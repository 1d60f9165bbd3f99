"""What the caller gets back: an account of every attempt and what they prove together."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, computed_field

from htx_async.codes import Code, CodeClass, classify
from htx_async.enums import (
    ContractType,
    Direction,
    LimiterMode,
    MarginMode,
    Offset,
    Outcome,
    Verdict,
)
from htx_async.report_text import tell


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


class OrderError(_Frozen):
    """One order that the exchange refused to cancel. `err_msg` is foreign text, escaped and cut."""

    order_id: str
    err_code: Code | None
    err_msg: str


class Attempt(_Frozen):
    """One request of a call, whether it left this host or not.

    `started`: UTC, when its token was granted. `waited`: seconds in the queue before that.
    `wire`: seconds from then to the answer or failure. `sent` is False only when it is certain
    that no byte left. `message`: the exchange's words, escaped and cut, or our own about a failure.
    `paused`: seconds that the reply asked to wait; after a refusal for the rate that named no time,
    one. The endpoint itself is closed for one second at least and 10 at most. `limit`: the limit in
    force since this reply, as requests and the seconds that they are for, where it slowed the
    endpoint down, undid that, or was the first after that ran out; else None.
    `limiter_mode`: whose token it used, where a fleet shares them; else None. `request`: its number
    among the requests of the user's whole call; one that served several contracts stands in the
    report of each with the same. `excerpt`: the first 300 characters of a reply that could not be
    believed, escaped and without the request's secrets, to show to the exchange; else "".
    """

    number: int
    base_url: str
    started: datetime
    waited: float
    wire: float
    http_status: int | None
    verdict: Verdict
    code: Code | None
    message: str
    sent: bool
    paused: float = 0.0
    limit: tuple[int, float] | None = None
    limiter_mode: LimiterMode | None = None
    request: int = 0
    excerpt: str = ""

    @property
    def code_class(self) -> CodeClass:
        """How the code of a refused attempt has to be taken."""
        return classify(self.code, self.http_status)


class WarmUp(_Frozen):
    """What one base URL answered when it was asked for its time.

    `round_trip`: seconds over an open connection. `skew`: seconds by which the exchange's clock is
    ahead of this machine's. `problem`: why there is no answer, else None.
    """

    base_url: str
    round_trip: float | None = None
    skew: float | None = None
    problem: str | None = None


class CancelReport(_Frozen):
    """The account of one cancel-all call.

    `successes`: ids whose cancel the exchange took. `errors`: ids it refused one by one.
    `triggered`: those refused with 1063: the order had triggered, so a limit order or a fill may
    live on. `ids_complete` is False when an answer was lost, and ids with it. `ts`: the exchange's
    own time of the last reply, Unix milliseconds. `elapsed`: seconds, queueing included.
    `contract_code` is "" where `pair` and `contract_type` named it. `confirmed`: True when the
    exchange's list of open orders has shown that none is left, and was asked for 1.5 s or more
    after the call (under `until_clear`, its last round) began, by when every order is assumed to
    be listed; False when some were left (`still_open` has their ids); None when it was not asked
    for, could not be read, or was asked for earlier, as for contracts that were only looked at.
    `reads`: the requests for such lists. `ended_by`: what ended the call when the exchange did not.
    `warnings`: what went wrong beside the call, such as a record of it that was not kept.
    `message` says it all in words.

    `is_clear` says that the exchange took every cancel, not that the orders are gone: its own
    example shows 1.1 s between reply and cancellation (HTX API docs, "[Isolated] Cancel All
    Trailing Orders" and "[Isolated] Get History Trailing Orders"). An order that triggered
    meanwhile is not in it. With an `offset` given, `NOTHING_TO_CANCEL` does not mean that a
    one-way account holds no trailing orders: theirs have the offset "both", and what the filter
    does with those is not documented. Leave the offset out for such accounts.
    """

    contract_code: str
    direction: Direction | None
    offset: Offset | None
    outcome: Outcome
    successes: tuple[str, ...] = ()
    errors: tuple[OrderError, ...] = ()
    triggered: tuple[str, ...] = ()
    ids_complete: bool = True
    attempts: tuple[Attempt, ...] = ()
    ts: int | None = None
    elapsed: float = 0.0
    ended_by: str = ""
    warnings: tuple[str, ...] = ()
    margin_mode: MarginMode = MarginMode.ISOLATED
    pair: str | None = None
    contract_type: ContractType | None = None
    confirmed: bool | None = None
    still_open: tuple[str, ...] = ()
    reads: tuple[Attempt, ...] = ()

    @computed_field  # type: ignore[prop-decorator]  # mypy cannot decorate a property (its #14461)
    @property
    def is_clear(self) -> bool:
        """True when the exchange took every cancel that the call asked for."""
        return self.outcome.is_clear

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def message(self) -> str:
        """What happened, what is known about the orders, and what to do next."""
        return tell(self)

    @property
    def instrument(self) -> str:
        """The contract in words."""
        return self.contract_code or f"{self.pair} {self.contract_type}"

    @property
    def refusal(self) -> Attempt | None:
        """The last attempt that the exchange refused."""
        refused = (a for a in reversed(self.attempts) if a.verdict is Verdict.REFUSED)
        return next(refused, None)

    def __str__(self) -> str:
        return self.message
