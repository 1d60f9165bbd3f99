"""What the attempts of a call prove together, row by row of the contract, and how it is told.

The messages are judged here too: most of what they must say depends on the outcome.
"""

import itertools
import json
import re
from collections.abc import Sequence

import pytest

from htx_async import errors
from htx_async.cancel.ledger import Intent
from htx_async.enums import Outcome
from htx_async.errors import failure_of
from htx_async.filters import OrderFilter
from htx_async.report import CancelReport
from tests.cancel.facts import LOST, UNSENT, Account, Made, no, ok


def report(
    *made: Made, direction: str | None = None, offset: str | None = None, ended_by: str = ""
) -> CancelReport:
    account = Account(Intent(OrderFilter.checked("btc-usdt", direction, offset)))
    account.said(*made)
    if ended_by:
        account.ended(ended_by)
    return account.report()


PARTIAL, CANCELLED, NOTHING = Outcome.PARTIAL, Outcome.CANCELLED, Outcome.NOTHING_TO_CANCEL
AFTER_RETRY, UNKNOWN = Outcome.CLEAR_AFTER_RETRY, Outcome.UNKNOWN
REFUSED, NOT_SENT = Outcome.REFUSED, Outcome.NOT_SENT

TABLE: list[tuple[Sequence[Made], Outcome]] = [
    # An accepted one: per-order codes first.
    ([ok(ids=3)], CANCELLED),
    ([ok(1061, ids=1)], CANCELLED),
    ([ok(1017, 1061, 1062, 1063, 1071, ids=1)], CANCELLED),
    ([ok(1062)], CANCELLED),
    ([ok(1062, 1061)], CANCELLED),
    ([ok()], NOTHING),
    ([ok(1061)], NOTHING),
    ([ok(1017, 1061, 1063, 1071)], NOTHING),
    ([ok(1063)], NOTHING),
    ([ok(1088)], PARTIAL),
    ([ok(1088, ids=5)], PARTIAL),
    ([ok(1061, 1062, 1000)], PARTIAL),
    ([ok(1440, ids=1)], PARTIAL),
    ([ok(1051, ids=1)], PARTIAL),
    ([ok(1056)], PARTIAL),
    ([ok(None)], PARTIAL),
    ([ok(None, ids=2)], PARTIAL),
    ([ok("word-code", ids=2)], PARTIAL),
    ([ok("1061", ids=2)], PARTIAL),
    # An accepted one after anything else.
    ([LOST, ok(ids=1)], CANCELLED),
    ([LOST, ok(1062)], CANCELLED),
    ([LOST, ok()], AFTER_RETRY),
    ([LOST, ok(1061)], AFTER_RETRY),
    ([LOST, ok(1088)], PARTIAL),
    ([UNSENT, ok(ids=1)], CANCELLED),
    ([UNSENT, ok()], NOTHING),
    ([no(1056), ok(ids=1)], CANCELLED),
    ([no(1032), ok()], NOTHING),
    ([no(1056), LOST, UNSENT, ok()], AFTER_RETRY),
    # 1051.
    ([no(1051)], NOTHING),
    ([UNSENT, no(1051)], NOTHING),
    ([no(1032), no(None, 429), no(1051)], NOTHING),
    ([no(1056), no(1051)], NOTHING),
    ([LOST, no(1051)], AFTER_RETRY),
    ([LOST, UNSENT, no(1051)], AFTER_RETRY),
    ([LOST, no(1032), no(1051)], AFTER_RETRY),
    ([LOST, LOST, LOST, no(1051)], AFTER_RETRY),
    # An unknown one that nothing cleared up.
    ([LOST], UNKNOWN),
    ([LOST, LOST], UNKNOWN),
    ([LOST, UNSENT], UNKNOWN),
    ([UNSENT, LOST], UNKNOWN),
    ([LOST, no(403)], UNKNOWN),
    ([LOST, no(1032)], UNKNOWN),
    ([LOST, no(1056), UNSENT], UNKNOWN),
    ([no(1056), LOST], UNKNOWN),
    ([LOST, no(None, 429)], UNKNOWN),
    ([LOST, no(6023)], UNKNOWN),
    ([LOST, no(10000)], UNKNOWN),
    # Refusals; other codes of "no such order" are not 1051 when they answer the whole command.
    ([no(403)], REFUSED),
    ([no(1061)], REFUSED),
    ([no(1063)], REFUSED),
    ([no(1071)], REFUSED),
    ([no("1051")], REFUSED),
    ([no(None, 429)], REFUSED),
    ([no(1056), no(1056)], REFUSED),
    ([no(1056), UNSENT], REFUSED),
    ([UNSENT, no(1014)], REFUSED),
    # Nothing left.
    ([UNSENT], NOT_SENT),
    ([UNSENT, UNSENT], NOT_SENT),
    ([], NOT_SENT),
]


