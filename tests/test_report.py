"""The report: frozen, complete, and fit for a log."""

import json
import pickle
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from htx_async import CancelError
from htx_async.codes import classify
from htx_async.enums import Direction, MarginMode, Offset, Outcome, Verdict
from htx_async.report import Attempt, CancelReport, OrderError
from htx_async.report_text import CUT_OFF, INTERRUPTED, tell_together, unread
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session


def attempt(number: int = 1, verdict: Verdict = Verdict.ACCEPTED, **changed: Any) -> Attempt:
    fields: dict[str, Any] = {
        "number": number,
        "base_url": "https://api.hbdm.com",
        "started": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "waited": 0.25,
        "wire": 0.125,
        "http_status": 200,
        "verdict": verdict,
        "code": None,
        "message": "",
        "sent": True,
    }
    return Attempt(**{**fields, **changed})


def report(outcome: Outcome = Outcome.CANCELLED, **changed: Any) -> CancelReport:
    fields: dict[str, Any] = {
        "contract_code": "BTC-USDT",
        "direction": Direction.BUY,
        "offset": Offset.CLOSE,
        "outcome": outcome,
    }
    return CancelReport(**{**fields, **changed})


FULL = report(
    Outcome.PARTIAL,
    successes=("826054603831312384",),
    errors=(
        OrderError(order_id="826054608491184128", err_code=1063, err_msg="executed"),
        OrderError(order_id="826054686706565120", err_code="word-code", err_msg=""),
        OrderError(order_id="3", err_code=None, err_msg="\u9f99"),
    ),
    triggered=("826054608491184128",),
    ids_complete=False,
    attempts=(
        attempt(1, Verdict.UNKNOWN, http_status=502, message="HTTP 502"),
        attempt(2, Verdict.NOT_SENT, http_status=None, sent=False),
        attempt(3),
    ),
    ts=1616988392280,
    elapsed=1.5,
)

CLEAR = {
    Outcome.CANCELLED: True,
    Outcome.NOTHING_TO_CANCEL: True,
    Outcome.CLEAR_AFTER_RETRY: True,
    Outcome.PARTIAL: False,
    Outcome.UNKNOWN: False,
    Outcome.REFUSED: False,
    Outcome.NOT_SENT: False,
}


def test_the_last_failure_is_told_though_another_attempt_was_cut_off() -> None:
    """The deadline ends an attempt at any moment; why the one before it failed is what helps."""
    failed = attempt(1, Verdict.NOT_SENT, message="the proxy refused a tunnel", sent=False)
    cut_off = attempt(2, Verdict.NOT_SENT, message=CUT_OFF, sent=False)
    told = report(
        Outcome.NOT_SENT, attempts=(failed, cut_off), ended_by="the deadline of 1 s passed"
    ).message
    assert "The deadline of 1 s passed. Last failure, at " in told
    assert "the proxy refused a tunnel. Call again" in told


def test_a_form_that_was_refused_for_several_calls_is_not_said_to_be_final() -> None:
    """Orders of several contracts in one request are our own guess: alone they may be taken."""
    refused = attempt(1, Verdict.REFUSED, code=1067, message="not valid")
    alone = report(Outcome.REFUSED, attempts=(refused,))
    assert "trying again unchanged does not help" in alone.message
    together = refused.model_copy(update={"shared_by": (1, 2)})
    told = report(Outcome.REFUSED, attempts=(together,)).message
    assert "does not help" not in told
    assert told.endswith("they go apart from now on, so call again.")


def test_the_fields_are_the_contract() -> None:
    """Report, attempt and order error have the documented fields."""
    assert set(CancelReport.model_fields) | {"is_clear"} >= {
        "contract_code", "direction", "offset", "outcome", "successes", "errors", "triggered",
        "ids_complete", "attempts", "ts", "elapsed", "is_clear",
    }  # fmt: skip
    assert set(Attempt.model_fields) == {
        "number", "base_url", "started", "waited", "wire", "http_status", "verdict", "code",
        "message", "sent", "paused", "limit", "limiter_mode", "request", "excerpt", "code_class",
        "shared_by",
    }  # fmt: skip
    assert set(OrderError.model_fields) == {"order_id", "err_code", "err_msg"}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_exactly_three_outcomes_are_clear(outcome: Outcome) -> None:
    """Exactly three outcomes are clear, and the dump says so too."""
    made = report(outcome, attempts=(attempt(1, Verdict.UNKNOWN, message="HTTP 502"),))
    assert made.is_clear is CLEAR[outcome]
    assert json.loads(made.model_dump_json())["is_clear"] is CLEAR[outcome]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_report_without_attempts_can_be_told(outcome: Outcome) -> None:
    """A report that a user makes for a test of their own prints and dumps, whatever its outcome."""
    made = report(outcome)
    assert str(made).startswith("BTC-USDT")
    assert outcome.name in repr(made)
    assert json.loads(made.model_dump_json())["message"] == str(made)


