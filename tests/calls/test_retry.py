"""When to try again: a table, bounds of the jitter, and pauses that replies ask for."""

import math
import re
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from htx_async.calls.retry import RetryPolicy
from htx_async.codes import CodeClass
from htx_async.enums import Verdict
from htx_async.errors import InvalidRequest

NEVER = [
    CodeClass.NOTHING_TO_CANCEL,
    CodeClass.AUTH,
    CodeClass.MIGRATED,
    CodeClass.RETIRED,
    CodeClass.NOT_RETRYABLE,
]
UNTIL_DEADLINE: list[tuple[Verdict, CodeClass | None]] = [
    (Verdict.NOT_SENT, None),
    (Verdict.REFUSED, CodeClass.RETRYABLE),
]


def half() -> float:
    return 0.5


def test_the_defaults_are_the_contract() -> None:
    """Four attempts, 50 ms, 2 s, and unknown outcomes are repeated."""
    policy = RetryPolicy()
    assert (policy.attempts, policy.base, policy.cap, policy.repeat_unknown) == (4, 0.05, 2.0, True)


def test_a_policy_is_frozen() -> None:
    """A policy that a session holds cannot be changed under it; equal numbers are equal."""
    policy = RetryPolicy()
    with pytest.raises(FrozenInstanceError):
        policy.attempts = 9  # type: ignore[misc]
    assert policy == RetryPolicy(random=half)
    assert "random" not in repr(policy)
    assert policy != RetryPolicy(attempts=5)


@pytest.mark.parametrize(
    "given",
    [
        *[{"attempts": value} for value in (0, -1, True, False, 1.0, 2.5, "4", None, math.nan)],
        *[{"base": value} for value in (-0.1, math.nan, math.inf, -math.inf, "0.1", None)],
        *[{"cap": value} for value in (0, -1, math.nan, math.inf, "2", None)],
        {"base": 3.0},
        {"base": 0.5, "cap": 0.4},
        {"cap": 0.049},
    ],
)
def test_numbers_that_describe_no_policy(given: dict[str, Any]) -> None:
    """Counts below one, times that are not positive and finite, and base over cap are refused."""
    with pytest.raises(InvalidRequest) as caught:
        RetryPolicy(**given)
    assert re.search(rf"\b{next(iter(given))}\b", str(caught.value))


@pytest.mark.parametrize(
    "given",
    [{"attempts": 1}, {"attempts": 10**6}, {"base": 2.0}, {"base": 1, "cap": 1}, {"cap": 3600}],
)
def test_odd_but_sound_policies(given: dict[str, Any]) -> None:
    """One attempt, base equal to cap, and whole numbers are fine."""
    policy = RetryPolicy(**given)
    assert all(getattr(policy, name) == value for name, value in given.items())


def delay(policy: RetryPolicy, made: int, *rest: Any, untried: bool = False) -> float | None:
    return policy.delay(*rest, made=made, untried=untried)


# base 0.05 and cap 2, halfway between: 0.1 to 0.2 s, doubling, up to the cap.
HALVES = [0.15, 0.3, 0.6, 1.2, 1.5, 1.5]
# 0.1 to 0.2 s, 0.4 to 0.8 s, 2.2 to 4 s (from the first, which is now), then 2.1 to 3 s.
SCHEDULE = [0.15, 0.6, 3.1, 2.55, 2.55]


def test_the_first_attempt_is_meant_and_every_base_url_was_tried() -> None:
    """Nothing said of earlier attempts means that there were none, and no other way is left."""
    policy = RetryPolicy(attempts=2, random=half)
    assert policy.delay(Verdict.NOT_SENT) == pytest.approx(HALVES[0])
    assert policy.delay(Verdict.UNKNOWN) == pytest.approx(SCHEDULE[0])


@pytest.mark.parametrize(("made", "expected"), list(enumerate(HALVES, 1)))
def test_back_off_until_the_deadline(made: int, expected: float) -> None:
    """What was not sent doubles its wait up to the cap, with no end."""
    assert delay(RetryPolicy(random=half), made, Verdict.NOT_SENT) == pytest.approx(expected)


@pytest.mark.parametrize(("made", "expected"), list(enumerate(SCHEDULE, 1)))
def test_refusals_of_class_retryable_follow_the_schedule_until_the_deadline(
    made: int, expected: float
) -> None:
    """As unknown outcomes do, with no end."""
    policy = RetryPolicy(random=half)
    assert delay(policy, made, *UNTIL_DEADLINE[1]) == pytest.approx(expected)


@pytest.mark.parametrize("made", [1, 2, 3, 4, 5, 40])
@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_unknown_outcomes_are_counted(attempts: int, made: int) -> None:
    """A command whose outcome is unknown is sent at most `attempts` times; one that goes on to its
    deadline as often as that allows."""
    policy = RetryPolicy(attempts=attempts, random=half)
    expected = pytest.approx(SCHEDULE[min(made, 5) - 1])
    assert delay(policy, made, Verdict.UNKNOWN) == (expected if made < attempts else None)
    assert policy.delay(Verdict.UNKNOWN, made=made, persists=True) == expected


