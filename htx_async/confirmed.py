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
    ended = seen.ended or {}
    # The history is read after the open orders: what is in both has ended since.
    open_ids = tuple(row.order_id for row in seen.left if not _has_ended(row.order_id, ended))
    recent = [row for row in ended.values() if _is_recent(row, seen.since) and row.matches(wanted)]
    triggered = _ids(
        report.triggered,
        (i for i in report.successes if i in ended and ended[i].status in TRIGGERED),
        (row.order_id for row in recent if row.status in TRIGGERED),
    )
    gone = {*open_ids, *triggered}
    went = [row.order_id for row in recent if row.status == CANCELLED]
    between = [row.order_id for row in seen.left if _was_cancelled(row.order_id, ended)]
    found = _ids(report.successes, between, () if report.ids_complete else went)
    successes = tuple(order_id for order_id in found if order_id not in gone)
    errors = tuple(e for e in report.errors if e.order_id not in successes)
    # A history that holds nothing of this call may only be late, or reach back 90 days.
    ids_complete = report.ids_complete or bool(went)
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


def _has_ended(order_id: str, ended: Mapping[str, TrailingOrder]) -> bool:
    row = ended.get(order_id)
    return row is not None and row.status in (CANCELLED, *TRIGGERED)


def _was_cancelled(order_id: str, ended: Mapping[str, TrailingOrder]) -> bool:
    row = ended.get(order_id)
    return row is not None and row.status == CANCELLED


def _is_recent(row: TrailingOrder, since: float) -> bool:
    ended_at = row.canceled_at or row.update_time
    return ended_at is not None and ended_at >= since


def _ids(*groups: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(order_id for group in groups for order_id in group))
