"""The plan and the account of a mass cancel, as values."""

import copy
import pickle
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from htx_async import (
    AccountMigrated,
    Attempt,
    AuthenticationFailed,
    CancelError,
    CancelRefused,
    CancelReport,
    EndpointRetired,
    HtxError,
    MarginMode,
    MassCancelFailed,
    MassCancelPlan,
    MassCancelReport,
    NotSent,
    OrderError,
    Outcome,
    OutcomeUnknown,
    PartialCancel,
    RateLimited,
    Unavailable,
    Verdict,
)
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session


def attempt(
    verdict: Verdict, code: int | None = None, status: int = 200, paused: float = 0.0
) -> Attempt:
    return Attempt(
        number=1,
        base_url="https://api.example",
        started=datetime(2026, 3, 1, 12, tzinfo=UTC),
        waited=0.1,
        wire=0.08,
        http_status=status,
        verdict=verdict,
        code=code,
        message="words",
        sent=verdict is not Verdict.NOT_SENT,
        paused=paused,
    )


def one(
    code: str,
    outcome: Outcome,
    *attempts: Attempt,
    successes: Sequence[str] = (),
    errors: Sequence[OrderError] = (),
) -> CancelReport:
    return CancelReport(
        contract_code=code,
        direction=None,
        offset=None,
        outcome=outcome,
        successes=tuple(successes),
        errors=tuple(errors),
        attempts=attempts,
    )


OK = attempt(Verdict.ACCEPTED)
STAYS = OrderError(order_id="3", err_code=1088, err_msg="restricted")

CLEAR = (
    one("A-USDT", Outcome.CANCELLED, OK, successes=("1", "2")),
    one("B-USDT", Outcome.NOTHING_TO_CANCEL, attempt(Verdict.REFUSED, 1051)),
    one("C-USDT", Outcome.CLEAR_AFTER_RETRY, attempt(Verdict.UNKNOWN)),
)

NOT_CLEAR: tuple[tuple[CancelReport, type[CancelError]], ...] = (
    (one("D-USDT", Outcome.PARTIAL, OK, successes=("4",), errors=(STAYS,)), PartialCancel),
    (one("E-USDT", Outcome.UNKNOWN, attempt(Verdict.UNKNOWN)), OutcomeUnknown),
    (one("F-USDT", Outcome.NOT_SENT), NotSent),
    (one("G-USDT", Outcome.REFUSED, attempt(Verdict.REFUSED, 1014)), CancelRefused),
    (one("H-USDT", Outcome.REFUSED, attempt(Verdict.REFUSED, 403)), AuthenticationFailed),
    (one("I-USDT", Outcome.REFUSED, attempt(Verdict.REFUSED, 1032)), RateLimited),
    (one("J-USDT", Outcome.REFUSED, attempt(Verdict.REFUSED, None, 429)), RateLimited),
    (one("K-USDT", Outcome.REFUSED, attempt(Verdict.REFUSED, 1056)), Unavailable),
    (one("L-USDT", Outcome.REFUSED, attempt(Verdict.REFUSED, 6023)), AccountMigrated),
    (one("M-USDT", Outcome.REFUSED, attempt(Verdict.REFUSED, 10000)), EndpointRetired),
)

ALL = MassCancelReport(
    reports=(*CLEAR, *(report for report, _ in NOT_CLEAR)),
    elapsed=12.5,
    callback_errors=("A-USDT: ValueError: no",),
)


def failed() -> MassCancelFailed:
    with pytest.raises(MassCancelFailed) as caught:
        ALL.raise_for_outcome()
    return caught.value


def reports_in(group: MassCancelFailed) -> list[CancelReport]:
    return [error.report for error in group.exceptions if isinstance(error, CancelError)]


def test_the_account_counts_joins_and_names() -> None:
    """Counts by outcome, ids of all contracts in order, and the contracts that need a person."""
    assert ALL.outcomes == {
        Outcome.CANCELLED: 1,
        Outcome.NOTHING_TO_CANCEL: 1,
        Outcome.CLEAR_AFTER_RETRY: 1,
        Outcome.PARTIAL: 1,
        Outcome.UNKNOWN: 1,
        Outcome.NOT_SENT: 1,
        Outcome.REFUSED: 7,
    }
    assert ALL.successes == ("1", "2", "4")
    assert ALL.errors == (STAYS,)
    assert ALL.not_clear == tuple(report.contract_code for report, _ in NOT_CLEAR)
    assert not ALL.is_clear
    assert ALL.elapsed == 12.5


