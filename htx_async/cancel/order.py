"""What was heard of one order, and what that proves. Pure."""

from __future__ import annotations

import math
from enum import StrEnum

from htx_async.codes import CANCELLING, EXECUTED
from htx_async.enums import ApiGeneration
from htx_async.report import OrderError

NEVER = -math.inf


class State(StrEnum):
    """What is known of one order.

    `OPEN`: listed, and nothing since speaks against it. `REFUSED`: the exchange refused to cancel
    it. `UNKNOWN`: an answer that spoke of it was lost. `TAKEN`: the exchange took its cancel, or
    had taken one before. `CANCELLED`: by the history. `GONE`: not there any more, and nobody said
    how.
    """

    OPEN = "open"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    TAKEN = "taken"
    CANCELLED = "cancelled"
    TRIGGERED = "triggered"
    GONE = "gone"


LEFT = frozenset({State.OPEN, State.REFUSED})


class Order:
    """When what was last heard of one order; loop times.

    `listed`: when the page that showed it was asked for, `listed_by`: answered. `taken`, `refused`
    (with `refusal`), `lost`: when a request that took it, was refused for it, or ended without an
    answer or with one that does not speak of it, was answered; `tried`: when the last one was.
    `doubted`: when v1 did not know it, as it also says of those of an account that has moved.
    `losses`: how many ended without an answer. `refused_on`: by which generation; `is_named`: the
    reply named it, rather than refuse a request as a whole. `is_settled`:
    what it was refused for leaves nothing to cancel. `is_alone`: a request was refused as a whole
    for one of its orders, so that this one has to be asked for alone. `is_passed_over`: v1 was
    asked for it, accepted that, and spoke of no order. `is_meant`: it was on the first list.
    `state`: what all of it proves. `error`: what was last said against it. `is_success`: this call
    took its cancel, by the exchange's answers or by its history.
    """

    listed = listed_by = lost = refused = taken = tried = doubted = NEVER
    refusal: OrderError | None = None
    refused_on = ApiGeneration.V1
    losses = 0
    is_alone = is_meant = is_named = is_passed_over = is_settled = False
    state = State.UNKNOWN
    error: OrderError | None = None
    is_success = False

    @property
    def is_taken(self) -> bool:
        """Whether a cancel of it was taken, by this call or before it."""
        error = self.error
        return self.taken > NEVER or (error is not None and error.err_code == CANCELLING)

    @property
    def by_refusal(self) -> State:
        """What the refusal alone says of it."""
        code = None if self.refusal is None else self.refusal.err_code
        if code == EXECUTED:
            return State.TRIGGERED
        if code == CANCELLING:
            return State.TAKEN
        return State.GONE if self.is_settled else State.REFUSED
