"""What the facts of a call prove of each order, and what they leave open. Pure.

Right at any moment, whatever was cut off. A later fact speaks against an earlier one only if it was
asked after the other was answered; where two overlap, the more cautious one holds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from htx_async.cancel.evidence import NEVER, V1, V5, Evidence, Trail, Word, once
from htx_async.codes import CANCELLING, EXECUTED, Code
from htx_async.enums import ApiGeneration
from htx_async.orders import CANCELLED, TRIGGERED, TrailingOrder
from htx_async.report import Attempt, OrderError

LISTED_WITHIN = 1.5
"""Seconds after which every order that was placed is in the lists of open orders. An assumption:
HTX publishes no such figure; its own example has 1.1 s between a cancel's reply and its effect."""


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
_NOT_GONE = LEFT | {State.UNKNOWN}
_ALONE = {one: frozenset({one}) for one in ApiGeneration}
_EITHER = frozenset(ApiGeneration)


class OrderState(NamedTuple):
    """`since`: the loop time from which it is known. `error`: what was last said against it.
    `trail`: when what was heard of it. `is_ours`: if it is cancelled, it was open when the call
    looked, or the call was heard to cancel it, or lost an answer that may have said so."""

    state: State
    since: float
    error: OrderError | None = None
    trail: Trail | None = None
    is_ours: bool = True

    @property
    def taken(self) -> float:
        """When a cancel of it was taken; `NEVER` when none was."""
        return NEVER if self.trail is None else self.trail.taken

    @property
    def losses(self) -> int:
        """How many requests that meant it ended without an answer."""
        return 0 if self.trail is None else self.trail.losses

    @property
    def tried(self) -> float:
        """When the last request that meant it was answered, or lost."""
        return NEVER if self.trail is None else self.trail.tried

    @property
    def is_taken(self) -> bool:
        """Whether a cancel of it was taken, by this call or before it."""
        code = None if self.error is None else self.error.err_code
        return self.taken > NEVER or code == CANCELLING

    @property
    def is_refused(self) -> bool:
        """Whether the exchange would not cancel it, by what it said last."""
        return self.error is not None and self.trail is not None and not self.trail.is_settled

    @property
    def is_alone(self) -> bool:
        """Whether it has to be asked for in a request of its own."""
        return self.trail is not None and self.trail.is_alone