def test_an_account_without_trouble_is_clear_and_raises_nothing() -> None:
    """All three clear outcomes together: nobody is called out of bed."""
    report = MassCancelReport(reports=CLEAR, elapsed=1.0)
    assert report.is_clear
    assert report.not_clear == ()
    assert report.errors == ()
    assert report.callback_errors == ()
    report.raise_for_outcome()


def test_a_settled_order_error_alone_is_clear() -> None:
    """An order that had triggered is told of and needs no error."""
    triggered = OrderError(order_id="9", err_code=1063, err_msg="executed")
    report = MassCancelReport(
        reports=(one("A-USDT", Outcome.CANCELLED, OK, successes=("1",), errors=(triggered,)),),
        elapsed=1.0,
    )
    assert report.is_clear
    assert report.errors == (triggered,)


@pytest.mark.parametrize("name", ["reports", "elapsed", "callback_errors"])
def test_the_account_is_frozen(name: str) -> None:
    """Nobody changes what was reported."""
    with pytest.raises(ValidationError, match="frozen"):
        setattr(ALL, name, ())


@pytest.mark.parametrize("name", ["outcomes", "successes", "errors", "not_clear", "is_clear"])
def test_what_follows_from_the_reports_cannot_be_set(name: str) -> None:
    """It is computed, so that it cannot contradict them."""
    with pytest.raises((ValidationError, AttributeError)):
        setattr(ALL, name, ())


def test_changing_the_counts_changes_no_report() -> None:
    """`outcomes` is a dictionary of its own each time."""
    ALL.outcomes[Outcome.PARTIAL] = 99
    assert ALL.outcomes[Outcome.PARTIAL] == 1


def test_the_plan_is_frozen_and_lists_what_stays() -> None:
    """Its list is in words that a person can check against the exchange's own pages."""
    plan = MassCancelPlan(contract_codes=("A-USDT",), calls=1, seconds=0.0)
    assert len(plan.untouched) == len(set(plan.untouched)) == 6
    with pytest.raises(ValidationError, match="frozen"):
        plan.seconds = 3.0
    assert MassCancelPlan.model_validate_json(plan.model_dump_json()) == plan


def test_the_account_survives_json_pickle_and_copy() -> None:
    """What comes back is equal, and JSON names the counts and what is not clear."""
    text = ALL.model_dump_json()
    assert MassCancelReport.model_validate_json(text) == ALL
    assert MassCancelReport.model_validate_json(text).model_dump_json() == text
    dumped = ALL.model_dump(mode="json")
    assert dumped["outcomes"]["refused"] == 7
    assert dumped["not_clear"][0] == "D-USDT"
    assert dumped["is_clear"] is False
    assert pickle.loads(pickle.dumps(ALL)) == ALL  # noqa: S301 - our own bytes
    assert copy.deepcopy(ALL) == ALL


def test_an_account_in_words() -> None:
    """One line: how many, what of, and which contracts need a person."""
    text = str(ALL)
    assert text.startswith("10 of 13 contracts are not clear (")
    assert "7 refused" in text
    for code in ALL.not_clear:
        assert code in text
    assert "A-USDT" not in text
    clear = MassCancelReport(reports=CLEAR, elapsed=1.0)
    assert str(clear) == "3 contracts in isolated margin clear, 2 orders cancelled"


def test_the_words_name_the_margin_mode_and_what_is_not_known() -> None:
    """Both modes are told apart; where an answer was lost, the number of orders is not known."""
    lost = CLEAR[2].model_copy(update={"ids_complete": False, "margin_mode": MarginMode.CROSS})
    told = str(MassCancelReport(reports=(*CLEAR[:2], lost), elapsed=1.0))
    assert told == (
        "2 contracts in isolated margin and 1 contract in cross margin clear, 2 and an unknown "
        "number of orders cancelled"
    )
    alone = str(MassCancelReport(reports=(lost,), elapsed=1.0))
    assert alone == "1 contract in cross margin clear, an unknown number of orders cancelled"
    both = str(MassCancelReport(reports=(*CLEAR, NOT_CLEAR[1][0], NOT_CLEAR[3][0]), elapsed=1.0))
    assert both.startswith("2 of 5 contracts are not clear (isolated margin: 1 cancelled, ")
    assert both.index("G-USDT in isolated margin: refused") < both.index("E-USDT in isolated")
    some = str(MassCancelReport(reports=(*CLEAR, NOT_CLEAR[1][0]), elapsed=1.0))
    assert some.startswith("1 of 4 contracts is not clear (")
    assert str(MassCancelReport(reports=(NOT_CLEAR[1][0],), elapsed=1.0)).startswith(
        "1 of 1 contract is not clear ("
    )


