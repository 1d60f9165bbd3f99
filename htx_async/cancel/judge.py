"""The judge: what is known now, and the one report of it. Pure.

Outcomes and confirmations are decided here and nowhere else, and only on a cover: every generation
of the API that may be the account's has answered for all that is meant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from htx_async.calls.in_flight import Heard
from htx_async.cancel.evidence import V1, V5
from htx_async.cancel.ledger import Intent, Ledger
from htx_async.cancel.order import LEFT, NEVER, State
from htx_async.cancel.states import LISTED_WITHIN, States
from htx_async.codes import FIELD_MISSING, NOT_ON_V5, SETTLED_ORDER_CODES, Code
from htx_async.enums import ApiGeneration, Outcome, Verdict
from htx_async.report import Attempt, CancelReport, OrderError
from htx_async.report_text import WAY_OUT

_PROVES_NOTHING = "which it also says to accounts that have moved to V5"
NOT_CONFIRMED = "this is not confirmed"
"""Stands in each warning that says why a confirmation which was asked for is missing."""

TOO_EARLY = (
    f"{NOT_CONFIRMED}: the list of open orders shows none of them, but it was asked for less "
    f"than {LISTED_WITHIN:g} s after the call began, and an order may be listed late"
)
BLIND = "its open orders could not be read beforehand, so it was cancelled blind"
"""Filed as a cancel begins; what was refused or not sent has cancelled nothing."""

_NOT_SENT = "the request for this order was not sent"
_CANCELLED = (State.TAKEN, State.CANCELLED)
_ASKED = (Verdict.ACCEPTED, Verdict.UNKNOWN)


def states(intent: Intent, ledger: Ledger) -> States:
    """What the facts prove of each order, and what they leave open."""
    return States(intent, ledger)


def report(known: States, now: float, ended_by: str = "", late: str = "") -> CancelReport:
    """The report at loop time `now`; right at any moment, also while requests are on the wire.
    `ended_by`: what ends the call before its time. `late`: why it is not gone on with."""
    intent, doubt = known.intent, _doubt(known)
    wanted = intent.filter
    outcome = _outcome(known)
    is_tried = outcome not in _UNTRIED
    confirmed = _confirmed(known) if is_tried else None
    is_clear = outcome.is_clear
    why = "" if is_clear else doubt or known.ended_by or ended_by or _unread(known) or late
    # Refused once, and gone by the exchange's own word since, where nothing else confirms it.
    has_refusals = not is_clear or bool(confirmed)
    return CancelReport(
        contract_code=wanted.contract_code or "",
        pair=wanted.pair,
        contract_type=wanted.contract_type,
        margin_mode=wanted.margin_mode,
        family=intent.endpoint.family,
        direction=wanted.direction,
        offset=wanted.offset,
        outcome=outcome,
        successes=tuple(known.successes),
        errors=_errors(known, has_refusals),
        triggered=known.having(State.TRIGGERED),
        ids_complete=_is_complete(known, outcome),
        attempts=_numbered(_told(known, is_clear)),
        reads=_numbered(known.reads),
        ts=known.ts,
        elapsed=now - known.ledger.began,
        ended_by=why,
        warnings=_warnings(known, outcome, confirmed, doubt),
        confirmed=confirmed,
        still_open=known.still_open if is_tried else (),
    )


def problem(known: States) -> str:
    """Why a list is not to be had, or not believed."""
    unread = next(reversed(known.unread.values()), "")
    return _doubt(known) or known.history_unread or unread or "nobody has answered for the account"


_UNTRIED = (Outcome.NOT_SENT, Outcome.REFUSED)


def _doubt(known: States) -> str:
    """Why the last word of v1 is no proof; "" when it is."""
    is_seen = known.seen_on_v5 is not None and known.seen_on_v5[0] > known.not_on_v5
    is_moved = known.moved > NEVER and not (is_seen or known.words[V5])
    if is_moved and known.not_on_v5 > known.on_v1:
        told = f"{known.moved_by} and V5 answered {known.absent}"
        return f"{told}, so neither API serves this account"
    if known.unreached[V1] is not None and not known.ledger.is_pinned and V1 in known.on:
        if (code := _off_v5(known)) is not None and _is_v5_asked_since(known):
            answers = f"v1 answered {known.unreached[V1]} and V5 answered {code}"
            return f"{answers}, so neither API serves this account"
        told = f"v1 answered {known.unreached[V1]}, which says nothing about the account"
        told = f"{told}; {_of_v5(known)}"
        return f"{told}; {WAY_OUT}" if known.intent.is_trailing else told
    if not known.is_open_question:
        return ""
    last = _last_of(known, V1)
    is_odd = last is not None and last.reply.code == FIELD_MISSING
    said = f"v1 answered {FIELD_MISSING}" if is_odd else "v1 says that nothing is left"
    return f"{said}, {_PROVES_NOTHING}; {_of_v5(known)}"


def _off_v5(known: States) -> Code | None:
    """By which code V5 last said that it has no such account, or is not there."""
    return known.absent if known.unreached[V5] is None else known.unreached[V5]


def _of_v5(known: States) -> str:
    if (problem := _problems(known).get(V5)) is not None:
        return f"V5's list could not be read: {problem}".rstrip(".")
    if _is_v5_asked_since(known) and not _is_absence_told(known):
        return "V5 shows no order of it, open or ended, which is no proof that it is there"
    return "V5 was not asked" if _last_of(known, V5) is None else "V5 was not asked since"


def _last_of(known: States, generation: ApiGeneration) -> Heard | None:
    """The last request to it that left this machine."""
    heard = (*known.cancels, *known.reads)
    sent = (one for one in heard if one.generation is generation and one.attempt.sent)
    return max(sent, key=lambda one: one.answered, default=None)


def _is_absence_told(known: States) -> bool:
    """Whether V5's last word is that the account is not there."""
    last = _last_of(known, V5)
    return last is not None and last.reply.code in NOT_ON_V5