@pytest.mark.parametrize(("made", "expected"), TABLE)
def test_the_outcome_over_all_attempts(made: Sequence[Made], expected: Outcome) -> None:
    """Each row of the contract's order of outcomes."""
    assert report(*made).outcome is expected


@pytest.mark.parametrize("earlier", [[], [LOST], [UNSENT], [no(1032)]])
def test_a_429_is_a_rate_limit_even_when_it_says_1051(earlier: list[Made]) -> None:
    """HTTP 429 is refused whatever its body, so a 1051 in it does not make a call clear."""
    result = report(*earlier, no(1051, 429))
    assert not result.is_clear
    expected = errors.OutcomeUnknown if LOST in earlier else errors.RateLimited
    assert type(failure_of(result)) is expected


def test_clear_only_on_proof() -> None:
    """Over all sequences of up to four attempts, a call is clear only after an ok or a 1051."""
    kinds = [ok(ids=1), ok(), no(1051), no(1056), no(403), LOST, UNSENT]
    for length in range(1, 5):
        for made in itertools.product(kinds, repeat=length):
            ends = [place for place, each in enumerate(made) if each in kinds[:3]]
            if ends and ends[0] != length - 1:
                continue  # a call ends at its first ok or 1051
            result = report(*made)
            assert result.is_clear is bool(ends)
            assert result.ids_complete is (LOST not in made)
            assert (failure_of(result) is None) is result.is_clear


@pytest.mark.parametrize(("made", "outcome"), TABLE)
def test_ids_are_complete_unless_an_answer_was_lost(made: Sequence[Made], outcome: Outcome) -> None:
    """`ids_complete` is False whenever any attempt was unknown, whatever came of it."""
    assert report(*made).ids_complete is (LOST not in made)


def test_the_report_carries_the_accepted_reply() -> None:
    """Ids, per-order errors and triggered orders come from the accepted reply."""
    result = report(LOST, ok(1061, 1063, 1088, 1063, ids=2), direction="buy", offset="close")
    assert result.successes == ("1000", "1001")
    assert [(e.order_id, e.err_code) for e in result.errors] == [
        ("9000", 1061),
        ("9001", 1063),
        ("9002", 1088),
        ("9003", 1063),
    ]
    assert result.triggered == ("9001", "9003")
    assert (result.contract_code, result.direction, result.offset) == ("BTC-USDT", "buy", "close")
    assert [attempt.number for attempt in result.attempts] == [1, 2]
    assert result.elapsed == 1.5


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ([ok(ids=1, ts=5)], 5),
        ([no(1056, ts=3), ok(ids=1, ts=5)], 5),
        ([no(1056, ts=3), LOST], 3),
        ([no(1056, ts=3), no(None, 429)], 3),
        ([LOST], None),
        ([], None),
    ],
)
def test_ts_is_of_the_last_reply_that_had_one(made: Sequence[Made], expected: int | None) -> None:
    """`ts` is the exchange's own time, of the last reply that gave it."""
    assert report(*made).ts == expected


