"""What the exchange's own times prove of when a call began, reckoned by hand."""

from __future__ import annotations

import math

import pytest

from htx_async.cancel.ledger import Intent
from htx_async.cancel.times import Times
from htx_async.enums import Verdict
from htx_async.exchange.operation import Kind
from tests.cancel.facts import ALL, START, Account, Made, took


def times(*told: tuple[float, int], began: float = 0.0, horizon: float = 0.0) -> Times:
    """By replies that were asked for at these loop times, answered 0.1 s later, and told these
    milliseconds."""
    account = Account(Intent(ALL))
    for asked, ts in told:
        account.now = asked
        account.said(took(ts=START + ts), kind=Kind.ENDED)
    return Times(account.states().reads, began, horizon)


def test_each_reply_bounds_a_moment_from_both_sides() -> None:
    """Its time was told after its request was sent, and before it was answered."""
    both = times((10.0, 10_050), (20.0, 20_050), began=5.0, horizon=8.0)
    assert both.do_agree
    assert both.latest - START == pytest.approx(8051, rel=0, abs=0.01)
    assert both.earliest - START == pytest.approx(4949, rel=0, abs=0.01)
    assert both.since == both.earliest


def test_without_a_reply_nothing_is_bounded() -> None:
    """Neither side, and nothing contradicts it."""
    none = times()
    assert (none.do_agree, none.earliest, none.latest) == (True, 0.0, math.inf)
    assert none.since == math.inf


@pytest.mark.parametrize(("ts", "do_agree"), [(501, True), (502, False)])
def test_two_replies_agree_while_one_moment_fits_both(ts: int, do_agree: bool) -> None:
    """The second was answered half a second after the first was asked for."""
    assert times((0.0, 0), (0.4, ts)).do_agree is do_agree


def test_a_reply_that_cannot_be_believed_tells_no_time() -> None:
    """Two of a gateway that says the same old time again and again prove nothing together."""
    account = Account(Intent(ALL))
    for asked in (0.0, 1.0):
        account.now = asked
        account.said(Made(Verdict.UNKNOWN, 1004, ts=START - 5_000), kind=Kind.ENDED)
    busy = Times(account.states().reads, 0.0, 0.0)
    assert (busy.do_agree, busy.earliest, busy.latest) == (True, 0.0, math.inf)
