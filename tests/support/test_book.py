"""The judge of reports finds out each kind of lie, or what the histories show is worth nothing."""

from typing import Any

import pytest

from htx_async import CancelReport, Outcome, Verdict
from tests.support.book import (
    Book,
    Evidence,
    Letter,
    Wanted,
    assert_still_true,
    assert_true,
)
from tests.support.histories import Undertaking, opened
from tests.support.ledger import CONTRACTS, Ledger, Line
from tests.support.virtual import VirtualLoop

CODE = CONTRACTS[0]
WANTED = Wanted(CODE, "isolated")


def judged(arm: Any = None, **settings: Any) -> tuple[CancelReport, Evidence, Ledger]:
    """A call over three orders, judged already as it ended, and what is known of it."""
    loop = VirtualLoop()
    exchange = Ledger(loop)
    exchange.put(CODE, "buy", "close", 3)
    if arm is not None:
        arm(exchange)
    htx = opened(Line(exchange, lambda: 0.04, residual=False))
    call = Undertaking(
        htx,
        exchange,
        [WANTED],
        lambda: htx.cancel_all_trailing(CODE, **settings),
        lambda: loop.time() + 10.0,
    )
    loop.run_until_complete(call.task)
    loop.run_until_complete(htx.aclose())
    loop.close()
    (report,) = call.reports
    return report, Evidence(WANTED, call.began, call.letters, exchange.book), exchange


def assert_found_out(report: CancelReport, seen: Evidence, **lie: Any) -> None:
    assert_true(report, seen)
    with pytest.raises(AssertionError):
        assert_true(report.model_copy(update=lie), seen)


@pytest.mark.parametrize(
    "lie",
    [
        {"outcome": Outcome.NOT_SENT},
        {"outcome": Outcome.REFUSED},
        {"outcome": Outcome.NOTHING_TO_CANCEL},
        {"outcome": Outcome.CLEAR_AFTER_RETRY},
        {"outcome": Outcome.UNKNOWN},
        {"successes": ()},
        {"successes": ("1",)},
        {"attempts": ()},
    ],
)
def test_a_lie_about_a_clean_cancel_is_found_out(lie: dict[str, Any]) -> None:
    """An outcome that is not the one, an id missing or invented, a request that is not told."""
    report, seen, _ = judged()
    assert report.outcome is Outcome.CANCELLED
    assert_found_out(report, seen, **lie)


def test_a_lie_about_a_lost_answer_is_found_out() -> None:
    """Four answers lost after the work: not clear, not refused, not unsent, nothing complete."""
    report, seen, _ = judged(lambda exchange: exchange.lose_after_work(times=4))
    assert report.outcome is Outcome.UNKNOWN
    for outcome in set(Outcome) - {Outcome.UNKNOWN, Outcome.PARTIAL}:
        assert_found_out(report, seen, outcome=outcome)
    believed = [a.model_copy(update={"verdict": Verdict.REFUSED}) for a in report.attempts]
    assert_found_out(report, seen, attempts=tuple(believed))


def test_an_order_that_is_left_is_found_out() -> None:
    """Clear, with an order in the book that nobody cancels; or told as confirmed."""
    report, seen, exchange = judged(lambda exchange: exchange.reject_order(first(exchange), 1004))
    assert report.outcome is Outcome.PARTIAL
    clear = {"outcome": Outcome.CANCELLED, "errors": ()}
    assert_found_out(report, seen, **clear)
    assert_found_out(report, seen, confirmed=True)
    assert_found_out(report, seen, triggered=(first(exchange),))
    assert_found_out(report, seen, still_open=report.successes)


def test_what_arrives_after_the_report_belies_it_too() -> None:
    """A request that was told as never sent, and came."""
    report, seen, _ = judged()
    assert_still_true(report, seen)
    for outcome in (Outcome.NOT_SENT, Outcome.REFUSED, Outcome.NOTHING_TO_CANCEL):
        with pytest.raises(AssertionError):
            assert_still_true(report.model_copy(update={"outcome": outcome}), seen)


def first(exchange: Ledger) -> str:
    return next(iter(exchange.book.placed))


@pytest.mark.parametrize(("way", "is_before"), [(0.4, False), (0.1, True)])
def test_an_order_ended_before_a_call_as_far_as_its_replies_tell_the_time(
    way: float, is_before: bool
) -> None:
    """Lists that are shared tell it, too; a page of a gateway does not."""
    page = Letter("cancel", b"", (CODE,), 1.0, arrived=1.1, ended=1.1, answered=True)
    page.tells_time = False
    shared = Letter("opens", b"", (), 1.0, arrived=1.1, ended=1.1 + way, answered=True)
    book = Book(ended={"1": 0.7})
    seen = Evidence(WANTED, 1.0, [page], book, [shared])
    assert (seen.ended_before() == {"1"}) is is_before