RAISED: list[tuple[Sequence[Made], type[errors.CancelError] | None]] = [
    ([ok(ids=1)], None),
    ([no(1051)], None),
    ([LOST, no(1051)], None),
    ([ok(1088)], errors.PartialCancel),
    ([LOST], errors.OutcomeUnknown),
    ([LOST, no(403)], errors.OutcomeUnknown),
    ([LOST, no(6023)], errors.OutcomeUnknown),
    ([UNSENT], errors.NotSent),
    ([], errors.NotSent),
    ([no(403)], errors.AuthenticationFailed),
    ([no(12001)], errors.AuthenticationFailed),
    ([no("api-signature-not-valid")], errors.AuthenticationFailed),
    ([no(1032)], errors.RateLimited),
    ([no(1014, 429)], errors.RateLimited),
    ([no(None, 429)], errors.RateLimited),
    ([no(1056)], errors.Unavailable),
    ([no("maintain")], errors.Unavailable),
    ([no(1056), UNSENT], errors.Unavailable),
    ([no(1032), no(1056)], errors.Unavailable),
    ([no(1056), no(403)], errors.AuthenticationFailed),
    *[([no(code)], errors.AccountMigrated) for code in (4002, 4003, 4004, 4005, 6001, 6002, 6023)],
    ([no(1510)], errors.AccountMigrated),
    ([no(10000)], errors.EndpointRetired),
    ([no(404, 404)], errors.EndpointRetired),
    ([no(1014)], errors.CancelRefused),
    ([no(1061)], errors.CancelRefused),
    ([no(987654)], errors.CancelRefused),
    ([no("no-such-word")], errors.CancelRefused),
]


@pytest.mark.parametrize(("made", "kind"), RAISED)
def test_what_a_call_raises(made: Sequence[Made], kind: type[errors.CancelError] | None) -> None:
    """The exact class for each ending; a clear call has no exception."""
    result = report(*made)
    failure = failure_of(result)
    assert (None if failure is None else type(failure)) is kind
    if failure is not None:
        assert failure.report is result
        assert str(failure) == result.message


def test_nothing_but_the_exchange_ended_a_clear_call() -> None:
    """A call that was stopped in the turn of its answer is told by its answer."""
    assert report(no(1051), ended_by="the session was closed").ended_by == ""
    assert report(no(1014), ended_by="the session was closed").ended_by == "the session was closed"


def test_retry_after_reaches_the_error() -> None:
    """The pause that the exchange asked for last is handed on by `RateLimited`."""
    limited = report(no(1032))
    paused = limited.attempts[0].model_copy(update={"paused": 2.5})
    failure = failure_of(limited.model_copy(update={"attempts": (paused,)}))
    assert isinstance(failure, errors.RateLimited)
    assert failure.retry_after == 2.5


@pytest.mark.parametrize("offset", [None, "open", "close"])
def test_the_offset_caveat(offset: str | None) -> None:
    """That a one-way account may hold unseen orders is said exactly where it matters."""
    for made, outcome in TABLE:
        caveat = offset is not None and outcome in (NOTHING, AFTER_RETRY)
        told = report(*made, offset=offset).message
        assert ("one-way account" in told) is caveat, (made, told)


@pytest.mark.parametrize("direction", ["buy", "sell"])
def test_a_direction_alone_needs_no_caveat(direction: str) -> None:
    """Directions exist in both position modes, so a direction filter hides nothing."""
    assert "one-way" not in report(no(1051), direction=direction).message


@pytest.mark.parametrize(("made", "outcome"), TABLE)
def test_every_message_names_the_command(made: Sequence[Made], outcome: Outcome) -> None:
    """Each message names contract and filters, is a finished sentence, and dumps as JSON."""
    result = report(*made, direction="sell", offset="open", ended_by="the deadline passed")
    assert re.match(r"BTC-USDT \(sell open\) in isolated margin: ", result.message)
    assert result.message.endswith((".", ")."))
    assert "  " not in result.message
    assert ".." not in result.message
    assert json.loads(result.model_dump_json())["message"] == result.message


