"""What the facts of a call prove of each order, and what they leave open. Pure.

Right at any moment, whatever was cut off. A later fact speaks against an earlier one only if it was
asked after the other was answered; where two overlap, the more cautious one holds.
"""

from __future__ import annotations

from htx_async.cancel.evidence import V1, V5, Evidence, Word
from htx_async.cancel.ledger import Intent, Ledger
from htx_async.cancel.order import LEFT, NEVER, Order, State
from htx_async.enums import ApiGeneration
from htx_async.orders import CANCELLED, TRIGGERED, TrailingOrder

LISTED_WITHIN = 1.5
"""Seconds after which every order that was placed is in the lists of open orders. An assumption:
HTX publishes no such figure; its own example has 1.1 s between a cancel's reply and its effect."""

GONE_WITHIN = 2.5
"""Seconds after a cancel was answered, from which an order that is still listed will not go by it:
more than twice what that example took."""

_NOT_GONE = LEFT | {State.UNKNOWN}
_NOWHERE: frozenset[ApiGeneration] = frozenset()
_ONLY = {one: frozenset({one}) for one in ApiGeneration}
_EITHER = frozenset(ApiGeneration)


class States(Evidence):
    """What is known of an intent, now: all that a procedure decides by.

    `on`: the generations that may be the account's; none when each was shown out.
    `is_open_question`: whether v1's last word is no proof before V5 has answered, too.
    `is_covered`: whether every generation that may be the account's has answered for all that is
    meant. `orders`: each that is meant. `kinds`: the states that there are. `successes`: those
    whose cancel this call took, by the exchange's answers or by its history.
    """

    def __init__(self, intent: Intent, ledger: Ledger) -> None:
        super().__init__(intent, ledger)
        self.on = self._on()
        # Where both may be it, V5 has its say by what it takes to believe v1.
        own = self.words[V1 if V1 in self.on else V5] if self.on else []
        self._words: list[Word] = []
        doubted: list[Word] = []
        for word in own:
            (self._words if self._is_believed(word) else doubted).append(word)
        self.is_open_question = self._asks_more(doubted)
        self.is_covered = self._covers()
        self.orders: dict[str, Order] = {}
        self.kinds: set[State] = set()
        self.successes: list[str] = []
        self._tell_of_heard()
        if self.ended:
            self._tell_of_history()
        self.still_open = self._still_open()
        if State.OPEN in self.kinds:
            told = {*self.successes, *filter(self._was_taken, self.having(State.OPEN))}
            self.successes = [order_id for order_id in self.orders if order_id in told]

    def having(self, *wanted: State) -> tuple[str, ...]:
        """Orders in one of these states."""
        if self.kinds.isdisjoint(wanted):
            return ()
        return tuple([i for i, order in self.orders.items() if order.state in wanted])

    def last_list(self, generation: ApiGeneration) -> Word | None:
        """The last whole list of `generation`, whether it is the account's own or not."""
        lists = [word for word in self.words[generation] if word.is_list]
        return max(lists, key=lambda word: word.asked, default=None)

    def shown(self, generation: ApiGeneration) -> tuple[str, ...]:
        """The orders on it."""
        last = self.last_list(generation)
        return () if last is None else tuple(i for i in last.shown if i in self.orders)

    @property
    def listed_by(self) -> float:
        """The loop time from which a list shows every order that is meant."""
        return self.horizon + LISTED_WITHIN

    def is_listed_since(self, generation: ApiGeneration) -> bool:
        """Whether there is a whole list of `generation` that was asked for since the horizon, and
        is the account's word."""
        last = self.last_list(generation)
        return last is not None and last.asked >= self.horizon and self._is_believed(last)

    def is_late(self, generation: ApiGeneration) -> bool:
        """Whether the last list of `generation` does."""
        last = self.last_list(generation)
        return last is not None and last.asked >= self.listed_by

    @property
    def sent_last(self) -> float:
        """The loop time at which the last cancel was answered."""
        return max(self.sent.values())

    @property
    def has_taken(self) -> bool:
        """Whether the last cancel named orders, and was v1's: there may be more of them."""
        last = [word for word in self.words[V1] if not word.is_list and self._is_last(word)]
        return V1 in self.on and any(word.names_any for word in last)

    @property
    def has_passed_over(self) -> bool:
        """Whether v1 was asked for some order, spoke of none, and nothing else is known of it."""
        return State.UNKNOWN in self.kinds and any(
            one.is_passed_over for one in self.orders.values() if one.state is State.UNKNOWN
        )

    @property
    def is_shown_clear(self) -> bool:
        """Whether a list showed none of it that is late enough for every order, and the last."""
        for word in self._words:
            if word.is_list and word.asked >= max(self.sent_last, self.listed_by):
                return True
        return False

    @property
    def is_clear(self) -> bool:
        """Whether all that is meant is taken, or gone."""
        return self.is_covered and self.kinds.isdisjoint(_NOT_GONE)

    @property
    def why(self) -> str:
        """What shows where the account is; "" when nothing does."""
        if self.on == {V5}:
            # Both have refused it: that shows nothing.
            is_nowhere = self.absent is not None and not self.words[V5]
            return "" if is_nowhere else self.moved_by
        if self.on == {V1} and self.absent is not None:
            return f"V5 answered {self.absent}, so the account is not on it"
        return ""

    def hint(self, on_v1: float) -> str:
        """What speaks for one of them, and proves nothing; "" when nothing does. `on_v1`: when v1
        was last asked of those times that it named an order, in whichever call."""
        if V1 in self.on and max(self.on_v1, on_v1) >= self.ledger.began:
            return (
                "v1 has named orders of the account, and none moves with orders open: an inference"
            )
        if len(self.on) > 1 and self.words[V5]:
            return "both list no such order, so either may be the account's own"
        return ""

    def _on(self) -> frozenset[ApiGeneration]:
        known = self.ledger.known
        if self.ledger.is_pinned and known is not None:
            return _ONLY[known]
        if self.moved > NEVER:
            return _NOWHERE if self.not_on_v5 >= self.moved else _ONLY[V5]
        # It may have moved since V5 was asked, when that was before the last cancel.
        is_last = known is V5 or self.not_on_v5 >= self.sent[V1]
        if self.not_on_v5 > NEVER and is_last:
            return _ONLY[V1]
        return _ONLY[V5] if known is V5 else _EITHER

    def _asks_more(self, doubted: list[Word]) -> bool:
        if V1 not in self.on or self.ledger.is_pinned:
            return False
        if self.unreached[V1] is not None:
            return self.on != {V1} or self.not_on_v5 < self.sent[V1]
        for word in doubted:
            if self._is_last(word):
                return True
        for order in self.heard_of.values():
            if order.doubted > self.agreed:
                return True
        return self.doubted > self.agreed

    def _covers(self) -> bool:
        if self.intent.order_ids:
            return not self.is_open_question
        until_clear = self.intent.until_clear
        for word in self._words:
            if (until_clear or V1 in self.on) and not self._is_last(word):
                continue
            is_of_now = word.asked >= self.horizon and (word.is_list or not word.names_any)
            if is_of_now or not until_clear:
                return True
        return False

    def _is_believed(self, word: Word) -> bool:
        """Whether it is certain that a word is that of the account's own generation: v1 says
        "nothing" to accounts that have moved, too, so V5 has to be asked after it."""
        if word.names_any or self.ledger.is_pinned:
            return True
        if word.generation is V5:
            # That it had nothing proves nothing if it was asked before the account was shown there.
            return self.ledger.known is V5 or word.asked >= self.on_v5_since
        return self.agreed >= word.answered

    def _is_last(self, word: Word) -> bool:
        """Whether nothing was sent after it that may have changed what it speaks of."""
        return (word.asked if word.is_list else word.answered) >= self.sent[word.generation]

    def _tell_of_heard(self) -> None:
        for order_id, order in self.heard_of.items():
            # What was only listed may have been placed since, which counts until all is clear.
            is_certain = order.tried > NEVER or order.is_meant or self.intent.until_clear
            if is_certain or not self.is_newer(self.ledger.rows[order_id]):
                self._tell_of(order_id, order, self._state(order, self.ended.get(order_id)))

    def _tell_of_history(self) -> None:
        since = self.times.since
        for order_id, row in self.ended.items():
            at = row.canceled_at or row.update_time
            if order_id not in self.orders and at is not None and at >= since:
                is_lost = row.status == CANCELLED and bool(self.losses) and self.is_covered
                if is_lost or row.status in TRIGGERED:
                    self._tell_of(order_id, Order(), _by_history(row))

    def _tell_of(self, order_id: str, order: Order, state: State) -> None:
        order.state = state
        order.error = order.refusal if order.refused > order.taken else None
        self.orders[order_id] = order
        self.kinds.add(state)
        if state is State.TAKEN:
            order.is_success = order.error is None
        elif state is State.CANCELLED:
            # It was open when the call looked, or the call was heard to cancel it, or lost an
            # answer that may have said so, and it has not ended before the call.
            may_be_lost = order.lost > NEVER or self.losses > 0
            was_open = max(order.taken, order.listed) > NEVER
            order.is_success = was_open or (may_be_lost and not self._was_gone(order_id))
        if order.is_success:
            self.successes.append(order_id)

    def _was_gone(self, order_id: str) -> bool:
        """Whether the history has it ended before the call began, by clocks that agree."""
        row = self.ended[order_id]
        at = row.canceled_at or row.update_time
        return self.times.do_agree and at is not None and at < self.times.earliest

    def _state(self, order: Order, row: TrailingOrder | None) -> State:
        """The latest of what was heard of one order, unless the history tells how it ended."""
        taken, listed = order.taken, order.listed
        if row is not None and row.status in (CANCELLED, *TRIGGERED):
            return _by_history(row)
        heard = max(taken, order.lost, order.refused)
        # Nobody looks again after a cancel by ids: that a list lags behind is no word against it.
        lag = GONE_WITHIN if self.intent.order_ids else 0.0
        if heard == taken and listed < taken + lag:
            return State.TAKEN
        if max(heard, listed) == NEVER:
            return State.UNKNOWN
        absent = self._absence(order)
        if listed >= heard and absent == NEVER:
            return State.OPEN
        if heard == taken > NEVER:
            return State.TAKEN
        if absent >= heard and order.by_refusal is not State.TRIGGERED:
            return State.GONE
        if heard == order.lost:
            return State.UNKNOWN
        is_foreign = (order.refused_on is V5) is not (self.on == {V5})
        # The generation that is not the account's own knows none of its orders.
        is_one_word = is_foreign and not order.is_passed_over
        is_unsure = is_one_word and order.by_refusal is State.GONE
        return State.UNKNOWN if is_unsure or self.may_be_lost(order) else order.by_refusal

    def may_be_lost(self, order: Order) -> bool:
        """Whether a cancel-all whose answer was lost may have taken it: a list shows it for a while
        all the same, and a request that was refused as a whole says nothing of that."""
        if order.is_settled or order.listed >= self.lost + GONE_WITHIN:
            return False
        return self.lost > (order.refused if order.is_named else NEVER)

    def _absence(self, order: Order) -> float:
        """When the last word that does not have the order was asked for. What a list showed is gone
        by another list alone: one reply to a cancel-all may be wrong, too."""
        words = (word for word in self._words if word.is_list or order.listed == NEVER)
        times = (word.asked for word in words if word.asked >= order.listed_by)
        return max(times, default=NEVER)

    def _was_taken(self, order_id: str) -> bool:
        """Whether the cancel of a listed one was taken, and that list is too old to call it
        `still_open`."""
        order = self.orders[order_id]
        is_taken = order.taken > NEVER and order.error is None
        return is_taken and order_id not in self.still_open

    def _still_open(self) -> tuple[str, ...]:
        """What the last whole list shows, unless something was sent since; of what was taken also
        what another one does, which was not read to its end."""
        if State.OPEN not in self.kinds:
            return ()
        found = self.having(State.OPEN)
        # A list is not the last word of v1 where that refused to give one since.
        since = {V1: max(self.sent_last, self.doubted), V5: self.sent_last}
        lists = (word for one in since for word in self.words[one] if word.is_list)
        whole = (word for word in lists if word.asked >= since[word.generation])
        shown = {order_id for word in whole for order_id in word.shown}
        heard_of = self.heard_of.items()
        again = {i for i, one in heard_of if NEVER < one.taken <= since[V1] <= one.listed}
        return tuple(i for i in found if i in shown or i in again)


def _by_history(row: TrailingOrder) -> State:
    return State.CANCELLED if row.status == CANCELLED else State.TRIGGERED