def _is_v5_asked_since(known: States) -> bool:
    """Whether V5 was asked after v1 had its last word."""
    v1, v5 = _last_of(known, V1), _last_of(known, V5)
    return v5 is not None and (v1 is None or v5.asked >= v1.answered or known.on_v1 == NEVER)


def _unread(known: States) -> str:
    """Why a list was not read to its end, where one was needed before anything could be sent, or to
    know what is left."""
    told = "the list of open orders could not be read"
    is_refused = any(heard.reply.verdict is Verdict.REFUSED for heard in known.cancels)
    if is_refused and not known.is_asked:
        # The refusal is why: what a list would have shown changes nothing.
        return ""
    problems = _problems(known)
    if not any(heard.reply.verdict in _ASKED for heard in known.cancels):
        problem = next(iter(problems.values()), "")
    else:
        told, problem = f"{told} to its end", "" if known.still_open else problems.get(V5, "")
    return f"{told}: {problem}".rstrip(".") if problem else ""


def _problems(known: States) -> dict[ApiGeneration, str]:
    """Why lists could not be read. That V5 refused the one of an account that is not there is its
    word, even where v1 was asked for more since."""
    is_out = known.on == {V1} or (V1 in known.on and _is_absence_told(known))
    return {one: why for one, why in known.unread.items() if not (is_out and one is V5)}


def _confirmed(known: States) -> bool | None:
    """Whether the lists prove that all of it is gone."""
    if known.still_open:
        return False
    return True if known.is_shown_clear and known.is_clear else None


def _warnings(
    known: States, outcome: Outcome, confirmed: bool | None, doubt: str
) -> tuple[str, ...]:
    told = list(known.warnings)
    if outcome in _UNTRIED and BLIND in told:
        told.remove(BLIND)
    if known.ended_by:
        told += _unsent(known, outcome)
    if doubt or known.intent.confirm:
        told += _of_confirmation(known, outcome, confirmed, doubt)
    return tuple(told)


def _of_confirmation(
    known: States, outcome: Outcome, confirmed: bool | None, doubt: str
) -> list[str]:
    """What a reader should know beside a confirmation that was asked for, or is in doubt."""
    if doubt and outcome.is_clear and not confirmed:
        return [f"{doubt}, so {NOT_CONFIRMED}"]
    if not known.intent.confirm or outcome in _UNTRIED:
        return []
    if confirmed is not None:
        return _of_history(known)
    lists = [one for one in known.on if known.last_list(one) is not None]
    if lists:
        return [TOO_EARLY] if outcome.is_clear and not any(map(known.is_late, lists)) else []
    problem = next(reversed(_problems(known).values()), "") or "it was not read yet"
    return [f"{NOT_CONFIRMED} by the list of open orders ({problem})"]


def _unsent(known: States, outcome: Outcome) -> list[str]:
    """That a cancel was to be sent and was not, where it is clear all the same: by a list alone."""
    if not outcome.is_clear or any(one.attempt.sent for one in known.cancels):
        return []
    told = f"no cancel was sent ({known.ended_by.rstrip('.')}); the list of open orders shows none"
    return [f"{told}, in which one that was placed in the last moment may be missing"]


def _of_history(known: States) -> list[str]:
    unseen = sum(order_id not in known.ended for order_id in known.successes)
    is_read = known.history_at > known.lost
    if not unseen and (is_read or not known.losses):
        return []
    missing = f"{unseen} of them are not in it yet" if unseen else "it was not read to its end"
    reason = known.history_unread or missing
    return [f"the history does not tell which of the orders had triggered ({reason})"]


