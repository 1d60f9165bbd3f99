"""The judge: what is known now, and the one report of it. Pure.

Outcomes and confirmations are decided here and nowhere else, and only on a cover: every generation
of the API that may be the account's has answered for all that is meant.
"""

from __future__ import annotations

from collections.abc import Sequence

from htx_async.cancel.evidence import NEVER, V1, V5, Evidence
from htx_async.cancel.ledger import Intent, Ledger
from htx_async.cancel.states import LEFT, LISTED_WITHIN, State, States
from htx_async.codes import SETTLED_ORDER_CODES, Code
from htx_async.enums import Outcome, Verdict
from htx_async.report import Attempt, CancelReport, OrderError

WAY_OUT = 'for an account that has moved, open the session with generation="v5"'

_PROVES_NOTHING = (
    "v1 says that nothing is left, which it also says to accounts that have moved to V5"
)
NOT_CONFIRMED = "this is not confirmed"
"""Stands in each warning that says why a confirmation which was asked for is missing."""

TOO_EARLY = (
    f"{NOT_CONFIRMED}: the list of open orders shows none of them, but it was asked for less "
    f"than {LISTED_WITHIN:g} s after the call began, and an order may be listed late"
)
_NOT_SENT = "the request for this order was not sent"
_CANCELLED = (State.TAKEN, State.CANCELLED)
_ASKED = (Verdict.ACCEPTED, Verdict.UNKNOWN)


def states(intent: Intent, ledger: Ledger) -> States:
    """What the facts prove of each order, and what they leave open."""
    return States(Evidence(intent, ledger))


def report(known: States, now: float, ended_by: str = "") -> CancelReport:
    """The account at loop time `now`; right at any moment, also while requests are on the wire.
    `ended_by`: what ends the call before its time."""
    seen = known.seen
    intent, doubt = seen.intent, _doubt(seen, known)
    wanted = intent.filter
    outcome = _outcome(seen, known)
    is_filtered = not intent.order_ids
    reason = doubt or seen.ended_by or ended_by or _unread(seen, known)
    return CancelReport(
        contract_code=wanted.contract_code or "",
        pair=wanted.pair,
        contract_type=wanted.contract_type,
        margin_mode=wanted.margin_mode,
        direction=wanted.direction if is_filtered else None,
        offset=wanted.offset if is_filtered else None,
        outcome=outcome,
        successes=known.successes,
        errors=_errors(seen, known, outcome),
        triggered=known.having(State.TRIGGERED),
        ids_complete=_is_complete(seen, known, outcome),
        attempts=_attempts(seen),
        reads=_numbered([heard.attempt for heard in seen.reads]),
        ts=seen.ts,
        elapsed=now - seen.ledger.began,
        ended_by="" if outcome.is_clear else reason,
        warnings=(*seen.warnings, *_warnings(seen, known, outcome, doubt)),
        confirmed=known.confirmed if outcome not in _UNTRIED else None,
        still_open=known.still_open if outcome not in _UNTRIED else (),
    )


def problem(known: States) -> str:
    """Why a list is not to be had, or not believed."""
    seen = known.seen
    unread = next(reversed(seen.unread.values()), "")
    return _doubt(seen, known) or unread or "nobody has answered for the account"


_UNTRIED = (Outcome.NOT_SENT, Outcome.REFUSED)


def _doubt(seen: Evidence, known: States) -> str:
    """Why the last word of v1 is no proof; "" when it is."""
    if seen.absent is not None and seen.moved > NEVER and not seen.words[V5]:
        return f"{seen.moved_by} and V5 answered {seen.absent}, so neither API serves this account"
    if known.unreached is not None and not seen.ledger.is_pinned and V1 in known.on:
        if (code := _off_v5(seen)) is not None:
            answers = f"v1 answered {known.unreached} and V5 answered {code}"
            return f"{answers}, so neither API serves this account"
        why = "V5 shows no order of it, open or ended, which is no proof that it is there"
        why = _of_v5(seen) if seen.agreed == NEVER else why
        told = f"v1 answered {known.unreached}, which says nothing about the account"
        return f"{told}; {why}; {WAY_OUT}"
    return f"{_PROVES_NOTHING}; {_of_v5(seen)}" if known.is_open_question else ""


def _off_v5(seen: Evidence) -> Code | None:
    """By which code V5 last said that it has no such account, or is not there."""
    return seen.absent if seen.unreached[V5] is None else seen.unreached[V5]


def _of_v5(seen: Evidence) -> str:
    problem = seen.unread.get(V5)
    if problem is None:
        return "V5 was not asked"
    return f"V5's list could not be read: {problem}".rstrip(".")


def _unread(seen: Evidence, known: States) -> str:
    """Why a list was not read to its end, where one was needed before anything could be sent, or to
    know what is left."""
    told = "the list of open orders could not be read"
    if not any(heard.reply.verdict in _ASKED for heard in seen.cancels):
        problem = next(iter(seen.unread.values()), "")
    else:
        told, problem = f"{told} to its end", "" if known.is_covered else seen.unread.get(V5, "")
    return f"{told}: {problem}".rstrip(".") if problem else ""


