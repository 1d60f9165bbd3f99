"""One account of a cancel by ids that went out in batches."""

import pytest

from htx_async.cancel.ledger import Intent
from htx_async.enums import ContractType, MarginMode, Outcome
from htx_async.errors import failure_of
from htx_async.filters import OrderFilter
from htx_async.report import CancelReport
from tests.cancel.facts import LOST, UNSENT, Account, Made, no, order_error, took

WANTED = OrderFilter.checked("BTC-USDT", None, None)
NO = no(1014, message="no such contract")
Batch = tuple[str, tuple[Made, ...]]


def batch(ids: str, *made: Made) -> Batch:
    """A batch of ids of one letter each."""
    return ids, made


def made_of(*batches: Batch, wanted: OrderFilter = WANTED) -> Account:
    account = Account(Intent(wanted, tuple("".join(ids for ids, _ in batches))))
    for ids, made in batches:
        account.said(*made, order_ids=tuple(ids))
    return account


def told(*batches: Batch, wanted: OrderFilter = WANTED) -> CancelReport:
    return made_of(*batches, wanted=wanted).report()


@pytest.mark.parametrize(
    ("batches", "outcome"),
    [
        ([batch("12", took("1", "2"))], Outcome.CANCELLED),
        ([batch("12", took("1", errors=[order_error("2", 1061)]))], Outcome.CANCELLED),
        ([batch("1", took(errors=[order_error("1", 1062)]))], Outcome.CANCELLED),
        ([batch("1", took(errors=[order_error("1", 1061)]))], Outcome.NOTHING_TO_CANCEL),
        ([batch("1", took(errors=[order_error("1", 1063)]))], Outcome.NOTHING_TO_CANCEL),
        ([batch("12", took("1", errors=[order_error("2", 1004)]))], Outcome.PARTIAL),
        ([batch("1", took(errors=[order_error("1", 1004)]))], Outcome.PARTIAL),
        ([batch("1", took("1")), batch("2", NO)], Outcome.PARTIAL),
        ([batch("1", took("1")), batch("2")], Outcome.PARTIAL),
        ([batch("1", NO), batch("2")], Outcome.PARTIAL),
        ([batch("1", took("1")), batch("2", UNSENT)], Outcome.PARTIAL),
        ([batch("1", took("1")), batch("2", LOST)], Outcome.UNKNOWN),
        ([batch("1", LOST), batch("2", NO), batch("3")], Outcome.UNKNOWN),
        ([batch("1", LOST, NO)], Outcome.UNKNOWN),
        ([batch("1", LOST, UNSENT)], Outcome.UNKNOWN),
        ([batch("12", took("1"))], Outcome.UNKNOWN),
        ([batch("1", NO), batch("2", NO)], Outcome.REFUSED),
        ([batch("1"), batch("2", UNSENT)], Outcome.NOT_SENT),
        ([batch("1", LOST, took("1"))], Outcome.CANCELLED),
    ],
)
def test_the_worst_end_of_any_order_decides(batches: list[Batch], outcome: Outcome) -> None:
    """Unknown before partial; refused or not sent only when that is true of every batch."""
    report = told(*batches)
    assert report.outcome is outcome
    assert report.ids_complete == (outcome is not Outcome.UNKNOWN)
    assert (failure_of(report) is None) == outcome.is_clear


def test_every_order_is_accounted_for() -> None:
    """A success, or an error with the reason: its own, that of its batch, or that it stayed."""
    account = made_of(
        batch("12", took("1", errors=[order_error("2", 1063)], ts=5)),
        batch("34", NO),
        batch("5"),
        batch("6", UNSENT),
    )
    account.ended("time is up")
    account.warned("late", "late")
    report = account.report()
    assert report.successes == ("1",)
    assert report.triggered == ("2",)
    codes = [(error.order_id, error.err_code) for error in report.errors]
    assert codes == [("2", 1063), ("3", 1014), ("4", 1014), ("5", None), ("6", None)]
    assert report.errors[1].err_msg == "no such contract"
    assert "not sent" in report.errors[3].err_msg
    assert (report.ts, report.ended_by, report.warnings) == (5, "time is up", ("late",))
    assert [one.number for one in report.attempts] == [1, 2, 3]


def test_a_batch_without_an_answer_names_no_order_as_refused() -> None:
    """They may be gone: neither a success nor an error."""
    report = told(batch("12", LOST, NO), batch("3", took("3")))
    assert (report.successes, report.errors) == (("3",), ())


def test_the_account_names_what_it_is_about() -> None:
    """In cross margin by pair and type, where that is how it was named; filters there are none."""
    kind = ContractType.QUARTER
    wanted = OrderFilter.checked(None, None, None, MarginMode.CROSS, "BTC-USDT", kind)
    report = told(batch("1", took("1")), wanted=wanted)
    assert (report.contract_code, report.pair, report.contract_type) == ("", "BTC-USDT", kind)
    assert (report.margin_mode, report.direction, report.offset) == (MarginMode.CROSS, None, None)
    assert "BTC-USDT quarter in cross margin: " in report.message


@pytest.mark.parametrize("code", [1061, 1071])
def test_orders_gone_by_the_second_answer_are_clear_after_a_retry(code: int) -> None:
    """The lost first request most likely took them: "nothing to cancel" would not be true."""
    report = told(batch("1", LOST, took(errors=[order_error("1", code)])))
    assert report.outcome is Outcome.CLEAR_AFTER_RETRY


def test_one_refusal_of_several_is_believed_of_none() -> None:
    """A code about no orders at all, to a request that names two: each has to be asked for."""
    account = made_of(batch("12", no(1051)))
    assert not account.report().is_clear
    account.said(took("1"), order_ids=("1",))
    account.said(no(1051), order_ids=("2",))
    report = account.report()
    assert (report.outcome, report.successes) == (Outcome.CANCELLED, ("1",))
