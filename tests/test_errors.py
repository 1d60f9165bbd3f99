"""The tree of errors: its shape, what each carries, and that it survives a pickle."""

import copy
import inspect
import pickle
from datetime import UTC, datetime

import pytest

import htx_async
from htx_async import errors
from htx_async.codes import Code
from htx_async.enums import Outcome, Verdict
from htx_async.errors import CancelError, CancelRefused, HtxError, RateLimited
from htx_async.report import Attempt, CancelReport, OrderError

# The tree as the contract draws it: class -> parents within it.
TREE = {
    "HtxError": {"Exception"},
    "InvalidRequest": {"HtxError", "ValueError"},
    "SessionClosed": {"HtxError"},
    "ReadFailed": {"HtxError"},
    "CancelError": {"HtxError"},
    "MassCancelFailed": {"ExceptionGroup", "HtxError"},
    "PartialCancel": {"CancelError"},
    "NotSent": {"CancelError"},
    "OutcomeUnknown": {"CancelError"},
    "CancelRefused": {"CancelError"},
    "AuthenticationFailed": {"CancelRefused"},
    "RateLimited": {"CancelRefused"},
    "Unavailable": {"CancelRefused"},
    "AccountMigrated": {"CancelRefused"},
    "EndpointRetired": {"CancelRefused"},
}
CANCEL_ERRORS = [
    kind for kind in (getattr(errors, name) for name in TREE) if issubclass(kind, CancelError)
]
REFUSALS = [kind for kind in CANCEL_ERRORS if issubclass(kind, CancelRefused)]


def attempt(number: int, verdict: Verdict, code: Code | None = None, message: str = "") -> Attempt:
    return Attempt(
        number=number,
        base_url="https://api.hbdm.com",
        started=datetime(2026, 3, 1, 12, tzinfo=UTC),
        waited=0.0,
        wire=0.1,
        http_status=None if verdict is Verdict.NOT_SENT else 200,
        verdict=verdict,
        code=code,
        message=message,
        sent=verdict is not Verdict.NOT_SENT,
    )


def report(*attempts: Attempt, outcome: Outcome = Outcome.REFUSED) -> CancelReport:
    return CancelReport(
        contract_code="BTC-USDT",
        direction=None,
        offset=None,
        outcome=outcome,
        errors=(OrderError(order_id="7", err_code=1088, err_msg="no"),),
        attempts=attempts,
        ts=1652552125876,
    )


REFUSED = report(
    attempt(1, Verdict.REFUSED, 1056, "Settling."),
    attempt(2, Verdict.REFUSED, 1032, "Too many."),
    attempt(3, Verdict.NOT_SENT),
)


@pytest.mark.parametrize("name", TREE)
def test_the_tree_is_as_drawn(name: str) -> None:
    """Each class has exactly the parents that the contract draws."""
    assert {parent.__name__ for parent in getattr(errors, name).__bases__} == TREE[name]


def test_no_error_stands_outside_the_tree() -> None:
    """The module defines no exception but the drawn ones, and the package exports them all."""
    found = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, BaseException) and kind.__module__ == errors.__name__
    }
    assert found == set(TREE) == set(errors.__all__)
    assert all(getattr(htx_async, name) is getattr(errors, name) for name in TREE)


@pytest.mark.parametrize("name", TREE)
def test_one_root_catches_all(name: str) -> None:
    """Every error of the package is an `HtxError`, and none escapes `except Exception`."""
    assert issubclass(getattr(errors, name), HtxError)
    assert issubclass(HtxError, Exception)


@pytest.mark.parametrize("kind", CANCEL_ERRORS)
def test_an_error_is_its_text_and_has_its_report_at_hand(kind: type[CancelError]) -> None:
    """`str()` is the text alone, and the report is at hand."""
    error = kind("what happened", REFUSED)
    assert str(error) == "what happened"
    assert error.report is REFUSED


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", CANCEL_ERRORS)
def test_a_pickle_keeps_class_text_and_report(kind: type[CancelError], protocol: int) -> None:
    """A cancel error that crosses a process boundary arrives with its whole account."""
    back = pickle.loads(pickle.dumps(kind("what happened", REFUSED), protocol))  # noqa: S301 - own
    assert type(back) is kind
    assert str(back) == "what happened"
    assert back.report == REFUSED


@pytest.mark.parametrize("name", ["HtxError", "InvalidRequest", "SessionClosed"])
def test_the_plain_errors_pickle_too(name: str) -> None:
    """An error without a report survives a pickle with its text."""
    back = pickle.loads(pickle.dumps(getattr(errors, name)("why")))  # noqa: S301 - own
    assert (type(back).__name__, str(back)) == (name, "why")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_keeps_retry_after(protocol: int) -> None:
    """`retry_after` is not lost, nor reset to its default, on the way through a pickle."""
    error = RateLimited("slow down", REFUSED, 2.5)
    back = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - own
    assert (back.retry_after, str(back), back.report) == (2.5, "slow down", REFUSED)
    assert copy.copy(error).retry_after == 2.5


def test_a_note_survives_a_pickle() -> None:
    """Notes that a caller adds stay on the error."""
    error = RateLimited("slow down", REFUSED, 2.5)
    error.add_note("while closing up")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - own
    assert back.__notes__ == ["while closing up"]


@pytest.mark.parametrize("kind", REFUSALS)
def test_code_and_message_are_the_last_refusals(kind: type[CancelRefused]) -> None:
    """`code` and `message` are the exchange's words of its last refusal, not of the first."""
    error = kind("no", REFUSED)
    assert (error.code, error.message) == (1032, "Too many.")


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_without_a_code(kind: type[CancelRefused]) -> None:
    """An HTTP 429 without a body has no code, and a hand-made report may have no refusal."""
    bare = kind("no", report(attempt(1, Verdict.REFUSED)))
    assert (bare.code, bare.message) == (None, "")
    none = kind("no", report())
    assert (none.code, none.message) == (None, "")


def test_a_word_code_stays_a_word() -> None:
    """Codes in words come out as the exchange spelt them."""
    error = CancelRefused("no", report(attempt(1, Verdict.REFUSED, "invalid-parameter", "bad")))
    assert (error.code, error.message) == ("invalid-parameter", "bad")


@pytest.mark.parametrize("name", sorted(TREE))
def test_every_class_explains_itself(name: str) -> None:
    """Each class has a docstring of its own: the tree is the manual of what can go wrong."""
    assert "__doc__" in vars(getattr(errors, name))
    assert getattr(errors, name).__doc__


@pytest.mark.parametrize("name", sorted(TREE))
def test_the_drawing_names_every_class(name: str) -> None:
    """The drawing at the top of the file shows the whole tree."""
    assert name in (errors.__doc__ or "")