def _errors(known: States, has_refusals: bool) -> tuple[OrderError, ...]:
    errors = []
    for order in known.orders.values():
        error = None if order.is_success else order.error
        # What was lost after it may have been taken all the same.
        is_told = order.state is not State.UNKNOWN and order.lost <= order.refused
        if error is None or not is_told or known.may_be_lost(order):
            continue
        if has_refusals or error.err_code in SETTLED_ORDER_CODES:
            errors.append(error)
    for order_id in known.intent.order_ids:
        if order_id not in known.orders:
            errors.append(OrderError(order_id=order_id, err_code=None, err_msg=_NOT_SENT))
    return tuple(errors)


def _is_complete(known: States, outcome: Outcome) -> bool:
    """Whether no id was lost with an answer, or may have been rounded."""
    if not known.is_exact or _lost(known):
        return False
    if known.intent.order_ids and outcome is Outcome.UNKNOWN:
        return False
    if not known.losses:
        return True
    # By v1's history, which tells of those that have ended since, if it is known since when. V5's
    # reaches back two days, and nobody says whether that is to when they ended or were placed.
    is_told = State.CANCELLED in known.kinds and not known.is_told_by_v5
    is_read = known.history_at > known.lost
    return is_told and is_read and known.times.do_agree and known.times.since < math.inf


def _lost(known: States) -> bool:
    """Whether an answer was lost that may have had the id of an order which is gone by now."""
    lost = known.having(State.GONE, State.UNKNOWN)
    return bool(lost) and any(known.orders[order_id].losses for order_id in lost)


def _told(known: States, is_clear: bool) -> Sequence[Heard]:
    """The cancels; where nothing could be cancelled, the refusal of the last list tells why."""
    if known.cancels or is_clear or not known.reads:
        return known.cancels
    return [one for one in known.reads[-1:] if one.reply.verdict is Verdict.REFUSED]


def _numbered(heard: Sequence[Heard]) -> tuple[Attempt, ...]:
    attempts: dict[int, Attempt] = {}
    for one in heard:
        # Two parts of what was asked for may have gone in one request.
        before, attempt = attempts.get(one.request), one.attempt
        number = len(attempts) + 1 if before is None else before.number
        if attempt.number != number:
            attempt = attempt.model_copy(update={"number": number})
        attempts[one.request] = attempt
    return tuple(attempts.values())


def _outcome(known: States) -> Outcome:
    if known.intent.order_ids:
        return _outcome_by_ids(known)
    states = known.kinds
    # What the history says was cancelled was so by others, or by an answer that was lost.
    is_asked = known.is_asked or len(known.successes) > 0
    if known.is_covered:
        if State.UNKNOWN in states:
            return Outcome.UNKNOWN
        if not states & LEFT:
            return _clear(known)
        return Outcome.PARTIAL if is_asked or _is_unsure(known) else _untried(known.cancels)
    if known.is_open_question and _off_v5(known) is not None and not is_asked:
        return _untried(known.cancels or known.reads[-1:])
    if known.still_open and is_asked:
        return Outcome.PARTIAL
    verdicts = (heard.reply.verdict for heard in reversed(known.cancels))
    last = next((verdict for verdict in verdicts if verdict in _ASKED), None)
    if known.is_open_question or last is Verdict.UNKNOWN:
        return Outcome.UNKNOWN
    if is_asked:
        return Outcome.PARTIAL if V1 in known.on else Outcome.UNKNOWN
    return _untried(known.cancels or known.reads[-1:])


def _untried(heard: Sequence[Heard]) -> Outcome:
    is_refused = any(one.reply.verdict is Verdict.REFUSED for one in heard)
    return Outcome.REFUSED if is_refused else Outcome.NOT_SENT


def _is_unsure(known: States) -> bool:
    """Whether all that is left are one-way orders, which no offset filter is sure of."""
    rows = [known.ledger.rows.get(order_id) for order_id in known.having(*LEFT)]
    return known.intent.filter.offset is not None and all(row and row.is_one_way for row in rows)


def _clear(known: States) -> Outcome:
    orders = known.orders.values()
    if known.successes or any(order.is_taken and order.state in _CANCELLED for order in orders):
        return Outcome.CANCELLED
    is_lost = known.losses or _lost(known)
    return Outcome.CLEAR_AFTER_RETRY if is_lost else Outcome.NOTHING_TO_CANCEL


def _outcome_by_ids(known: States) -> Outcome:
    """The worst end of any order decides."""
    states = known.kinds
    if known.is_open_question or State.UNKNOWN in states:
        return Outcome.UNKNOWN
    is_all = known.orders.keys() >= {*known.intent.order_ids}
    if is_all and not states & LEFT:
        return _clear(known)
    verdicts = {heard.reply.verdict for heard in known.cancels}
    if verdicts <= {Verdict.NOT_SENT} and not known.successes:
        return Outcome.NOT_SENT
    is_refused = is_all and states == {State.REFUSED} and Verdict.ACCEPTED not in verdicts
    return Outcome.REFUSED if is_refused else Outcome.PARTIAL
