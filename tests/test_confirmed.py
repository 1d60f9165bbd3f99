"""What the lists add to the account of a cancel, order by order."""

from collections.abc import Sequence
from typing import Any

import pytest

from htx_async.confirmed import Seen, confirmed
from htx_async.models import CancelAllTrailing
from htx_async.orders import TrailingOrder
from htx_async.report import CancelReport, OrderError
from htx_async.terms import Direction, Offset, Outcome

BTC = "BTC-USDT"
SINCE = 1_700_000_000_000.0
ALL = CancelAllTrailing.checked(BTC, None, None)


def row(order_id: str, status: int = 2, after: int | None = 100, **fields: Any) -> TrailingOrder:
    """A listed order; one that has ended did so `after` ms from when the call began."""
    ended_at = None if status == 2 or after is None else int(SINCE) + after
    told = {
        "order_id_str": order_id,
        "contract_code": BTC,
        "direction": "buy",
        "offset": "open",
        "status": status,
        "update_time": ended_at,
        "canceled_at": ended_at if status == 6 else None,
    }
    return TrailingOrder.model_validate({**told, **fields})


def said(outcome: Outcome = Outcome.CANCELLED, *successes: str, **fields: Any) -> CancelReport:
    """What the exchange said of a cancel of all."""
    told = {"contract_code": BTC, "direction": None, "offset": None, "outcome": outcome}
    return CancelReport(**{**told, "successes": successes, **fields})


def refused(order_id: str, code: int) -> OrderError:
    return OrderError(order_id=order_id, err_code=code, err_msg="no")


def seen(left: Sequence[TrailingOrder] = (), ended: Sequence[TrailingOrder] | None = ()) -> Seen:
    history = None if ended is None else {order.order_id: order for order in ended}
    return Seen(tuple(left), history, SINCE)


def test_all_gone_is_confirmed() -> None:
    """Nothing is open and the history has each of them as cancelled."""
    told = said(Outcome.CANCELLED, "1", "2")
    report = confirmed(told, ALL, seen(ended=[row("1", 6), row("2", 6)]))
    assert report == told.model_copy(update={"confirmed": True})
    assert report.message.endswith("Confirmed: none of them is open any more.")


@pytest.mark.parametrize(
    "outcome", [Outcome.CANCELLED, Outcome.NOTHING_TO_CANCEL, Outcome.CLEAR_AFTER_RETRY]
)
def test_what_is_open_is_partial(outcome: Outcome) -> None:
    """Whatever the exchange said before, an open order is named and no longer a success."""
    told = said(outcome, *(["1", "2"] if outcome is Outcome.CANCELLED else []))
    report = confirmed(told, ALL, seen([row("2")], [row("1", 6)]))
    assert (report.outcome, report.confirmed, report.still_open) == (Outcome.PARTIAL, False, ("2",))
    assert report.successes == (("1",) if outcome is Outcome.CANCELLED else ())
    assert "1 order still open by the exchange's list: 2" in report.message


@pytest.mark.parametrize("status", [4, 5])
def test_what_triggered_is_no_success(status: int) -> None:
    """Between the reply and its effect an order may trigger: it is told as triggered, once."""
    told = said(Outcome.CANCELLED, "1", "2", triggered=("3",), errors=(refused("3", 1063),))
    rows = [row("1", 6), row("2", status), row("3", status)]
    report = confirmed(told, ALL, seen(ended=rows))
    assert (report.successes, report.triggered) == (("1",), ("3", "2"))
    assert report.outcome is Outcome.CANCELLED


def test_all_triggered_is_nothing_cancelled() -> None:
    """Then the exchange had nothing to cancel after all."""
    report = confirmed(said(Outcome.CANCELLED, "1"), ALL, seen(ended=[row("1", 4)]))
    assert (report.outcome, report.successes, report.triggered) == (
        Outcome.NOTHING_TO_CANCEL,
        (),
        ("1",),
    )


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.CLEAR_AFTER_RETRY])
def test_ids_of_a_lost_answer_come_back(outcome: Outcome) -> None:
    """What the history has as cancelled since the call began was taken by it."""
    told = said(outcome, ids_complete=False, ended_by="the policy")
    report = confirmed(told, ALL, seen(ended=[row("1", 6), row("2", 4)]))
    assert (report.outcome, report.successes) == (Outcome.CANCELLED, ("1",))
    assert (report.triggered, report.ids_complete, report.confirmed) == (("2",), True, True)
    assert report.ended_by == ""


def test_without_a_history_ids_stay_lost() -> None:
    """Nothing open is all that is known then."""
    told = said(Outcome.UNKNOWN, ids_complete=False)
    report = confirmed(told, ALL, seen(ended=None))
    assert report.outcome is Outcome.CLEAR_AFTER_RETRY
    assert (report.successes, report.ids_complete, report.confirmed) == ((), False, True)