@pytest.mark.parametrize("value", [FULL, FULL.attempts[0], FULL.errors[0]])
def test_reports_are_frozen(value: Any) -> None:
    """No part of an account can be changed afterwards."""
    for name in type(value).model_fields:
        with pytest.raises(ValidationError):
            setattr(value, name, None)


def test_sequences_are_tuples() -> None:
    """Sequences of a report cannot be appended to."""
    for name in ("successes", "errors", "triggered", "attempts"):
        assert type(getattr(FULL, name)) is tuple


def test_the_json_is_complete() -> None:
    """`model_dump_json` gives every field in plain JSON: ids as text, times with their zone."""
    document = json.loads(FULL.model_dump_json())
    assert document["outcome"] == "partial"
    assert document["direction"] == "buy"
    assert document["offset"] == "close"
    assert document["successes"] == ["826054603831312384"]
    assert document["triggered"] == ["826054608491184128"]
    assert [error["err_code"] for error in document["errors"]] == [1063, "word-code", None]
    assert document["errors"][2]["err_msg"] == "\u9f99"
    assert document["ids_complete"] is False
    assert document["ts"] == 1616988392280
    assert document["message"] == FULL.message
    first = document["attempts"][0]
    assert datetime.fromisoformat(first.pop("started")) == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert first == {
        "number": 1,
        "base_url": "https://api.hbdm.com",
        "waited": 0.25,
        "wire": 0.125,
        "http_status": 502,
        "verdict": "unknown",
        "code": None,
        "message": "HTTP 502",
        "sent": True,
        "paused": 0.0,
        "limit": None,
        "limiter_mode": None,
        "request": 0,
        "excerpt": "",
        "shared_by": [],
        "code_class": None,
    }


@pytest.mark.parametrize(("code", "status"), [(4002, 200), (1032, 200), (None, 429), (403, 403)])
def test_a_refusal_has_its_class_whoever_makes_it(code: int | None, status: int) -> None:
    """Also one from a JSON document that was kept before there was such a field."""
    made = attempt(1, Verdict.REFUSED, code=code, http_status=status)
    assert made.code_class is classify(code, status)
    kept = json.loads(made.model_dump_json())
    del kept["code_class"]
    assert Attempt.model_validate(kept) == made
    assert attempt(1, Verdict.ACCEPTED).code_class is None


def test_a_report_comes_back_from_json_and_pickle() -> None:
    """A stored account reads back equal, by either way."""
    assert CancelReport.model_validate_json(FULL.model_dump_json()) == FULL
    assert pickle.loads(pickle.dumps(FULL)) == FULL  # noqa: S301 - our own bytes


def test_a_number_stays_a_number_and_a_word_a_word() -> None:
    """Codes keep their type through a dump: 1063 does not become text, nor "1063" a number."""
    twice = Attempt.model_validate_json(attempt(code="1063").model_dump_json())
    assert twice.code == "1063"
    assert Attempt.model_validate_json(attempt(code=1063).model_dump_json()).code == 1063


def test_refusal_is_the_last_refused_attempt() -> None:
    """`refusal` is the last attempt that was refused, whatever came after; None without one."""
    first = attempt(1, Verdict.REFUSED, code=1056)
    second = attempt(2, Verdict.REFUSED, code=1032)
    attempts = (first, attempt(2, Verdict.UNKNOWN), second, attempt(4, Verdict.NOT_SENT))
    assert report(attempts=attempts).refusal == second
    assert FULL.refusal is None
    assert report().refusal is None


def test_a_report_reads_as_its_sentence() -> None:
    """`str()` of a report is its message, fit for a log line."""
    assert str(FULL) == FULL.message
    assert FULL.message.startswith("BTC-USDT (buy close) in isolated margin: ")
    assert "\n" not in FULL.message


