"""What the lists add to the account of a cancel, order by order."""

from collections.abc import Sequence

import pytest

from htx_async.cancel.ledger import Intent, Round
from htx_async.enums import Outcome
from htx_async.exchange.operation import Kind
from htx_async.filters import OrderFilter
from htx_async.orders import TrailingOrder
from htx_async.report import CancelReport
from tests.cancel.facts import ALL, BTC, LOST, START, Account, Made, no, order_error, row, took


def told(
    made: Sequence[Made],
    left: Sequence[TrailingOrder] = (),
    ended: Sequence[TrailingOrder] | None = (),
    wanted: OrderFilter = ALL,
) -> CancelReport:
    """What stands after these answers, a list of open orders and, unless None, a history."""
    account = Account(Intent(wanted, confirm=True))
    # The exchange's time, by which what ended before the call is told from what it did.
    account.said(no(1032, ts=START), *made)
    account.listed(Kind.OPEN, left)
    if ended is not None:
        account.listed(Kind.ENDED, ended)
    return account.report()


def test_all_gone_is_confirmed() -> None:
    """Nothing is open and the history has each of them as cancelled."""
    report = told([took("1", "2")], ended=[row("1", 6), row("2", 6)])
    assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, True)
    assert (report.successes, report.errors, report.triggered) == (("1", "2"), (), ())
    assert (report.still_open, report.warnings, report.ids_complete) == ((), (), True)
    assert report.message.endswith("Confirmed: none of them is open any more.")


@pytest.mark.parametrize("said", [took("1", "2"), took(), no(1051)])
@pytest.mark.parametrize("lost", [False, True])
def test_what_is_open_is_partial(said: Made, lost: bool) -> None:
    """Whatever the exchange said before, an open order is named and no longer a success."""
    report = told([*[LOST] * lost, said], [row("2")], [row("1", 6)])
    assert (report.outcome, report.confirmed, report.still_open) == (Outcome.PARTIAL, False, ("2",))
    assert report.successes == (("1",) if said.successes or lost else ())
    assert "1 order still open by the exchange's list: 2" in report.message


@pytest.mark.parametrize("status", [4, 5])
def test_what_triggered_is_no_success(status: int) -> None:
    """Between the reply and its effect an order may trigger: it is told as triggered, once."""
    rows = [row("1", 6), row("2", status), row("3", status)]
    report = told([took("1", "2", errors=[order_error("3", 1063)])], ended=rows)
    assert report.successes == ("1",)
    assert sorted(report.triggered) == ["2", "3"]
    assert report.outcome is Outcome.CANCELLED


@pytest.mark.parametrize(("after", "counts"), [(-101, True), (-102, False)])
def test_what_ended_before_the_call_began_is_not_its_own(after: int, counts: bool) -> None:
    """The exchange told 0 ms, cut off, in an answer that came 100 ms after the call began: what had
    ended by 101 ms before that may have done so before the call."""
    report = told([took()], ended=[row("1", 4, after)])
    assert report.triggered == (("1",) if counts else ())


def test_all_triggered_is_nothing_cancelled() -> None:
    """Then the exchange had nothing to cancel after all."""
    report = told([took("1")], ended=[row("1", 4)])
    assert (report.outcome, report.successes, report.triggered) == (
        Outcome.NOTHING_TO_CANCEL,
        (),
        ("1",),
    )


@pytest.mark.parametrize("made", [[LOST], [LOST, no(1051)], [LOST, took()]])
def test_ids_of_a_lost_answer_come_back(made: list[Made]) -> None:
    """What the history has as cancelled since the call began was taken by it."""
    report = told(made, ended=[row("1", 6), row("2", 4)])
    assert (report.outcome, report.successes) == (Outcome.CANCELLED, ("1",))
    assert (report.triggered, report.ids_complete, report.confirmed) == (("2",), True, True)
    assert report.ended_by == ""


def test_without_a_history_ids_stay_lost() -> None:
    """Nothing open is all that is known then."""
    report = told([LOST], ended=None)
    assert report.outcome is Outcome.CLEAR_AFTER_RETRY
    assert (report.successes, report.ids_complete, report.confirmed) == ((), False, True)


def test_nothing_cancelled_after_a_lost_answer() -> None:
    """Neither open nor ended since: there was nothing, or the history is late."""
    report = told([LOST])
    assert (report.outcome, report.ids_complete) == (Outcome.CLEAR_AFTER_RETRY, False)