def _warnings(seen: Evidence, known: States, outcome: Outcome, doubt: str) -> list[str]:
    """What a reader should know beside a confirmation that was asked for, or is in doubt."""
    if doubt and outcome.is_clear:
        return [f"{doubt}, so {NOT_CONFIRMED}"]
    if not seen.intent.confirm or outcome in _UNTRIED:
        return []
    if known.confirmed is not None:
        return _of_history(seen, known)
    lists = [one for one in known.on if known.last_list(one) is not None]
    if lists:
        return [TOO_EARLY] if outcome.is_clear and not any(map(known.is_late, lists)) else []
    problem = next(reversed(seen.unread.values()), "") or "it was not read yet"
    return [f"{NOT_CONFIRMED} by the list of open orders ({problem})"]


def _of_history(seen: Evidence, known: States) -> list[str]:
    unseen = sum(order_id not in seen.ended for order_id in known.successes)
    if not unseen and (seen.history_at > NEVER or not seen.losses):
        return []
    reason = next(reversed(seen.unread.values()), "") or f"{unseen} of them are not in it yet"
    return [f"the history does not tell which of the orders had triggered ({reason})"]


def _errors(seen: Evidence, known: States, outcome: Outcome) -> tuple[OrderError, ...]:
    taken = {*known.successes}
    errors = [
        order.error
        for order_id, order in known.orders.items()
        if order.error is not None and order_id not in taken and order.state is not State.UNKNOWN
    ]
    if outcome.is_clear and not known.confirmed:
        # Refused once, and gone by the exchange's own word since.
        errors = [error for error in errors if error.err_code in SETTLED_ORDER_CODES]
    missing = [i for i in seen.intent.order_ids if i not in known.orders]
    unsent = [OrderError(order_id=i, err_code=None, err_msg=_NOT_SENT) for i in missing]
    return (*errors, *unsent)


def _is_complete(seen: Evidence, known: States, outcome: Outcome) -> bool:
    """Whether no id was lost with an answer, or may have been rounded."""
    if not all(heard.reply.is_exact for heard in seen.cancels):
        return False
    if _lost(known) or (seen.intent.order_ids and outcome is Outcome.UNKNOWN):
        return False
    return not seen.losses or bool(known.having(State.CANCELLED))


def _lost(known: States) -> bool:
    """Whether an answer was lost that may have had the id of an order which is gone by now."""
    lost = (State.GONE, State.UNKNOWN)
    return any(known.orders[i].losses for i in known.having(*lost))


def _attempts(seen: Evidence) -> tuple[Attempt, ...]:
    """The cancels; where no list could be read, the refusal of the last one tells why."""
    if not seen.cancels and seen.reads and seen.reads[-1].reply.verdict is Verdict.REFUSED:
        return _numbered([seen.reads[-1].attempt])
    return _numbered([heard.attempt for heard in seen.cancels])


def _numbered(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    return tuple(
        a if a.number == n else a.model_copy(update={"number": n})
        for n, a in enumerate(attempts, 1)
    )


def _outcome(seen: Evidence, known: States) -> Outcome:
    if seen.intent.order_ids:
        return _outcome_by_ids(seen, known)
    states = known.kinds
    verdicts = [heard.reply.verdict for heard in seen.cancels]
    is_asked = known.is_asked
    if known.is_covered:
        if State.UNKNOWN in states:
            return Outcome.UNKNOWN
        if not states & LEFT:
            return _clear(seen, known)
        return Outcome.PARTIAL if is_asked or _is_unsure(seen, known) else _untried(verdicts)
    if known.is_open_question and _off_v5(seen) is not None and not is_asked:
        return Outcome.REFUSED
    if known.still_open and is_asked:
        return Outcome.PARTIAL
    last = next((verdict for verdict in reversed(verdicts) if verdict in _ASKED), None)
    if known.is_open_question or last is Verdict.UNKNOWN:
        return Outcome.UNKNOWN
    if is_asked:
        return Outcome.PARTIAL if V1 in known.on else Outcome.UNKNOWN
    if not verdicts and seen.reads:
        verdicts = [seen.reads[-1].reply.verdict]
    return _untried(verdicts)


def _untried(verdicts: Sequence[Verdict]) -> Outcome:
    return Outcome.REFUSED if Verdict.REFUSED in verdicts else Outcome.NOT_SENT


def _is_unsure(seen: Evidence, known: States) -> bool:
    """Whether all that is left are one-way orders, which no offset filter is sure of."""
    rows = [seen.ledger.rows.get(order_id) for order_id in known.having(*LEFT)]
    return seen.intent.filter.offset is not None and all(row and row.is_one_way for row in rows)


def _clear(seen: Evidence, known: States) -> Outcome:
    orders = known.orders.values()
    if known.successes or any(order.is_taken and order.state in _CANCELLED for order in orders):
        return Outcome.CANCELLED
    is_lost = seen.losses or _lost(known)
    return Outcome.CLEAR_AFTER_RETRY if is_lost else Outcome.NOTHING_TO_CANCEL


def _outcome_by_ids(seen: Evidence, known: States) -> Outcome:
    """The worst end of any order decides."""
    states = known.kinds
    if known.is_open_question or State.UNKNOWN in states:
        return Outcome.UNKNOWN
    is_all = known.orders.keys() >= {*seen.intent.order_ids}
    if is_all and not states & LEFT:
        return _clear(seen, known)
    verdicts = {heard.reply.verdict for heard in seen.cancels}
    if verdicts <= {Verdict.NOT_SENT}:
        return Outcome.NOT_SENT
    is_refused = is_all and states == {State.REFUSED} and Verdict.ACCEPTED not in verdicts
    return Outcome.REFUSED if is_refused else Outcome.PARTIAL