def test_forty_contracts_with_one_fault_are_told_once() -> None:
    """The exchange's words stand once, with every contract that they are about."""
    refused = attempt(Verdict.REFUSED, 403)
    reports = [one(f"C{number}-USDT", Outcome.REFUSED, refused) for number in range(40)]
    told = str(MassCancelReport(reports=tuple(reports), elapsed=1.0))
    assert told.count("words") == told.count("trying again does not help") == 1
    assert all(report.contract_code in told for report in reports)


def test_raising_gives_one_error_for_each_contract_that_is_not_clear() -> None:
    """Each of the kind that the single call would have raised, with its report."""
    group = failed()
    assert isinstance(group, ExceptionGroup)
    assert isinstance(group, HtxError)
    assert [type(error) for error in group.exceptions] == [kind for _, kind in NOT_CLEAR]
    assert reports_in(group) == [report for report, _ in NOT_CLEAR]
    assert "10 of 13 contracts are not clear" in str(group)
    for error, (report, _) in zip(group.exceptions, NOT_CLEAR, strict=True):
        assert str(error) == report.message


def test_except_star_picks_the_kinds_apart() -> None:
    """The parts are groups of ours too, and nothing is lost between them."""
    seen: list[tuple[str, int]] = []
    groups: list[object] = []
    try:
        ALL.raise_for_outcome()
    except* OutcomeUnknown as group:
        groups.append(group)
        seen.append(("unknown", len(group.exceptions)))
    except* NotSent as group:
        groups.append(group)
        seen.append(("not sent", len(group.exceptions)))
    except* CancelRefused as group:
        seen.append(("refused", len(group.exceptions)))
    except* CancelError as group:
        seen.append(("rest", len(group.exceptions)))
    assert seen == [("unknown", 1), ("not sent", 1), ("refused", 7), ("rest", 1)]
    assert [type(group) for group in groups] == [MassCancelFailed] * 2


def test_split_and_subgroup_keep_the_type_and_the_notes() -> None:
    """What is cut out of the group is still a `MassCancelFailed`, and an `HtxError`."""
    group = failed()
    group.add_note("from the desk")
    refused, rest = group.split(CancelRefused)
    assert isinstance(refused, MassCancelFailed)
    assert isinstance(rest, MassCancelFailed)
    assert isinstance(refused, HtxError)
    assert len(refused.exceptions) + len(rest.exceptions) == 10
    assert refused.__notes__ == ["from the desk"]
    assert group.subgroup(EndpointRetired) is not None
    assert group.subgroup(KeyError) is None


def test_the_group_survives_pickle() -> None:
    """A process pool hands it over with every report in it."""
    group = failed()
    again = pickle.loads(pickle.dumps(group))  # noqa: S301 - our own bytes
    assert type(again) is MassCancelFailed
    assert str(again) == str(group)
    assert [type(e) for e in again.exceptions] == [type(e) for e in group.exceptions]
    assert reports_in(again) == reports_in(group)


def test_the_single_and_the_mass_cancel_raise_the_same_error() -> None:
    """An HTTP 429 that names 8 s: `retry_after` reaches the caller either way."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.too_many(retry_after="8")
        async with virtual_session(exchange) as htx:
            with pytest.raises(RateLimited) as single:
                await htx.cancel_all_trailing("A-USDT", deadline=5.0)
        exchange = SimulatedExchange()
        exchange.too_many(retry_after="8")
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(["A-USDT"], deadline=5.0)
        with pytest.raises(MassCancelFailed) as many:
            report.raise_for_outcome()
        (error,) = many.value.exceptions
        assert isinstance(error, RateLimited)
        assert single.value.retry_after == 8.0
        assert error.retry_after == single.value.retry_after

    run(main())


def test_a_report_is_kept_as_json_whatever_was_said_beside_it() -> None:
    """Paths that are no UTF-8 come in by warnings of records and limiters, and by what `on_report`
    raises: such bytes stand escaped, for no JSON could be made of them."""

    class Record:
        def __call__(self, event: object) -> None: ...

        async def written(self, call: int) -> str:
            return "/logs/caf\udce9 is full"

    def told(report: CancelReport) -> None:
        raise OSError("/reports/caf\udce9 is full")

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, on_event=Record()) as htx:
            single = await htx.cancel_all_trailing("A-USDT")
            report = await htx.mass_cancel_trailing(["B-USDT"], on_report=told)
        assert single.warnings == report.warnings == ("/logs/caf\\udce9 is full",)
        assert report.callback_errors == ("B-USDT: OSError: /reports/caf\\udce9 is full",)
        assert CancelReport.model_validate_json(single.model_dump_json()) == single
        assert MassCancelReport.model_validate_json(report.model_dump_json()) == report

    run(main())
