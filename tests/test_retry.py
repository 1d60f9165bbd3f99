"""When to try again: a table, bounds of the jitter, and pauses that replies ask for."""

import math
import random
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from htx_async.codes import CodeClass
from htx_async.errors import InvalidRequest
from htx_async.retry import RetryPolicy, pause_after
from htx_async.terms import Verdict

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
    assert next(iter(given)) in str(caught.value)


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


# base 0.05 and cap 2: half of 50, 100, 200, 400, 800, 1600 ms, and then of the cap.
HALVES = [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@pytest.mark.parametrize(("verdict", "code_class"), UNTIL_DEADLINE)
@pytest.mark.parametrize(("made", "expected"), list(enumerate(HALVES, 1)))
def test_back_off_until_the_deadline(
    verdict: Verdict, code_class: CodeClass | None, made: int, expected: float
) -> None:
    """Not sent, and refusals of class retryable, double their wait up to the cap, with no end."""
    assert delay(RetryPolicy(random=half), made, verdict, code_class) == pytest.approx(expected)


@pytest.mark.parametrize("made", [1, 2, 3, 4, 5, 40])
@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_unknown_outcomes_are_counted(attempts: int, made: int) -> None:
    """A command whose outcome is unknown is sent at most `attempts` times."""
    policy = RetryPolicy(attempts=attempts, random=half)
    wait = delay(policy, made, Verdict.UNKNOWN)
    assert wait == (pytest.approx(HALVES[made - 1]) if made < attempts else None)


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
    """Not sent with a base URL untried waits for nothing; an unknown outcome still backs off."""
    policy = RetryPolicy(random=half)
    assert delay(policy, 1, Verdict.NOT_SENT, untried=True) == 0.0
    assert delay(policy, 7, Verdict.NOT_SENT, untried=True) == 0.0
    assert delay(policy, 1, Verdict.UNKNOWN, untried=True) == pytest.approx(0.025)


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
    """No combination raises, and none waits longer than the cap."""
    policy = RetryPolicy(random=lambda: 1 - 2**-53)
    for verdict in Verdict:
        for code_class in [None, *CodeClass]:
            for made in (1, 2, 63, 64, 1023, 1025, 10**9):
                wait = delay(policy, made, verdict, code_class)
                assert wait is None or 0 <= wait <= 2.0


@pytest.mark.parametrize("drawn", [0.0, 1e-300, 0.25, 1 - 2**-53])
def test_full_jitter_spans_from_zero_to_the_bound(drawn: float) -> None:
    """The wait is a fraction of the bound, from nothing at all up to all of it."""
    policy = RetryPolicy(base=0.1, cap=5.0, random=lambda: drawn)
    for made, bound in ((1, 0.1), (2, 0.2), (6, 3.2), (7, 5.0), (5000, 5.0)):
        assert delay(policy, made, Verdict.NOT_SENT) == pytest.approx(drawn * bound)


def test_chance_is_drawn_afresh_each_time() -> None:
    """Each wait has a draw of its own, from the given source alone."""
    draws = iter([0.1, 0.9])
    policy = RetryPolicy(base=1.0, cap=1.0, random=lambda: next(draws))
    waits = [delay(policy, 1, Verdict.NOT_SENT) for _ in range(2)]
    assert waits == pytest.approx([0.1, 0.9])


def test_the_default_source_of_chance_spreads() -> None:
    """Without `random=` two hundred waits fill the range and no two fleets march in step."""
    waits = [delay(RetryPolicy(base=1.0, cap=1.0), 1, Verdict.NOT_SENT) or 0.0 for _ in range(200)]
    assert all(0 <= wait < 1 for wait in waits)
    assert len(set(waits)) > 190
    assert min(waits) < 0.2 < 0.8 < max(waits)


TS = 1686922525897
SENT = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "ts", "expected"),
    [
        # A recorded pair: reset 1686922528892 beside ts 1686922525897.
        ({"ratelimit-reset": "1686922528892"}, TS, 2.995),
        ({"ratelimit-reset": str(TS)}, TS, 0.0),
        ({"ratelimit-reset": str(TS + 1)}, TS, 0.001),
        ({"ratelimit-reset": str(TS + 10_000)}, TS, 10.0),
        # Not believed: beyond ten seconds, in the past, or no number.
        ({"ratelimit-reset": str(TS + 10_001)}, TS, 1.0),
        ({"ratelimit-reset": str(TS - 1)}, TS, 1.0),
        ({"ratelimit-reset": "0"}, TS, 1.0),
        ({"ratelimit-reset": "3000"}, TS, 1.0),
        ({"ratelimit-reset": "-1"}, TS, 1.0),
        ({"ratelimit-reset": "nan"}, TS, 1.0),
        ({"ratelimit-reset": "inf"}, TS, 1.0),
        ({"ratelimit-reset": "1e400"}, TS, 1.0),
        ({"ratelimit-reset": "9" * 400}, TS, 1.0),
        ({"ratelimit-reset": ""}, TS, 1.0),
        ({"ratelimit-reset": "soon"}, TS, 1.0),
        ({"ratelimit-reset": "1686922528892, 1686922528892"}, TS, 1.0),
        # An absolute time is nothing without the reply's own clock.
        ({"ratelimit-reset": str(TS + 3000)}, None, 1.0),
        ({"ratelimit-reset": str(TS + 3000)}, 0, 1.0),
        # The other header: seconds.
        ({"retry-after": "3"}, TS, 3.0),
        ({"retry-after": "3"}, None, 3.0),
        ({"retry-after": "0"}, None, 0.0),
        ({"retry-after": "10"}, None, 10.0),
        ({"retry-after": "0.25"}, None, 0.25),
        ({"retry-after": "11"}, None, 1.0),
        ({"retry-after": "86400"}, None, 1.0),
        ({"retry-after": "-1"}, None, 1.0),
        ({"retry-after": "nan"}, None, 1.0),
        ({"retry-after": "inf"}, None, 1.0),
        ({"retry-after": "-inf"}, None, 1.0),
        ({"retry-after": "1e999"}, None, 1.0),
        ({"retry-after": "9" * 5000}, None, 1.0),
        ({"retry-after": ""}, None, 1.0),
        ({"retry-after": "soon"}, None, 1.0),
        ({"retry-after": "\u0663 s"}, None, 1.0),
        # The other header: a date, against the reply's own.
        ({"retry-after": "Wed, 21 Oct 2015 07:28:04 GMT", "date": SENT}, None, 4.0),
        ({"retry-after": "Wed, 21 Oct 2015 09:28:04 +0200", "date": SENT}, None, 4.0),
        ({"retry-after": "Wednesday, 21-Oct-15 07:28:04 GMT", "date": SENT}, None, 4.0),
        ({"retry-after": SENT, "date": SENT}, None, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:59 GMT", "date": SENT}, None, 1.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:11 GMT", "date": SENT}, None, 1.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": SENT}, None, 1.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:04 GMT"}, None, 1.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:04 GMT", "date": "soon"}, None, 1.0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:04 GMT", "date": SENT}, None, 1.0),
        # Both: the exchange's own header first, when it can be believed.
        ({"ratelimit-reset": str(TS + 2000), "retry-after": "7"}, TS, 2.0),
        ({"ratelimit-reset": str(TS + 2000), "retry-after": "7"}, None, 7.0),
        ({"ratelimit-reset": str(TS - 2000), "retry-after": "7"}, TS, 7.0),
        ({"ratelimit-reset": "soon", "retry-after": "7"}, TS, 7.0),
        ({"ratelimit-reset": "soon", "retry-after": "700"}, TS, 1.0),
        # Neither.
        ({}, TS, 1.0),
        ({}, None, 1.0),
        ({"recovery-time": str(TS + 2000), "ratelimit-interval": "3000"}, TS, 1.0),
    ],
)
def test_pauses(headers: dict[str, str], ts: int | None, expected: float) -> None:
    """A pause is what the reply asks for, 0 to 10 s by the reply's own clock, or else a period."""
    assert pause_after(headers, ts) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
        "Wed, 99999999999999999999 Oct 2015 07:28:00 GMT",
        "Wed, 21 Oct 2015 99999999999999999999:28:00 GMT",
        "Wed, 21 Oct 2015 07:28:00 +99999999999999",
        "Wed, 21 Oct 2015 07:28:00 +9999",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Wed, 21 Oct 2015",
        ",",
        " ",
        "(comment)",
        "\x00",
    ],
)
@pytest.mark.parametrize("header", ["retry-after", "date"])
def test_a_date_beyond_all_calendars(header: str, text: str) -> None:
    """A date that no calendar holds is one period, not an exception in the middle of a call."""
    headers = {"retry-after": SENT, "date": SENT, header: text}
    assert pause_after(headers, None) in (0.0, 1.0)


def test_no_header_makes_a_pause_raise() -> None:
    """Over random headers a pause is a finite number of seconds from 0 to 10."""
    chance = random.Random(7)
    words = ["Wed,", "21", "Oct", "2015", "07:28:00", "GMT", "+9999999999999", "-", "", ",", ":"]
    words += ["99999", "1e5", "-1", "nan", "jan", "pm", "9" * 30, "(c)", "\u0663", "0x1", "1_0"]
    for _ in range(4000):
        names = ("ratelimit-reset", "retry-after", "date")
        headers = {
            name: " ".join(chance.choices(words, k=chance.randrange(7)))
            for name in chance.sample(names, chance.randrange(4))
        }
        ts = chance.choice([None, 0, TS, 10**15 - 1])
        assert 0 <= pause_after(headers, ts) <= 10, (headers, ts)