@pytest.mark.parametrize(
    "other",
    [
        row("9", 6, after=-2),
        row("9", 4, after=-200),
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
    wanted = OrderFilter.checked(BTC, "buy", "open")
    if other.update_time is not None and other.update_time < START:
        # The reply that tells the time came 0.1 s after the call began.
        other = other.model_copy(update={"update_time": START - 200, "canceled_at": START - 200})
    report = told([LOST], ended=[other, row("1", 6)], wanted=wanted)
    assert (report.successes, report.triggered) == (("1",), ())


def test_others_cancels_are_not_claimed_when_all_ids_are_known() -> None:
    """With every answer at hand, the history adds triggers, and no success."""
    report = told([took("1")], ended=[row("1", 6), row("2", 6), row("3", 4)])
    assert (report.successes, report.triggered) == (("1",), ("3",))


def test_an_order_that_was_being_cancelled_already_makes_the_call_clear() -> None:
    """Its 1062 says that an earlier cancel of it was taken."""
    report = told([took(errors=[order_error("1", 1062)])], ended=[row("1", 6)])
    assert report.outcome is Outcome.CANCELLED


def test_an_order_refused_and_gone_is_clear() -> None:
    """A refusal of its own remains on record, though the list shows that it is gone."""
    made = [took("1", errors=[order_error("2", 1004)])]
    report = told(made, ended=[row("1", 6), row("2", 4)])
    assert (report.outcome, report.triggered) == (Outcome.CANCELLED, ("2",))
    assert [error.order_id for error in report.errors] == ["2"]


def test_an_order_refused_and_open_says_why() -> None:
    """The refusal is told beside the id."""
    made = [took("1", errors=[order_error("2", 1004)])]
    report = told(made, [row("2")], [row("1", 6)])
    assert (report.outcome, report.still_open) == (Outcome.PARTIAL, ("2",))
    assert "2 (1004: words)" in report.message


def test_a_success_that_was_refused_before_a_lost_answer_is_no_error() -> None:
    """An id is not both cancelled and refused."""
    made = [took(errors=[order_error("1", 1004)]), LOST]
    report = told(made, ended=[row("1", 6)])
    assert (report.successes, report.errors) == (("1",), ())


@pytest.mark.parametrize("status", [4, 5, 6])
def test_the_later_look_wins(status: int) -> None:
    """The history is read after the open orders: an order that is in both has ended."""
    report = told([took("1")], [row("1")], [row("1", status)])
    assert report.still_open == ()
    assert not set(report.still_open) & {*report.triggered, *report.successes}


@pytest.mark.parametrize("ended", [None, [], [row("1", 6)], [row("1", 4)], [row("2", 4)]])
@pytest.mark.parametrize("left", [[], [row("1")], [row("2")]])
@pytest.mark.parametrize("successes", [(), ("1",), ("1", "2")])
@pytest.mark.parametrize("lost", [False, True])
def test_no_order_is_cancelled_and_open_or_triggered(
    ended: list[TrailingOrder] | None,
    left: list[TrailingOrder],
    successes: tuple[str, ...],
    lost: bool,
) -> None:
    """Whatever was seen; and clear means that nothing was."""
    report = told([*[LOST] * lost, took(*successes)], left, ended)
    assert not set(report.successes) & {*report.still_open, *report.triggered}
    assert len(set(report.triggered)) == len(report.triggered)
    assert report.is_clear == report.confirmed == (not report.still_open)
    assert report.outcome is not Outcome.UNKNOWN


def rounds(*made: Made) -> Account:
    """Rounds of a cancel until clear."""
    account = Account(Intent(ALL, until_clear=True, confirm=True))
    for each in made:
        account.ledger.file(Round((BTC,), account.now))
        account.said(each)
        account.listed(Kind.OPEN, [row("7"), row("8")])
    return account


def test_what_the_last_round_lists_and_took_is_no_error_any_more() -> None:
    """Refused in the first round, taken in the second and still listed: open, but not refused."""
    account = rounds(took(errors=[order_error("7", 1004)]), took("7", "8"))
    report = account.report()
    assert (report.outcome, report.errors) == (Outcome.PARTIAL, ())
    assert report.still_open == ("7", "8")
    assert report.ids_complete


def test_an_order_that_a_round_listed_and_nobody_accounted_for_is_no_success() -> None:
    """Listed after the first round and gone after the second, cancelled or triggered: nobody
    knows, so the report names only what was taken."""
    account = rounds(took("8"))
    account.said(took("8"))
    account.listed(Kind.OPEN, [])
    report = account.report()
    assert (report.outcome, report.successes, report.confirmed) == (
        Outcome.CANCELLED,
        ("8",),
        True,
    )