class States:
    """What is known of an intent, now: all that a procedure decides by.

    `on`: the generations that may be the account's; none when each was shown out.
    """

    def __init__(self, seen: Evidence) -> None:
        self.seen = seen
        self.on = _on(seen)
        # Where both may be it, V5 has its say by what it takes to believe v1.
        own = seen.words[V1 if V1 in self.on else V5] if self.on else []
        self._words = [word for word in own if self._is_believed(word)]

    @once
    def orders(self) -> dict[str, OrderState]:
        """Each order that is meant."""
        seen = self.seen
        orders = {
            order_id: self._state(order_id, trail)
            for order_id, trail in seen.trails.items()
            # What was only listed may have been placed since, which counts until all is clear.
            if trail.tried > NEVER
            or trail.is_meant
            or seen.intent.until_clear
            or not seen.is_newer(seen.ledger.rows[order_id])
        }
        since = seen.earliest() if seen.ended else 0.0
        for order_id, row in seen.ended.items():
            at = row.canceled_at or row.update_time
            if order_id in orders or at is None or at < since:
                continue
            if row.status in TRIGGERED:
                orders[order_id] = OrderState(State.TRIGGERED, seen.history_at)
            elif row.status == CANCELLED and seen.losses and self.is_covered:
                orders[order_id] = OrderState(State.CANCELLED, seen.history_at)
        return orders

    @once
    def successes(self) -> tuple[str, ...]:
        """Orders whose cancel this call took, by the exchange's answers or by its history."""
        return tuple(
            order_id
            for order_id, order in self.orders.items()
            if (order.state is State.TAKEN and order.error is None)
            or (order.state is State.CANCELLED and order.is_ours)
        )

    def having(self, *wanted: State) -> tuple[str, ...]:
        """Orders in one of these states."""
        if self.kinds.isdisjoint(wanted):
            return ()
        return tuple(i for i, order in self.orders.items() if order.state in wanted)

    @once
    def kinds(self) -> frozenset[State]:
        """The states that there are."""
        return frozenset(order.state for order in self.orders.values())

    @once
    def still_open(self) -> tuple[str, ...]:
        """What the last whole list shows, unless something was sent since; of what was taken also
        what another one does, which was not read to its end."""
        found = self.having(State.OPEN)
        if not found:
            return ()
        sent = max((heard.answered for heard in self.seen.cancels), default=NEVER)
        # A list is not the last word of v1 where that refused to give one since.
        since = {V1: max(sent, self.seen.doubted), V5: sent}
        words = (word for generation in ApiGeneration for word in self.seen.words[generation])
        lists = (word for word in words if word.is_list and word.asked >= since[word.generation])
        shown = {order_id for word in lists for order_id in word.shown}
        trails = self.seen.trails.items()
        again = {i for i, one in trails if NEVER < one.taken <= since[V1] <= one.listed}
        return tuple(i for i in found if i in shown or i in again)

    def last_list(self, generation: ApiGeneration) -> Word | None:
        """The last whole list of `generation`, whether it is the account's own or not."""
        lists = [word for word in self.seen.words[generation] if word.is_list]
        return max(lists, key=lambda word: word.asked, default=None)

    def shown(self, generation: ApiGeneration) -> tuple[str, ...]:
        """The orders on it."""
        last = self.last_list(generation)
        return () if last is None else tuple(i for i in last.shown if i in self.orders)

    @property
    def listed_by(self) -> float:
        """The loop time from which a list shows every order that is meant."""
        return self.seen.horizon + LISTED_WITHIN

    def is_late(self, generation: ApiGeneration) -> bool:
        """Whether the last list of `generation` does."""
        last = self.last_list(generation)
        return last is not None and last.asked >= self.listed_by

    @property
    def sent_last(self) -> float:
        """The loop time at which the last cancel was answered."""
        return max(self.seen.sent.values())

    @property
    def is_asked(self) -> bool:
        """Whether a cancel may have changed something, or was told that there is nothing left."""
        return self.seen.is_asked

    @property
    def last_answer(self) -> Attempt | None:
        """The last cancel that left this machine."""
        sent = (h.attempt for h in reversed(self.seen.cancels) if h.attempt.sent)
        return next(sent, None)

    @property
    def has_taken(self) -> bool:
        """Whether the last cancel named orders, and was v1's: there may be more of them."""
        last = [word for word in self.seen.words[V1] if not word.is_list and self._is_last(word)]
        return V1 in self.on and any(word.names_any for word in last)

    @property
    def is_clear(self) -> bool:
        """Whether all that is meant is taken, or gone."""
        return self.is_covered and not self.having(*_NOT_GONE)

    def is_newer(self, row: TrailingOrder) -> bool:
        """Whether it was certainly placed after the horizon."""
        return self.seen.is_newer(row)

    @property
    def earliest(self) -> float:
        """Unix milliseconds at the exchange at which the call had certainly not begun."""
        return self.seen.earliest()

    @property
    def absent(self) -> Code | None:
        """By which code V5 said that the account is not there."""
        return self.seen.absent

    @property
    def unreached(self) -> Code | None:
        """By which code v1 said that what it was asked for is not served."""
        return self.seen.unreached[V1]

    @property
    def why(self) -> str:
        """What shows where the account is; "" when nothing does."""
        if self.on == {V5}:
            # Both have refused it: that shows nothing.
            is_nowhere = self.absent is not None and not self.seen.words[V5]
            return "" if is_nowhere else self.seen.moved_by
        if self.on == {V1} and self.absent is not None:
            return f"V5 answered {self.absent}, so the account is not on it"
        return ""

    @property
    def has_agreed(self) -> bool:
        """Whether V5 lists nothing of it either."""
        return len(self.on) > 1 and bool(self.seen.words[V5])

    @once
    def is_open_question(self) -> bool:
        """Whether v1's last word is no proof before V5 has answered, too."""
        seen = self.seen
        if V1 not in self.on or seen.ledger.is_pinned:
            return False
        if self.unreached is not None:
            return self.on != {V1} or seen.not_on_v5 < seen.sent[V1]
        if any(self._is_last(word) and not self._is_believed(word) for word in seen.words[V1]):
            return True
        trails = seen.trails.values()
        return seen.doubted > seen.agreed or any(one.doubted > seen.agreed for one in trails)

    @once
    def is_covered(self) -> bool:
        """Whether every generation that may be the account's has answered for all that is meant."""
        seen = self.seen
        if seen.intent.order_ids:
            return not self.is_open_question
        found = self._words
        if V1 in self.on or seen.intent.until_clear:
            found = [word for word in found if self._is_last(word)]
        if seen.intent.until_clear:
            found = [word for word in found if word.is_list or not word.names_any]
        return bool(found)

    @once
    def confirmed(self) -> bool | None:
        """Whether the lists prove that all of it is gone."""
        if self.still_open:
            return False
        if not self.is_covered or self.having(*_NOT_GONE):
            return None
        least = max(self.sent_last, self.listed_by)
        is_shown = any(word.is_list and word.asked >= least for word in self._words)
        return True if is_shown else None

    def _is_believed(self, word: Word) -> bool:
        """Whether it is certain that a word is that of the account's own generation: v1 says
        "nothing" to accounts that have moved, too, so V5 has to be asked after it."""
        if word.names_any or word.generation is V5 or self.seen.ledger.is_pinned:
            return True
        return self.seen.agreed >= word.answered

    def _is_last(self, word: Word) -> bool:
        """Whether nothing was sent after it that may have changed what it speaks of."""
        return (word.asked if word.is_list else word.answered) >= self.seen.sent[word.generation]

    def _state(self, order_id: str, trail: Trail) -> OrderState:
        """The latest of what was heard of one order, unless the history tells how it ended."""
        seen = self.seen
        row = seen.ended.get(order_id)
        error = trail.error if trail.refused > trail.taken else None
        heard = max(trail.taken, trail.lost)
        if row is not None and row.status in (CANCELLED, *TRIGGERED):
            state = State.CANCELLED if row.status == CANCELLED else State.TRIGGERED
            is_ours = max(heard, trail.listed) > NEVER or seen.losses > 0
            return OrderState(state, seen.history_at, error, trail, is_ours)
        heard = max(heard, trail.refused)
        if heard == trail.taken > trail.listed:
            return OrderState(State.TAKEN, trail.taken, None, trail)
        if max(heard, trail.listed) == NEVER:
            return OrderState(State.UNKNOWN, trail.tried, None, trail)
        absent = self._absence(trail)
        if trail.listed >= heard and absent == NEVER:
            return OrderState(State.OPEN, trail.listed, error, trail)
        if heard == trail.taken > NEVER:
            return OrderState(State.TAKEN, trail.taken, None, trail)
        if absent >= heard and _refused(trail) is not State.TRIGGERED:
            return OrderState(State.GONE, absent, error, trail)
        if heard == trail.lost:
            return OrderState(State.UNKNOWN, trail.lost, error, trail)
        state = _refused(trail)
        if state is State.GONE and trail.refused_on is V5 and self.on != {V5}:
            # The generation that is not the account's own knows none of its orders.
            state = State.UNKNOWN
        return OrderState(state, trail.refused, error, trail)

    def _absence(self, trail: Trail) -> float:
        """When the last word that does not have the order was asked for. What a list showed is gone
        by another list alone: one reply to a cancel-all may be wrong, too."""
        words = (word for word in self._words if word.is_list or trail.listed == NEVER)
        times = (word.asked for word in words if word.asked >= trail.listed_by)
        return max(times, default=NEVER)


def _on(seen: Evidence) -> frozenset[ApiGeneration]:
    """The generations that may be the account's: it is on one of them."""
    known = seen.ledger.known
    if seen.ledger.is_pinned and known is not None:
        return _ALONE[known]
    if seen.moved > NEVER:
        return frozenset() if seen.not_on_v5 >= seen.moved else _ALONE[V5]
    if seen.not_on_v5 > NEVER:
        return _ALONE[V1]
    return _ALONE[V5] if known is V5 else _EITHER


def _refused(trail: Trail) -> State:
    code = None if trail.error is None else trail.error.err_code
    if code == EXECUTED:
        return State.TRIGGERED
    if code == CANCELLING:
        return State.TAKEN
    return State.GONE if trail.is_settled else State.REFUSED
