"""The facts of one intent, sorted by what they speak of. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cached_property
from typing import NamedTuple

from htx_async.calls.in_flight import Heard
from htx_async.cancel.ledger import (
    Ended,
    Fact,
    Intent,
    Ledger,
    Listed,
    Moved,
    NotOnV5,
    OnV1,
    Round,
    Unread,
    Warned,
)
from htx_async.cancel.order import NEVER, Order
from htx_async.cancel.times import Times
from htx_async.codes import (
    EXECUTED,
    FIELD_MISSING,
    NO_ORDERS,
    NOT_FOUND,
    NOT_ON_V5,
    SETTLED_ORDER_CODES,
    Code,
    CodeClass,
)
from htx_async.enums import ApiGeneration, Verdict
from htx_async.exchange.operation import Kind
from htx_async.orders import TrailingOrder
from htx_async.report import OrderError

V1, V5 = ApiGeneration.V1, ApiGeneration.V5


class Word(NamedTuple):
    """A generation's answer about every order of the intent: the reply to a cancel-all, or a whole
    list. `names_any`: it names orders, so it is the word of one that has the account."""

    generation: ApiGeneration
    asked: float
    answered: float
    is_list: bool
    names_any: bool
    shown: tuple[str, ...] = ()


class Evidence:
    """What `ledger` holds on `intent`. Where nothing was heard of a kind, its time is `NEVER`."""

    moved = NEVER
    """When v1 said that the account has moved, or V5 listed an order of it; `moved_by`: how."""
    moved_by = ""
    not_on_v5 = NEVER
    """When V5 was last asked of those times that it said that the account is not there."""
    absent: Code | None = None
    agreed = NEVER
    """When V5 was last asked of those times that it told wholly of what is meant, or when v1 was
    of those that it has shown an order of the account: what v1 had said before is its word."""
    on_v1 = NEVER
    """When v1 was last asked of those times that it named an order of the account."""
    lost = NEVER
    """When a cancel-all last ended without an answer that could be believed."""
    doubted = NEVER
    """When v1 refused a request that lacks nothing as if it did."""
    is_asked = False
    """Whether a cancel may have changed something, or was told that there is nothing left."""
    is_exact = True
    """Whether no id may have been rounded."""
    losses = 0
    history_at = NEVER
    """When the last history that was read as far as is needed was asked for."""
    is_told_by_v5 = False
    """Whether it was V5 whose history had any that is meant."""
    history_unread = ""
    ended_by = ""
    ts: int | None = None
    """The exchange's own time in its last answer to a cancel."""
    on_v5_since = math.inf
    """When it was first shown that the account is on V5, from where none moves back."""
    seen_on_v5: tuple[float, str] | None = None
    """When V5 showed an order of the account, and how."""

    def __init__(self, intent: Intent, ledger: Ledger) -> None:
        self.intent = intent
        self.ledger = ledger
        self.horizon = ledger.began
        self.heard_of: defaultdict[str, Order] = defaultdict(Order)
        self.cancels: list[Heard] = []
        self.reads: list[Heard] = []
        self.words: dict[ApiGeneration, list[Word]] = {V1: [], V5: []}
        self.sent = {V1: NEVER, V5: NEVER}
        """When the last request that may have changed something there was answered."""
        self.unreached: dict[ApiGeneration, Code | None] = {V1: None, V5: None}
        """By what each last said that what it was asked for is not served."""
        self.unread: dict[ApiGeneration, str] = {}
        """Why the last list of open orders could not be read; `history_unread`: of ended ones."""
        self.ended: dict[str, TrailingOrder] = {}
        self.warnings: dict[str, None] = {}
        for fact in ledger.of(intent.filter.instrument):
            self._take(fact)

    def _take(self, fact: Fact) -> None:
        match fact:
            case Heard():
                self._hear(fact)
            case Listed():
                self._list(fact)
            case NotOnV5():
                self._not_on_v5(fact.code, fact.asked)
            case OnV1():
                self.agreed = max(self.agreed, fact.asked)
            case Moved():
                self._move(fact.at, fact.how)
            case Unread(kind=Kind.ENDED):
                self.history_unread = fact.problem
            case Unread():
                self.unread[fact.generation] = fact.problem
            case Round():
                self.horizon = fact.at
            case Ended():
                self.ended_by = self.ended_by or fact.reason
            case Warned():
                self.warnings[fact.warning] = None

    @cached_property
    def times(self) -> Times:
        """What the exchange's own times tell."""
        return Times((*self.cancels, *self.reads), self.ledger.began, self.horizon)

    def is_newer(self, row: TrailingOrder) -> bool:
        """Whether it was certainly placed after the horizon."""
        return row.created_at is not None and row.created_at > self.times.latest

    def _hear(self, fact: Heard) -> None:
        if fact.kind is not Kind.CANCEL:
            self.reads.append(fact)
            self._refusal(fact)
            return
        self.cancels.append(fact)
        verdict = fact.reply.verdict
        if verdict is Verdict.NOT_SENT:
            return
        self.is_exact &= fact.reply.is_exact
        self.sent[fact.generation] = max(self.sent[fact.generation], fact.answered)
        if fact.reply.ts is not None:
            self.ts = fact.reply.ts
        if verdict is Verdict.ACCEPTED:
            self._accepted(fact)
        elif verdict is Verdict.REFUSED:
            self._refusal(fact)
            self._refused_cancel(fact)
        else:
            self.is_asked = True
            if not fact.order_ids:
                self.losses += 1
                self.lost = fact.answered
            self._lose(fact, fact.order_ids)
        for order_id in fact.order_ids:
            self.heard_of[order_id].tried = fact.answered

    def _lose(self, fact: Heard, order_ids: tuple[str, ...]) -> None:
        for order_id in order_ids:
            order = self.heard_of[order_id]
            order.lost = fact.answered
            order.losses += fact.reply.verdict is Verdict.UNKNOWN

    def _accepted(self, fact: Heard) -> None:
        reply, asked_for = fact.reply, fact.order_ids
        self.is_asked = True
        self.unreached[fact.generation] = None
        successes = reply.successes
        if not reply.is_exact:
            known = {*asked_for, *self.heard_of}
            successes = tuple(_rounded_from(told, known) for told in successes)
        # An id that was not asked for is a stranger's.
        for order_id in successes:
            if not asked_for or order_id in asked_for:
                order = self.heard_of[order_id]
                if order.taken == NEVER:
                    # In the order in which they were taken.
                    self.heard_of[order_id] = self.heard_of.pop(order_id)
                order.taken = order.tried = fact.answered
        for error in reply.errors:
            if not asked_for or error.order_id in asked_for:
                self._error(fact, error)
        if not asked_for:
            self._say(fact, names_any=bool(reply.successes or reply.errors))
            return
        told = {*successes, *(error.order_id for error in reply.errors)}
        self._lose(fact, tuple(i for i in asked_for if i not in told))
        if fact.generation is V1 and not told:
            self.doubted = fact.answered
            self._weigh_v5()
            for order_id in asked_for:
                self.heard_of[order_id].is_passed_over = True

    def _say(self, fact: Heard, *, names_any: bool) -> None:
        """A cancel-all had an answer, as v1 alone has it."""
        self.is_asked = True
        self.words[V1].append(Word(V1, fact.asked, fact.answered, False, names_any))
        if names_any:
            self.on_v1 = max(self.on_v1, fact.asked)

    def _error(self, fact: Heard, error: OrderError) -> None:
        order = self.heard_of[error.order_id]
        order.tried = fact.answered
        # In both lists of one reply it is one order, and taken. "Not there" after a cancel that
        # was taken is what that cancel did, whatever a list showed meanwhile.
        is_gone = error.err_code in SETTLED_ORDER_CODES and error.err_code != EXECUTED
        if order.taken == fact.answered or (is_gone and order.taken > NEVER):
            order.taken = fact.answered
            return
        # Refused twice in one reply: what leaves it open counts.
        if order.refused == fact.answered and error.err_code in SETTLED_ORDER_CODES:
            return
        order.refused, order.refusal, order.refused_on = fact.answered, error, fact.generation
        order.is_named = fact.reply.verdict is Verdict.ACCEPTED
        # To a whole request "no orders" means each of those that it names.
        is_none = error.err_code == NO_ORDERS and fact.reply.verdict is Verdict.REFUSED
        order.is_settled = is_none or error.err_code in SETTLED_ORDER_CODES
        is_silent = fact.generation is V1 and not fact.reply.successes
        is_unknown = is_silent and fact.order_ids and error.err_code in (*NOT_FOUND, NO_ORDERS)
        order.doubted = fact.answered if is_unknown else NEVER

    def _refusal(self, fact: Heard) -> None:
        """What a refusal says of where the account is."""
        reply, code_class = fact.reply, fact.attempt.code_class
        if reply.verdict is Verdict.ACCEPTED:
            self.unreached[fact.generation] = None
        if reply.verdict is not Verdict.REFUSED:
            return
        is_retired = code_class is CodeClass.RETIRED
        self.unreached[fact.generation] = reply.code if is_retired else None
        if fact.generation is V5:
            if reply.code in NOT_ON_V5:
                self._not_on_v5(reply.code, fact.asked)
            return
        if reply.code == FIELD_MISSING:
            self.doubted = fact.answered
        self._weigh_v5()
        if code_class is CodeClass.MIGRATED:
            self._move(fact.answered, f"v1 answered {reply.code}")

    def _refused_cancel(self, fact: Heard) -> None:
        reply = fact.reply
        if fact.attempt.code_class is CodeClass.NOTHING_TO_CANCEL and not fact.order_ids:
            if reply.code == NO_ORDERS:
                self._say(fact, names_any=False)
            return
        is_one_of_many = len(fact.order_ids) > 1 or fact.attempt.shared_by
        if reply.code in (*SETTLED_ORDER_CODES, NO_ORDERS) and is_one_of_many:
            # A code about one order speaks for one order.
            for order_id in fact.order_ids:
                self.heard_of[order_id].is_alone = True
            return
        for order_id in fact.order_ids:
            # That a repeat was refused says nothing of what was lost before.
            order = self.heard_of[order_id]
            if order.lost == NEVER and self.lost <= order.listed:
                error = OrderError(order_id=order_id, err_code=reply.code, err_msg=reply.message)
                self._error(fact, error)

    def _move(self, at: float, how: str) -> None:
        self.on_v5_since = min(self.on_v5_since, at)
        if at > self.moved:
            self.moved, self.moved_by = at, how

    def _weigh_v5(self) -> None:
        """An order that V5 shows is the account's own where v1 does not serve it."""
        is_refused = self.unreached[V1] is not None or self.doubted > NEVER
        if is_refused and self.seen_on_v5 is not None:
            self._move(*self.seen_on_v5)

    def _not_on_v5(self, code: Code | None, asked: float) -> None:
        if asked >= self.not_on_v5:
            self.not_on_v5, self.absent = asked, code
            self.agreed = max(self.agreed, asked)

    def _list(self, fact: Listed) -> None:
        is_history = fact.kind is Kind.ENDED
        kept = self.ledger.ended if is_history else self.ledger.rows
        rows = [kept[order_id] for order_id in fact.order_ids]
        meant = [row for row in rows if self.intent.means(row)]
        if fact.generation is V5:
            self._seen_on_v5(fact, is_history, meant, rows)
        else:
            self.unreached[V1] = None
        if is_history:
            if fact.is_whole:
                self.history_at = max(self.history_at, fact.asked)
            self.is_told_by_v5 |= fact.generation is V5 and bool(meant)
            self.ended.update((row.order_id, row) for row in meant)
            return
        # What stood there when the call looked first is what it is about, whenever it was placed.
        is_first = not (self.cancels if fact.generation is V1 else self.words[V5])
        for row in meant:
            order = self.heard_of[row.order_id]
            order.is_meant |= is_first
            if fact.asked >= order.listed:
                order.listed, order.listed_by = fact.asked, fact.answered
        if fact.is_whole:
            self.unread.pop(fact.generation, None)
            shown = tuple(row.order_id for row in meant)
            names_any = bool(rows) or fact.has_others
            word = Word(fact.generation, fact.asked, fact.answered, True, names_any, shown)
            self.words[fact.generation].append(word)
            if fact.generation is V5:
                self.agreed = max(self.agreed, fact.asked)
            elif names_any:
                self.on_v1 = max(self.on_v1, fact.asked)

    def _seen_on_v5(
        self, fact: Listed, is_history: bool, meant: list[TrailingOrder], rows: list[TrailingOrder]
    ) -> None:
        how = "V5's history has" if is_history else "V5 lists"
        if rows:
            self.on_v5_since = min(self.on_v5_since, fact.answered)
            self.seen_on_v5 = (fact.answered, f"{how} an order of the account")
            self._weigh_v5()
        if meant and not is_history:
            self._move(fact.answered, "V5 lists orders that v1 does not know")


def _rounded_from(told: str, known: set[str]) -> str:
    """The one order of `known` of which `told` may be the id as a number, as exact as a double."""
    alike = [order_id for order_id in known if float(order_id) == float(told)]
    return alike[0] if len(alike) == 1 else told