def test_what_many_contracts_have_to_say_stands_once() -> None:
    """Equal words are told once, for all the contracts that share them, each with the margin mode
    and the filters that it is about."""
    refused = attempt(1, Verdict.REFUSED, code=403, message="Verification failure.")
    made = [
        report(Outcome.REFUSED, contract_code=f"C{n}-USDT", attempts=(refused,)) for n in range(40)
    ]
    cross = made[0].model_copy(update={"margin_mode": MarginMode.CROSS})
    (whole,) = tell_together([*made, cross])
    named = ", ".join(one.contract_code for one in made)
    other = "C0-USDT (buy close) in cross margin"
    assert whole.startswith(f"{named} (buy close) in isolated margin; {other}: refused by ")
    assert whole.count("Verification failure") == whole.count("does not help") == 1
    assert tell_together([made[0]]) == [made[0].message]


@pytest.mark.parametrize("words", ["It doesn't exist.", "Why?", "No!", "gone", "...", ""])
def test_no_sentence_has_two_full_stops(words: str) -> None:
    """Whatever the exchange's words, and ours about a failure, end with."""
    for verdict in Verdict:
        last = attempt(1, verdict, code=1014, message=words)
        told = [unread((last,), words)]
        for outcome in Outcome:
            made = report(outcome, attempts=(last,), ended_by=words, warnings=(words or "w",))
            told.append(made.message)
        for text in told:
            assert not re.search(r"[.?!]\"?\.(?!\.)(?<!\.\.\.)", text), text


def test_a_refusal_that_its_list_shares_is_told_once() -> None:
    """The exchange refused the cancel and the list in the same words: these stand there once."""
    refused = attempt(1, Verdict.REFUSED, code=1014, message="This contract doesn't exist.")
    beside = f"the list of open orders could not be read: {unread((refused,), '')}".rstrip(".")
    message = report(Outcome.REFUSED, attempts=(refused,), ended_by=beside).message
    assert message.count("doesn't exist") == message.count("Correct what the code names") == 1


def test_what_was_interrupted_says_so() -> None:
    """Before its turn, or while its request was on the wire; neither a closed session nor a longer
    deadline is what the user has to hear of."""
    queued = report(Outcome.NOT_SENT, ended_by=INTERRUPTED).message
    assert "The call was interrupted before its turn. Call again." in queued
    lost = attempt(1, Verdict.UNKNOWN, message="cut off")
    on_wire = report(Outcome.UNKNOWN, ended_by=INTERRUPTED, attempts=(lost,)).message
    assert "The call was interrupted. Orders may be cancelled or still open" in on_wire
    closed = report(Outcome.NOT_SENT, ended_by="the session was closed").message
    for text in (queued, on_wire, closed):
        assert "deadline" not in text
    late = report(Outcome.NOT_SENT, ended_by="the deadline of 3 s passed").message
    assert "with a longer deadline" in late


def test_the_docstring_says_what_clear_is_not() -> None:
    """`CancelReport` tells its reader that a cancel that was taken is not an order that is gone."""
    text = " ".join((CancelReport.__doc__ or "").split())
    assert "not that the orders are gone" in text
    assert "1.1 s" in text
    assert "one-way account" in text


FAULTS: list[Callable[[SimulatedExchange], object]] = [
    SimulatedExchange.lose_after_work,
    SimulatedExchange.lose_before_work,
    lambda exchange: exchange.refuse(1077),
    lambda exchange: exchange.refuse(1061),
]


@pytest.mark.parametrize("seed", range(20))
def test_the_account_of_a_call_would_pass_the_strictest_validation(seed: int) -> None:
    """Whatever happened to the requests, every field of the report and of each attempt has the
    type that the model names."""
    chance = random.Random(seed)

    async def main() -> CancelReport:
        exchange = SimulatedExchange()
        exchange.place("BTC-USDT", "buy", "close", 3)
        for _ in range(chance.randrange(3)):
            chance.choice(FAULTS)(exchange)
        async with virtual_session(exchange, account=f"strict {seed}") as htx:
            try:
                return await htx.cancel_all_trailing("BTC-USDT", "buy")
            except CancelError as error:
                return error.report

    account = run(main())
    for part in (account, *account.attempts):
        assert type(part).model_validate(dict(part), strict=True) == part
