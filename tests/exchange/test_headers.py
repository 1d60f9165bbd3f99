"""What a reply's headers ask for, and which of it is believed."""

import random

import pytest

from htx_async.exchange.headers import pause_after, pause_when_spent, told_limit

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
        ({"ratelimit-reset": str(TS + 10_001)}, TS, 10.001),
        ({"ratelimit-reset": str(TS + 3_600_000)}, TS, 3600.0),
        # Not believed: beyond an hour, in the past, or no number.
        ({"ratelimit-reset": str(TS + 3_600_001)}, TS, 1.0),
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
        ({"retry-after": "11"}, None, 11.0),
        ({"retry-after": "60"}, None, 60.0),
        ({"retry-after": "3600"}, None, 3600.0),
        ({"retry-after": "3600.5"}, None, 1.0),
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
        ({"retry-after": "Wed, 21 Oct 2015 07:28:11 GMT", "date": SENT}, None, 11.0),
        ({"retry-after": "Wed, 21 Oct 2015 08:28:00 GMT", "date": SENT}, None, 3600.0),
        ({"retry-after": "Wed, 21 Oct 2015 08:28:01 GMT", "date": SENT}, None, 1.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": SENT}, None, 1.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:04 GMT"}, None, 1.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:04 GMT", "date": "soon"}, None, 1.0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:04 GMT", "date": SENT}, None, 1.0),
        # Both: the exchange's own header first, when it can be believed.
        ({"ratelimit-reset": str(TS + 2000), "retry-after": "7"}, TS, 2.0),
        ({"ratelimit-reset": str(TS + 2000), "retry-after": "7"}, None, 7.0),
        ({"ratelimit-reset": str(TS - 2000), "retry-after": "7"}, TS, 7.0),
        # A window that ends in less than a period asks for nothing: the other header is heard.
        ({"ratelimit-reset": str(TS), "retry-after": "8"}, TS, 8.0),
        ({"ratelimit-reset": str(TS), "retry-after": "0"}, TS, 0.0),
        ({"ratelimit-reset": str(TS), "retry-after": "-1"}, TS, 0.0),
        ({"ratelimit-reset": str(TS), "retry-after": "7000"}, TS, 0.0),
        (
            {
                "ratelimit-reset": str(TS),
                "retry-after": "Wed, 21 Oct 2015 07:28:04 GMT",
                "date": SENT,
            },
            TS,
            4.0,
        ),
        ({"ratelimit-reset": str(TS + 1), "retry-after": "8"}, TS, 8.0),
        ({"ratelimit-reset": str(TS + 900), "retry-after": "0"}, TS, 0.9),
        ({"ratelimit-reset": str(TS + 1000), "retry-after": "8"}, TS, 1.0),
        ({"ratelimit-reset": "soon", "retry-after": "7"}, TS, 7.0),
        ({"ratelimit-reset": "soon", "retry-after": "700"}, TS, 700.0),
        ({"ratelimit-reset": str(TS + 9_000_000), "retry-after": "700"}, TS, 700.0),
        ({"ratelimit-reset": "soon", "retry-after": "7000"}, TS, 1.0),
        # Neither.
        ({}, TS, 1.0),
        ({}, None, 1.0),
        ({"recovery-time": str(TS + 2000), "ratelimit-interval": "3000"}, TS, 1.0),
    ],
)
def test_a_pause_is_what_the_reply_asks_for_up_to_an_hour(
    headers: dict[str, str], ts: int | None, expected: float
) -> None:
    """What a reply asks for: up to an hour, by the reply's own clock, or else a period."""
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
    """Over random headers a pause is a finite number of seconds from 0 to an hour."""
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
        assert 0 <= pause_after(headers, ts) <= 3600, (headers, ts)


@pytest.mark.parametrize(
    ("limit", "interval", "expected"),
    [
        ("5", "1000", (5.0, 1.0)),
        ("72", "3000", (72.0, 3.0)),
        ("3", "1000", (3.0, 1.0)),
        ("0.5", "1000", (0.5, 1.0)),
        (None, "1000", None),
        ("5", None, None),
        ("0", "1000", None),
        ("-5", "1000", None),
        ("5", "0", None),
        ("5", "-1", None),
        ("nan", "1000", None),
        ("5", "inf", None),
        ("five", "1000", None),
        ("", "", None),
        ("5", "60001", None),
        ("1" * 400, "1000", None),
    ],
)
def test_a_limit_is_two_positive_finite_numbers(
    limit: str | None, interval: str | None, expected: tuple[float, float] | None
) -> None:
    """Requests and seconds; anything else, or an interval beyond all seen ones, tells nothing."""
    headers = {"ratelimit-limit": limit, "ratelimit-interval": interval}
    assert told_limit({k: v for k, v in headers.items() if v is not None}) == expected


@pytest.mark.parametrize(
    ("remaining", "reset", "ts", "expected"),
    [
        ("0", TS + 400, TS, 0.4),
        ("1", TS + 400, TS, None),
        (None, TS + 400, TS, None),
        ("0", TS + 400, None, None),
        ("0", TS - 400, TS, None),
        ("0", TS + 10_001, TS, None),
    ],
)
def test_a_spent_window_pauses_until_its_reset(
    remaining: str | None, reset: int, ts: int | None, expected: float | None
) -> None:
    """Only with a reset that can be believed, counted from the reply's own time."""
    headers = {"ratelimit-reset": str(reset)}
    if remaining is not None:
        headers["ratelimit-remaining"] = remaining
    assert pause_when_spent(headers, ts) == expected