def test_nothing_cancelled_after_a_lost_answer() -> None:
    """Neither open nor ended since: there was nothing, or the history is late."""
    told = said(Outcome.UNKNOWN, ids_complete=False)
    report = confirmed(told, ALL, seen())
    assert (report.outcome, report.ids_complete) == (Outcome.CLEAR_AFTER_RETRY, False)


@pytest.mark.parametrize(
    "other",
    [
        row("9", 6, after=-1),
        row("9", 4, after=-1),
        row("9", 6, after=None),
        row("9", 4, after=None),
        row("9", 6, contract_code="ETH-USDT"),
        row("9", 4, direction="sell"),
        row("9", 6, offset="close"),
        row("9", 6, margin_mode="cross"),
        row("9", 99),
    ],
)
def test_what_is_not_this_call_s_doing_is_left_out(other: TrailingOrder) -> None:
    """Ended earlier or at a time not told, of other filters, or with a status not known."""
    wanted = CancelAllTrailing.checked(BTC, "buy", "open")
    filters = {"direction": Direction.BUY, "offset": Offset.OPEN}
    told = said(Outcome.UNKNOWN, ids_complete=False, **filters)
    report = confirmed(told, wanted, seen(ended=[other, row("1", 6)]))
    assert (report.successes, report.triggered) == (("1",), ())


def test_others_cancels_are_not_claimed_when_all_ids_are_known() -> None:
    """With every answer at hand, the history adds triggers, and no success."""
    told = said(Outcome.CANCELLED, "1")
    report = confirmed(told, ALL, seen(ended=[row("1", 6), row("2", 6), row("3", 4)]))
    assert (report.successes, report.triggered) == (("1",), ("3",))


def test_an_order_that_was_being_cancelled_already_counts_as_taken() -> None:
    """Its 1062 stays on record; gone, it makes the call clear."""
    told = said(Outcome.CANCELLED, errors=(refused("1", 1062),))
    report = confirmed(told, ALL, seen(ended=[row("1", 6)]))
    assert (report.outcome, report.errors) == (Outcome.CANCELLED, told.errors)


def test_an_order_refused_and_gone_is_clear() -> None:
    """A refusal of its own remains on record, though the list shows that it is gone."""
    told = said(Outcome.PARTIAL, "1", errors=(refused("2", 1004),))
    report = confirmed(told, ALL, seen(ended=[row("1", 6), row("2", 4)]))
    assert (report.outcome, report.triggered) == (Outcome.CANCELLED, ("2",))
    assert report.errors == told.errors


def test_an_order_refused_and_open_says_why() -> None:
    """The refusal is told beside the id."""
    told = said(Outcome.PARTIAL, "1", errors=(refused("2", 1004),), ended_by="")
    report = confirmed(told, ALL, seen([row("2")], [row("1", 6)]))
    assert (report.outcome, report.still_open) == (Outcome.PARTIAL, ("2",))
    assert "2 (1004: no)" in report.message


def test_a_success_that_a_lost_answer_refused_before_is_no_error() -> None:
    """An id is not both cancelled and refused."""
    told = said(Outcome.UNKNOWN, errors=(refused("1", 1004),), ids_complete=False)
    report = confirmed(told, ALL, seen(ended=[row("1", 6)]))
    assert (report.successes, report.errors) == (("1",), ())


@pytest.mark.parametrize("status", [4, 5, 6])
def test_the_later_look_wins(status: int) -> None:
    """The history is read after the open orders: an order that is in both has ended."""
    report = confirmed(said(Outcome.CANCELLED, "1"), ALL, seen([row("1")], [row("1", status)]))
    assert report.still_open == ()
    assert not set(report.still_open) & {*report.triggered, *report.successes}


@pytest.mark.parametrize("ended", [None, [], [row("1", 6)], [row("1", 4)], [row("2", 4)]])
@pytest.mark.parametrize("left", [[], [row("1")], [row("2")]])
@pytest.mark.parametrize("successes", [(), ("1",), ("1", "2")])
@pytest.mark.parametrize("ids_complete", [True, False])
def test_no_order_is_cancelled_and_open_or_triggered(
    ended: list[TrailingOrder] | None,
    left: list[TrailingOrder],
    successes: tuple[str, ...],
    ids_complete: bool,
) -> None:
    """Whatever was seen; and clear means that nothing was."""
    outcome = Outcome.CANCELLED if successes else Outcome.CLEAR_AFTER_RETRY
    told = said(outcome, *successes, ids_complete=ids_complete)
    report = confirmed(told, ALL, seen(left, ended))
    assert not set(report.successes) & {*report.still_open, *report.triggered}
    assert len(set(report.triggered)) == len(report.triggered)
    assert report.is_clear == report.confirmed == (not report.still_open)
    assert report.outcome is not Outcome.UNKNOWN