# What happened, what is known about the orders, and, where something is left to do, what to do.
TOLD: list[tuple[Sequence[Made], list[str]]] = [
    ([ok(ids=1)], ["took the cancel of 1 order\\b"]),
    ([ok(ids=3)], ["took the cancel of 3 orders"]),
    ([ok(1062, ids=2)], ["cancel of 2 orders", "1 order .*being cancelled"]),
    ([ok(1063, ids=1)], ["cancel of 1 order\\b", "triggered", "may live on", "9000"]),
    ([LOST, ok(ids=1)], ["cancel of 1 order\\b", "answer was lost"]),
    ([no(1051)], ["nothing to cancel"]),
    ([ok(1063)], ["nothing to cancel", "triggered", "may live on", "9000"]),
    ([LOST, no(1051)], ["answer was lost", "nothing left", "not known"]),
    (
        [ok(1088, 1061, ids=2)],
        ["cancel of 2 orders", "refused 1\\b", "may still be open", "9000 \\(1088", "call again"],
    ),
    ([LOST, ok(1088)], ["refused 1\\b", "answer .*lost", "call again"]),
    (
        [LOST],
        ["unknown", "1 request\\b", "no complete answer within 3 s", "cancelled or still open",
         "look at the exchange", "call again"],
    ),
    ([LOST, LOST, UNSENT], ["2 requests", "host2\\.example", "cancelled or still open"]),
    ([no(403, message="Incorrect Access key")],
     ["refused", "403", "Incorrect Access key", "cancelled nothing", "[Cc]heck the key", "clock"]),
    ([no(1032)], ["refused", "1032", "cancelled nothing", "limit", "again"]),
    ([no(None, 429)], ["refused", "HTTP 429", "cancelled nothing", "limit", "again"]),
    ([no(1056)], ["refused", "1056", "settlement", "cancelled nothing", "longer deadline"]),
    ([no("maintain")], ["refused", "maintenance", "cancelled nothing", "longer deadline"]),
    ([no(6023)], ["refused", "6023", "moved", "cancelled nothing", "open orders"]),
    ([no(10000)], ["refused", "10000", "no longer serve", "cancelled nothing", "website"]),
    ([no(1014)], ["refused", "1014", "unknown contract", "cancelled nothing", "[Cc]orrect"]),
    ([UNSENT], ["nothing was sent", "as it was", "could not be made", "[Cc]all again"]),
    ([], ["nothing was sent", "as it was", "[Cc]all again"]),
]  # fmt: skip


@pytest.mark.parametrize(("made", "patterns"), TOLD)
def test_a_message_says_what_happened_what_is_known_and_what_next(
    made: Sequence[Made], patterns: list[str]
) -> None:
    """The parts that a reader at three in the morning needs are all in the text."""
    text = report(*made).message
    missing = [pattern for pattern in patterns if not re.search(pattern, text)]
    assert missing == []


@pytest.mark.parametrize("code", [403, 6023, 1014])
def test_an_unknown_outcome_tells_of_the_refusal_that_ended_it(code: int) -> None:
    """After a lost answer and a final refusal, the text names the refusal: it is why we stopped."""
    assert str(code) in report(LOST, no(code)).message


@pytest.mark.parametrize("made", [[LOST], [no(1056)], [UNSENT], []])
def test_what_ended_the_call_is_told(made: Sequence[Made]) -> None:
    """When a deadline or a closing session ended the call, the text says so."""
    text = report(*made, ended_by="the deadline of 10 s passed").message
    assert "The deadline of 10 s passed." in text


def test_a_long_list_is_cut() -> None:
    """A message names a few orders and counts the rest, while the report keeps them all."""
    result = report(ok(*[1088] * 40, ids=1))
    assert "refused 40" in result.message
    assert len(result.message) < 600
    assert len(result.errors) == 40


def test_a_clear_message_promises_no_more_than_the_exchange_did() -> None:
    """No clear message claims that orders are gone: the exchange only took the cancel."""
    for made in ([ok(ids=2)], [no(1051)], [LOST, no(1051)], [LOST, ok(ids=2)]):
        assert not re.search(r"\b(gone|were cancelled|are cancelled)\b", report(*made).message)
