"""What the caller gets back: a report of every attempt and what they prove together."""

from pydantic import computed_field

from htx_async.attempt import Attempt, Frozen, OrderError, Words
from htx_async.enums import (
    TRAILING_ORDERS,
    ContractType,
    Direction,
    MarginMode,
    Offset,
    Outcome,
    Verdict,
)
from htx_async.report_text import tell

__all__ = ["Attempt", "CancelReport", "OrderError", "WarmUp"]


class WarmUp(Frozen):
    """What one base URL answered when it was asked for its time.

    `round_trip`: seconds over an open connection. `skew`: seconds by which the exchange's clock is
    ahead of this machine's. `problem`: why there is no answer, else None.
    """

    base_url: str
    round_trip: float | None = None
    skew: float | None = None
    problem: str | None = None


class CancelReport(Frozen):
    """What came of one cancel-all call.

    `successes`: ids whose cancel the exchange took. `errors`: ids it refused one by one.
    `triggered`: those refused with 1063: the order had triggered, so a limit order or a fill may
    live on. `ids_complete` is False when an answer was lost, and ids with it; one of an order that
    was placed since the call began may be missing all the same. `ts`: the exchange's own time of
    the last reply, Unix milliseconds. `elapsed`: seconds, queueing included.
    `contract_code` is "" where `pair` and `contract_type` named it. `confirmed`: True when the
    exchange's list of open orders has shown that none is left, and was asked for 1.5 s or more
    after the call (under `until_clear`, its last round) began, by when every order is assumed to
    be listed; False when some were left (`still_open` has their ids); None when it was not asked
    for, could not be read, or was asked for earlier, as for contracts that were only looked at.
    `family`: of the orders that it is about. `reads`: the requests for such lists. `ended_by`: what
    ended the call when the exchange did not.
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
    warnings: tuple[Words, ...] = ()
    margin_mode: MarginMode = MarginMode.ISOLATED
    pair: str | None = None
    contract_type: ContractType | None = None
    confirmed: bool | None = None
    still_open: tuple[str, ...] = ()
    reads: tuple[Attempt, ...] = ()
    family: str = TRAILING_ORDERS

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
