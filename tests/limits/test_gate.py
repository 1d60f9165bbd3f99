"""The gate of an endpoint after a refusal, by itself."""

import math

import pytest

from htx_async.limits.gate import Gate, closing


@pytest.mark.parametrize(
    ("asked", "seconds"), [(0.0, 1.0), (0.25, 1.0), (1.0, 1.0), (9.0, 9.0), (60.0, 10.0)]
)
def test_a_refusal_closes_for_a_period_at_least_and_ten_seconds_at_most(
    asked: float, seconds: float
) -> None:
    """Whatever it asks for; a shorter one does not end a longer one."""
    gate = Gate()
    assert closing(asked) == seconds
    assert gate.shut(5.0, asked) == seconds
    assert not gate.is_open
    assert gate.opens_at(urgent=False) == 5.0 + seconds
    gate.shut(5.0, 0.0)
    assert gate.opens_at(urgent=False) == 5.0 + seconds


def test_one_asks_and_the_others_wait_for_its_answer() -> None:
    """A good answer opens; none at all lets the next ask; a new refusal closes once more."""
    gate = Gate()
    gate.shut(0.0, 1.0)
    gate.passed("first", False, 1.0)
    assert gate.opens_at(urgent=False) == math.inf
    gate.left("first")
    assert gate.opens_at(urgent=False) == 1.0
    gate.passed("second", False, 1.5)
    gate.shut(2.0, 3.0)
    gate.answered("second")
    assert gate.opens_at(urgent=False) == 5.0
    gate.passed("third", False, 5.0)
    gate.answered("third")
    assert gate.is_open
    assert gate.opens_at(urgent=False) == gate.opens_at(urgent=True) == -math.inf


def test_an_answer_to_what_was_sent_before_the_refusal_opens_nothing() -> None:
    """Five at once, one refused: the answers to the others are older than the refusal."""
    gate = Gate()
    for caller in "abcde":
        gate.passed(caller, False, 0.0)
    gate.shut(0.1, 2.0)
    gate.left("a")
    for caller in "bcde":
        gate.answered(caller)
    assert not gate.is_open


def test_of_all_urgent_callers_one_asks_each_period() -> None:
    """A period after the refusal, then each period, whether the answer has come or not."""
    gate = Gate()
    gate.shut(0.0, 9.0)
    assert gate.opens_at(urgent=True) == 1.0
    gate.passed("first", True, 1.0)
    assert gate.opens_at(urgent=True) == 2.0
    gate.shut(1.5, 9.0)
    assert gate.opens_at(urgent=True) == 2.5
    gate.passed("second", True, 2.5)
    assert gate.opens_at(urgent=False) == math.inf


def test_what_could_come_earliest_counts_on_good_news() -> None:
    """While somebody asks, the answer may open the gate this very moment."""
    gate = Gate()
    gate.shut(0.0, 9.0)
    assert gate.earliest(urgent=False, behind_urgent=False) == 9.0
    assert gate.earliest(urgent=False, behind_urgent=True) == 1.0
    assert gate.earliest(urgent=True, behind_urgent=False) == 1.0
    gate.passed("urgent", True, 1.0)
    assert gate.earliest(urgent=False, behind_urgent=False) == -math.inf


def test_a_refusal_that_nobody_followed_up_is_forgotten() -> None:
    """Ten seconds after the time that it asked for, and not while somebody asks."""
    gate = Gate()
    gate.shut(0.0, 60.0)
    gate.forget(69.9)
    assert not gate.is_open
    gate.passed("asks", False, 69.9)
    gate.forget(70.0)
    assert not gate.is_open
    gate.left("asks")
    gate.forget(70.0)
    assert gate.is_open


def test_a_gate_comes_along_to_the_next_loop() -> None:
    """By its clock, closed for no longer than the longest; whoever asked there asks no more."""
    gate = Gate()
    gate.shut(100.0, 9.0)
    gate.passed("asks", True, 101.0)
    heir = gate.carried_over(-100.0, 1.0)
    assert not heir.is_open
    assert heir.opens_at(urgent=False) == 9.0
    assert heir.opens_at(urgent=True) == 2.0
    assert gate.carried_over(1e6, 1.0).opens_at(urgent=False) == 11.0
