"""What the exchange's own lists add to the account of a cancel. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from htx_async.codes import CANCELLING
from htx_async.models import CancelAllTrailing
from htx_async.orders import CANCELLED, TRIGGERED, TrailingOrder
from htx_async.report import CancelReport
from htx_async.terms import Outcome


class Seen(NamedTuple):
    """What was read after a cancel.

    `left`: open orders that the cancel was meant for. `ended`: the history, by order id; None when
    it could not be read. `since`: Unix milliseconds, before which nothing is this call's doing.
    """

    left: tuple[TrailingOrder, ...]
    ended: Mapping[str, TrailingOrder] | None
    since: float


def confirmed(report: CancelReport, wanted: CancelAllTrailing, seen: Seen) -> CancelReport:
    """`report` as the lists have it: nothing that is open counts as cancelled, what triggered is
    told as triggered, and ids that a lost answer took along come back from the history."""
    open_ids = tuple(row.order_id for row in seen.left)
    ended = seen.ended or {}
    recent = [row for row in ended.values() if _is_recent(row, seen.since) and row.matches(wanted)]
    triggered = _ids(
        report.triggered,
        (i for i in report.successes if i in ended and ended[i].status in TRIGGERED),
        (row.order_id for row in recent if row.status in TRIGGERED),
    )
    gone = {*open_ids, *triggered}
    lost = () if report.ids_complete else (r.order_id for r in recent if r.status == CANCELLED)
    successes = tuple(i for i in _ids(report.successes, lost) if i not in gone)
    errors = tuple(e for e in report.errors if e.order_id not in successes)
    ids_complete = report.ids_complete or seen.ended is not None
    outcome = Outcome.PARTIAL
    if not open_ids:
        under_way = any(error.err_code == CANCELLING for error in errors)
        nothing = Outcome.NOTHING_TO_CANCEL if ids_complete else Outcome.CLEAR_AFTER_RETRY
        outcome = Outcome.CANCELLED if successes or under_way else nothing
    return report.model_copy(
        update={
            "outcome": outcome,
            "successes": successes,
            "errors": errors,
            "triggered": triggered,
            "ids_complete": ids_complete,
            "confirmed": not open_ids,
            "still_open": open_ids,
            "ended_by": "" if outcome.is_clear else report.ended_by,
        }
    )


def _is_recent(row: TrailingOrder, since: float) -> bool:
    ended_at = row.canceled_at or row.update_time
    return ended_at is not None and ended_at >= since


def _ids(*groups: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(order_id for group in groups for order_id in group))