@pytest.mark.parametrize("drawn", [0.0, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("base", [0.01, 0.05, 0.1])
def test_base_and_cap_scale_the_waits(base: float, drawn: float) -> None:
    """The second and third by `base`, the fourth and all others by `cap`."""
    policy = RetryPolicy(base=base, cap=40 * base, random=lambda: drawn, attempts=9)
    waits = [delay(policy, made, Verdict.UNKNOWN) for made in (1, 2, 3, 4, 5)]
    assert waits == pytest.approx(
        [base * (2 + 2 * drawn), base * (8 + 8 * drawn), base * (44 + 36 * drawn)]
        + [base * (42 + 18 * drawn)] * 2
    )


def test_a_long_base_is_bounded_by_the_cap() -> None:
    """No wait before the fourth is longer than `cap`, whatever `base` says."""
    policy = RetryPolicy(base=1.0, cap=1.0, random=lambda: 1.0)
    assert [delay(policy, made, Verdict.UNKNOWN) for made in (1, 2, 3)] == [1.0, 1.0, 2.0]


def test_what_an_attempt_took_counts() -> None:
    """Waits are reckoned from beginning to beginning; the fourth one's from the first."""
    policy = RetryPolicy(random=half)
    waits = [policy.delay(Verdict.UNKNOWN, made=made, took=0.1, since=1.0) for made in (1, 2, 3)]
    assert waits == pytest.approx([0.05, 0.5, 2.1])
    assert policy.delay(Verdict.UNKNOWN, made=1, took=9.0) == 0.0
    assert policy.delay(Verdict.UNKNOWN, made=3, since=9.0) == 0.0
    assert policy.delay(Verdict.UNKNOWN, made=7, took=0.5, persists=True) == pytest.approx(2.05)
    assert policy.delay(Verdict.NOT_SENT, made=2, took=0.1) == pytest.approx(0.2)


def test_a_time_out_takes_the_least_wait() -> None:
    """None before the second and third, and no more than the schedule asks for before others."""
    policy = RetryPolicy(random=half)
    for made, expected in ((1, 0.0), (2, 0.0), (3, 1.2), (4, 1.8)):
        wait = policy.delay(
            Verdict.UNKNOWN, made=made, timed_out=True, since=1.0, took=0.3, persists=True
        )
        assert wait == pytest.approx(expected)
    assert policy.delay(Verdict.NOT_SENT, made=3, timed_out=True) == 0.0


@pytest.mark.parametrize("within", [0.5, 1.0, 2.0, 4.9])
def test_a_short_deadline_shortens_the_waits_in_proportion(within: float) -> None:
    """Those before the first four; what comes after them keeps its two seconds."""
    policy, part = RetryPolicy(random=half), within / 5.0
    for made in (1, 2, 3):
        wait = policy.delay(Verdict.UNKNOWN, made=made, within=within)
        assert wait == pytest.approx(SCHEDULE[made - 1] * part)
    wait = policy.delay(Verdict.UNKNOWN, made=4, within=within, persists=True)
    assert wait == pytest.approx(SCHEDULE[3])
    assert policy.delay(Verdict.UNKNOWN, made=2, within=60.0) == pytest.approx(SCHEDULE[1])


@pytest.mark.parametrize("within", [1.5, math.inf])
@pytest.mark.parametrize("untried", [True, False])
def test_a_busy_exchange_is_given_a_second(within: float, untried: bool) -> None:
    """Counted from its answer, by any deadline and over any base URL."""
    policy = RetryPolicy(random=half)
    for made in (1, 2):
        wait = policy.delay(
            Verdict.UNKNOWN, made=made, is_busy=True, took=0.5, within=within, untried=untried
        )
        assert wait == pytest.approx(1.1)
    assert policy.delay(Verdict.UNKNOWN, made=3, is_busy=True, since=2.5) == pytest.approx(1.1)
    assert policy.delay(Verdict.UNKNOWN, made=3, is_busy=True, since=0.0) == pytest.approx(3.1)
    assert policy.delay(Verdict.UNKNOWN, made=4, is_busy=True) is None


@pytest.mark.parametrize("untried", [True, False])
@pytest.mark.parametrize("made", [1, 2, 3])
def test_unknown_is_not_repeated_when_told_so(made: int, untried: bool) -> None:
    """With `repeat_unknown=False` the first unknown outcome ends the call, other hosts or not."""
    policy = RetryPolicy(repeat_unknown=False, random=half)
    assert delay(policy, made, Verdict.UNKNOWN, untried=untried) is None


def test_repeat_unknown_leaves_the_rest_alone() -> None:
    """What is certain to have had no effect is tried again with `repeat_unknown=False` too."""
    policy = RetryPolicy(attempts=1, repeat_unknown=False, random=half)
    assert delay(policy, 9, Verdict.NOT_SENT) is not None
    assert delay(policy, 9, Verdict.REFUSED, CodeClass.RETRYABLE) is not None
    assert delay(policy, 9, Verdict.REFUSED, CodeClass.RATE_LIMITED) == 0.0


def test_an_untried_base_url_is_next_at_once() -> None:
    """Not sent with a base URL untried waits for nothing; an unknown outcome only the first time,
    and a refusal, which is the exchange's own, never."""
    policy = RetryPolicy(random=half)
    assert delay(policy, 1, Verdict.NOT_SENT, untried=True) == 0.0
    assert delay(policy, 7, Verdict.NOT_SENT, untried=True) == 0.0
    assert delay(policy, 1, Verdict.UNKNOWN, untried=True) == 0.0
    assert delay(policy, 2, Verdict.UNKNOWN, untried=True) == pytest.approx(SCHEDULE[1])
    assert delay(policy, 1, *UNTIL_DEADLINE[1], untried=True) == pytest.approx(SCHEDULE[0])


@pytest.mark.parametrize("made", [1, 4, 5, 1000])
def test_a_rate_limit_waits_in_the_bucket_and_is_not_counted(made: int) -> None:
    """After a rate limit the pause of the endpoint is the wait, however often it happens."""
    policy = RetryPolicy(attempts=1, random=half)
    assert delay(policy, made, Verdict.REFUSED, CodeClass.RATE_LIMITED) == 0.0


@pytest.mark.parametrize("untried", [True, False])
@pytest.mark.parametrize("code_class", NEVER)
def test_final_refusals_are_never_tried_again(code_class: CodeClass, untried: bool) -> None:
    """No other class of refusal is tried again, not even elsewhere."""
    policy = RetryPolicy(random=half)
    assert delay(policy, 1, Verdict.REFUSED, code_class, untried=untried) is None


def test_an_accepted_command_is_not_tried_again() -> None:
    """Accepted is the end, partial or not."""
    assert delay(RetryPolicy(), 1, Verdict.ACCEPTED, untried=True) is None


def test_every_verdict_and_class_has_an_answer() -> None:
    """No combination raises, and none waits longer than twice the cap."""
    policy = RetryPolicy(random=lambda: 1 - 2**-53)
    for verdict in Verdict:
        for code_class in [None, *CodeClass]:
            for made in (1, 2, 63, 64, 1023, 1025, 10**9):
                wait = delay(policy, made, verdict, code_class)
                assert wait is None or 0 <= wait <= 4.0


@pytest.mark.parametrize("drawn", [0.0, 1e-300, 0.25, 1 - 2**-53])
def test_jitter_spans_from_half_of_the_bound_to_all_of_it(drawn: float) -> None:
    """A wait is never nothing, and two calls seldom wait the same."""
    policy = RetryPolicy(base=0.1, cap=5.0, random=lambda: drawn)
    for made, bound in ((1, 0.4), (2, 0.8), (4, 3.2), (5, 5.0), (5000, 5.0)):
        assert delay(policy, made, Verdict.NOT_SENT) == pytest.approx((1 + drawn) / 2 * bound)


def test_chance_is_drawn_afresh_each_time() -> None:
    """Each wait has a draw of its own, from the given source alone."""
    draws = iter([0.1, 0.9])
    policy = RetryPolicy(base=1.0, cap=1.0, random=lambda: next(draws))
    waits = [delay(policy, 1, Verdict.NOT_SENT) for _ in range(2)]
    assert waits == pytest.approx([0.55, 0.95])


def test_the_default_source_of_chance_spreads() -> None:
    """Without `random=` two hundred waits fill the range and no two fleets march in step."""
    waits = [delay(RetryPolicy(base=1.0, cap=1.0), 1, Verdict.NOT_SENT) or 0.0 for _ in range(200)]
    assert all(0.5 <= wait < 1 for wait in waits)
    assert len(set(waits)) > 190
    assert min(waits) < 0.6 < 0.9 < max(waits)


def raises() -> float:
    raise RuntimeError("no chance")


@pytest.mark.parametrize(
    "drawn", [raises, lambda: None, lambda: math.nan, lambda: 10**400, lambda: "x", lambda: -1.0]
)
def test_a_chance_that_fails_is_the_whole_wait(drawn: Any) -> None:
    """A call that has sent something must not end with what its policy raised."""
    policy = RetryPolicy(base=0.25, cap=1.0, random=drawn)
    assert delay(policy, 1, Verdict.UNKNOWN, None) == 1.0


@pytest.mark.parametrize("wrong", [None, 0.5, "random"])
def test_what_draws_no_number_is_refused(wrong: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequest, match="random must be a function"):
        RetryPolicy(random=wrong)
