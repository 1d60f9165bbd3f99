"""What the facts of both generations say of where an account is, and of what is left there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

from htx_async.cancel.judge import BLIND, NOT_CONFIRMED, TOO_EARLY, problem, report, states
from htx_async.cancel.ledger import Intent, Ledger, Moved, NotOnV5, OnV1, Round
from htx_async.cancel.order import NEVER, State
from htx_async.codes import Code
from htx_async.enums import ApiGeneration, Outcome
from htx_async.exchange.endpoints import CANCEL_ALL
from htx_async.exchange.operation import Kind
from htx_async.filters import OrderFilter
from htx_async.orders import TrailingOrder
from htx_async.report_text import WAY_OUT
from tests.cancel.facts import (
    ALL,
    BTC,
    LOST,
    START,
    UNSENT,
    V1,
    V5,
    Account,
    Made,
    Page,
    no,
    order_error,
    row,
    took,
)

Does = Callable[[Account], None]
OTHER = row("9", contract_code="ETH-USDT")


def either(
    *does: Does, known: ApiGeneration | None = None, order_ids: tuple[str, ...] = (), **more: Any
) -> Account:
    """An account that may be on v1 or on V5."""
    account = Account(Intent(ALL, order_ids, **more), known, is_pinned=False)
    for each in does:
        each(account)
    return account


def v1(*made: Made, of: str = "") -> Does:
    """v1 answers a cancel of all, or of ids of one letter each."""
    return lambda account: account.said(*made, order_ids=tuple(of))


def v5(*made: Made, of: str = "") -> Does:
    """V5 answers a cancel."""
    return lambda account: account.said(*made, order_ids=tuple(of), by=V5)


def asked(made: Made, by: ApiGeneration = V1) -> Does:
    """A generation answers the request for a list."""
    return lambda account: account.said(made, by=by, kind=Kind.OPEN)


def lists(ids: str = "", by: ApiGeneration = V1, **more: Any) -> Does:
    """A list of open orders."""
    return lambda account: account.listed(Kind.OPEN, [row(i) for i in ids], by=by, **more)


def history(ids: str, by: ApiGeneration = V1, status: int = 6, **more: Any) -> Does:
    """A list of what has ended."""
    return lambda account: account.listed(Kind.ENDED, [row(i, status) for i in ids], by=by, **more)


def unread(problem: str, by: ApiGeneration, kind: Kind = Kind.OPEN) -> Does:
    return lambda account: account.unread(problem, by=by, kind=kind)


def outcome_of(*does: Does, **more: Any) -> Outcome:
    return either(*does, **more).report().outcome


@pytest.mark.parametrize(
    ("does", "on", "why"),
    [
        ([], {V1, V5}, ""),
        ([v1(took("1"))], {V1, V5}, ""),
        ([v1(no(6002))], {V5}, "v1 answered 6002"),
        ([asked(no(6002))], {V5}, "v1 answered 6002"),
        ([v1(no(1066)), lists("1", V5)], {V5}, "V5 lists an order of the account"),
        ([lists("1", V5)], {V5}, "V5 lists orders that v1 does not know"),
        ([asked(no(4007), V5)], {V1}, "V5 answered 4007, so the account is not on it"),
        ([v5(no(6001), of="1")], {V1}, "V5 answered 6001, so the account is not on it"),
        # It may have moved since.
        ([asked(no(4007), V5), v1(took("1"))], {V1, V5}, ""),
        # Each refuses it: nobody knows where it is.
        ([v1(no(6002)), asked(no(4007), V5)], set(), ""),
        # Of two that contradict each other the later one holds.
        ([asked(no(4007), V5), v1(no(6002))], {V5}, ""),
        # Neither a fault of the moment nor another refusal says where it is.
        ([v1(no(1056)), asked(no(1056), V5)], {V1, V5}, ""),
        ([asked(LOST, V5), v1(LOST)], {V1, V5}, ""),
        ([v1(no(10000))], {V1, V5}, ""),
    ],
)
def test_where_an_account_is_goes_by_what_each_generation_says_of_it(
    does: list[Does], on: set[ApiGeneration], why: str
) -> None:
    """v1's code for moved accounts, V5's for accounts that it does not have, or orders shown."""
    known = either(*does).states()
    assert (set(known.on), known.why) == (on, why)


@pytest.mark.parametrize("code", [1066, 10000])
@pytest.mark.parametrize(
    ("show", "how"),
    [
        (history("7", V5), "V5's history has an order of the account"),
        (
            lambda account: account.listed(Kind.OPEN, [OTHER], by=V5),
            "V5 lists an order of the acco",
        ),
    ],
)
def test_any_order_on_v5_is_proof_where_v1_does_not_serve_the_account(
    code: int, show: Does, how: str
) -> None:
    """Ended, or of another side; whichever is heard first. Where v1 serves it, it is none."""
    for does in ([v1(no(code)), show], [show, v1(no(code))]):
        known = either(*does).states()
        assert set(known.on) == {V5}
        assert known.why.startswith(how)
    assert set(either(show).states().on) == {V1, V5}
    # To speak of none of those that it was asked for is no service either.
    for does in ([v1(took(), of="1"), show], [show, v1(took(), of="1")]):
        assert set(either(*does).states().on) == {V5}
    # v1 has served it since.
    assert set(either(v1(no(10000)), v1(took()), show).states().on) == {V1, V5}
    assert set(either(v1(no(10000)), lists("1"), show).states().on) == {V1, V5}


@pytest.mark.parametrize("known", [V1, V5])
def test_a_session_that_is_pinned_asks_no_other(known: ApiGeneration) -> None:
    """Whatever the codes say; one that only knows it from before may be told otherwise."""
    account = Account(Intent(ALL), known, is_pinned=True)
    account.said(no(6002))
    account.said(no(4007), by=V5, kind=Kind.OPEN)
    assert account.states().on == {known}
    assert either(known=V5).states().on == {V5}
    assert either(asked(no(4007), V5), known=V5).states().on == {V1}
    assert either(known=V1).states().on == {V1, V5}


def test_another_call_of_the_session_may_have_asked_v5() -> None:
    """What it was told counts from when it was asked."""
    account = either(v1(no(1051)))
    account.ledger.file(NotOnV5((), 4007, 1.0))
    account.ledger.file(NotOnV5((), 6001, 0.5))
    known = account.states()
    assert (set(known.on), known.absent) == ({V1}, 4007)
    assert account.report().outcome is Outcome.NOTHING_TO_CANCEL


def test_another_call_of_the_session_may_have_had_an_order_from_v1() -> None:
    """What v1 had said before it was asked then is its word, whichever call is told of it last."""
    account = either(v1(no(1051)))
    account.ledger.file(OnV1(0.05))
    assert account.report().outcome is Outcome.UNKNOWN
    account.ledger.file(OnV1(1.0))
    account.ledger.file(OnV1(0.05))
    assert account.report().outcome is Outcome.NOTHING_TO_CANCEL


def test_another_call_of_the_session_may_have_found_the_account_on_v5() -> None:
    """From when it did an empty list of V5 is proof, and none from before."""
    account = either(lists(by=V5), known=None)
    account.ledger.file(Moved((), "v1 answered 6002", account.now))
    known = account.states()
    assert (set(known.on), known.why, known.is_covered) == ({V5}, "v1 answered 6002", False)
    lists(by=V5)(account)
    assert account.states().is_clear


def test_what_speaks_for_a_generation_and_proves_nothing_is_a_hint() -> None:
    """An order that v1 named since the call began, here or in another call; or empty lists."""
    named = "v1 has named orders of the account, and none moves with orders open: an inference"
    both = "both list no such order, so either may be the account's own"
    assert either(v1(took("1"))).states().hint(NEVER) == named
    assert either().states().hint(0.0) == named
    assert either().states().hint(-0.1) == ""
    assert either(lists(by=V5)).states().hint(NEVER) == both
    moved = either(v1(took("1")), v1(no(6002)), lists(by=V5)).states()
    assert moved.hint(9.0) == ""


def test_a_list_counts_that_is_the_accounts_own_and_was_asked_for_since_the_round_began() -> None:
    """From its very moment on; v1's empty one does once V5 was asked after it."""

    def listed(*does: Does, since: float = 0.0, by: ApiGeneration = V1) -> bool:
        account = either(*does)
        account.ledger.file(Round((BTC,), since))
        return account.states().is_listed_since(by)

    assert not listed()
    assert not listed(lists())
    assert listed(lists(), lists(by=V5))
    assert listed(lists("1"))
    assert listed(lists("1"), since=2.0)
    assert not listed(lists("1"), since=2.1)
    assert not listed(lists("1"), by=V5)
    assert listed(lists("1", V5), by=V5)


@pytest.mark.parametrize("nothing", [v1(no(1051)), v1(took())])
@pytest.mark.parametrize(
    ("then", "is_clear"),
    [
        (lists(by=V5), True),
        (asked(no(4007), V5), True),
        (asked(no(1056), V5), False),
        (asked(LOST, V5), False),
        (lists(by=V5, is_whole=False), False),
        (lists(), False),
    ],
)
def test_that_nothing_is_left_is_believed_once_v5_has_been_asked_too(
    nothing: Does, then: Does, is_clear: bool
) -> None:
    """v1 says so to accounts that have moved as well. What V5 said before does not count."""
    assert either(nothing, then).report().is_clear is is_clear
    assert not either(then, nothing).report().is_clear


def test_a_reply_that_names_orders_is_of_the_generation_that_has_them() -> None:
    """It needs no word of V5's."""
    assert outcome_of(v1(took("1"))) is Outcome.CANCELLED
    assert outcome_of(v1(took(errors=[order_error("1", 1061)]))) is Outcome.NOTHING_TO_CANCEL
    # Also where the orders that it shows are not those that are meant.
    account = either(lambda account: account.listed(Kind.OPEN, [OTHER]))
    assert account.states().is_clear


def test_ids_that_v1_does_not_know_may_be_on_v5() -> None:
    """1061 is what v1 answers of a moved account's orders; V5's word after it settles it. One that
    v1 takes beside it shows that the account is there."""
    gone = took(errors=[order_error("1", 1061)])
    assert outcome_of(v1(gone, of="1"), order_ids=("1",)) is Outcome.UNKNOWN
    then = [v1(gone, of="1"), lists(by=V5)]
    assert outcome_of(*then, order_ids=("1",)) is Outcome.NOTHING_TO_CANCEL
    mixed = took("2", errors=[order_error("1", 1061)])
    assert outcome_of(v1(mixed, of="12"), order_ids=("1", "2")) is Outcome.CANCELLED
    # Other codes are about an order that v1 has; and V5 knows its own.
    executed = took(errors=[order_error("1", 1063)])
    assert outcome_of(v1(executed, of="1"), order_ids=("1",)) is Outcome.NOTHING_TO_CANCEL
    on_v5 = [v1(no(6002), of="1"), v5(gone, of="1")]
    assert outcome_of(*on_v5, order_ids=("1",)) is Outcome.NOTHING_TO_CANCEL
    again = [v1(gone, of="1"), v1(took(errors=[order_error("1", 1004)]), of="1")]
    assert outcome_of(*again, order_ids=("1",)) is Outcome.PARTIAL


def test_an_answer_that_speaks_of_no_id_doubts_the_generation() -> None:
    """v1's empty ok to a cancel by ids: V5 has to be asked, and the ids are not known."""
    known = either(v1(took(), of="1"), order_ids=("1",)).states()
    assert (known.is_open_question, known.having(State.UNKNOWN)) == (True, ("1",))
    assert known.has_passed_over
    pinned = Account(Intent(ALL, ("1",)))
    pinned.said(took(), order_ids=("1",))
    assert not pinned.states().is_open_question


def test_a_missing_field_that_was_not_missing_doubts_the_generation() -> None:
    """1066 is HTX's answer to moved accounts, too: an empty V5 clears that up, v1's own list
    does not."""
    assert either(v1(took("1")), asked(no(1066))).states().is_open_question
    assert not either(v1(took("1")), asked(no(1066)), lists(by=V5)).states().is_open_question
    assert not either(v1(took("1")), asked(no(1056))).states().is_open_question


PART = lists("1", V5, is_whole=False)


def not_there(account: Account) -> None:
    """Another call was told."""
    account.ledger.file(NotOnV5((), 4007, 0.0))


NOTHING_PROVEN = (
    "v1 says that nothing is left, which it also says to accounts that have moved to V5"
)
SAYS_NOTHING = "v1 answered 10000, which says nothing about the account"


@pytest.mark.parametrize(
    ("does", "outcome", "told"),
    [
        ([v1(no(1051))], Outcome.UNKNOWN, f"{NOTHING_PROVEN}; V5 was not asked"),
        (
            [v1(no(1051)), unread("V5 answered 1056.", V5)],
            Outcome.UNKNOWN,
            f"{NOTHING_PROVEN}; V5's list could not be read: V5 answered 1056",
        ),
        (
            [v1(no(6002)), asked(no(4007), V5)],
            Outcome.REFUSED,
            "v1 answered 6002 and V5 answered 4007, so neither API serves this account",
        ),
        (
            [v1(no(10000)), asked(no(4007), V5)],
            Outcome.REFUSED,
            "v1 answered 10000 and V5 answered 4007, so neither API serves this account",
        ),
        (
            [asked(no(4007), V5), v1(no(10000))],
            Outcome.REFUSED,
            "v1 answered 10000 and V5 answered 4007, so neither API serves this account",
        ),
        (
            [v1(no(10000)), asked(no(404, 404), V5)],
            Outcome.REFUSED,
            "v1 answered 10000 and V5 answered 404, so neither API serves this account",
        ),
        (
            [v1(no(10000))],
            Outcome.UNKNOWN,
            f"{SAYS_NOTHING}; V5 was not asked; {WAY_OUT}",
        ),
        (
            [v1(no(1066))],
            Outcome.UNKNOWN,
            "v1 answered 1066, which it also says to accounts that have moved to V5; V5 was not "
            "asked",
        ),
        (
            [asked(took(), V5), v1(took("1")), v1(no(1051))],
            Outcome.UNKNOWN,
            f"{NOTHING_PROVEN}; V5 was not asked since",
        ),
        (
            [asked(no(4007), V5), v1(took("1")), v1(no(10000))],
            Outcome.UNKNOWN,
            f"{SAYS_NOTHING}; V5 was not asked since; {WAY_OUT}",
        ),
        (
            [v1(no(10000)), unread("words", V5), asked(took(), V5), lists(by=V5)],
            Outcome.UNKNOWN,
            f"{SAYS_NOTHING}; V5 shows no order of it, open or ended, which is no proof that it is "
            f"there; {WAY_OUT}",
        ),
        (
            [v1(no(10000)), unread("words", V5)],
            Outcome.UNKNOWN,
            f"{SAYS_NOTHING}; V5's list could not be read: words; {WAY_OUT}",
        ),
        (
            [v1(no(10000)), asked(took(), V5), lists(by=V5)],
            Outcome.UNKNOWN,
            f"{SAYS_NOTHING}; V5 shows no order of it, open or ended, which is no proof that it is "
            f"there; {WAY_OUT}",
        ),
        (
            [v1(no(10000)), unread("no word of HTX.", V5)],
            Outcome.UNKNOWN,
            f"{SAYS_NOTHING}; V5's list could not be read: no word of HTX; {WAY_OUT}",
        ),
        # Asked after v1, which had an order before; also in the moment of its answer.
        *(
            (
                [v1(took("1")), v1(no(10000)), history("", V5, after=after), asked(took(), V5)],
                Outcome.UNKNOWN,
                f"{SAYS_NOTHING}; V5 shows no order of it, open or ended, which is no proof that "
                f"it is there; {WAY_OUT}",
            )
            for after in (-0.1, -0.3)
        ),
        ([v1(LOST), v1(no(1014))], Outcome.UNKNOWN, ""),
    ],
)
def test_a_call_that_proves_nothing_says_why(does: list[Does], outcome: Outcome, told: str) -> None:
    """By what each generation answered, and with the way out where there is one."""
    account = either(*does)
    assert account.report().outcome is outcome
    assert account.report().ended_by == told
    assert problem(account.states()) == (told or "nobody has answered for the account")


def test_the_last_word_is_what_was_answered_last() -> None:
    """Whichever request went out first."""
    account = either()
    account.ledger.requests = itertools.count(2)
    v1(no(1051))(account)
    account.ledger.requests = itertools.count(1)
    v1(no(1066))(account)
    assert account.report().ended_by.startswith("v1 answered 1066, which it also says")


def test_what_v5_showed_before_it_was_asked_is_not_its_last_word() -> None:
    """It refused the account from the moment on in which it had shown an ended order of it."""
    account = either(history("7", V5))
    account.now = 2.1
    for each in (asked(no(4007), V5), v1(no(6002))):
        each(account)
    assert problem(account.states()).endswith("so neither API serves this account")


def test_v5_s_list_is_the_later_word_than_its_refusal() -> None:
    """It refused the account before that had moved, and lists nothing of it since."""
    told = either(asked(no(4007), V5), v1(no(6002)), lists(by=V5)).report()
    assert (told.outcome, told.warnings) == (Outcome.NOTHING_TO_CANCEL, ())


def test_a_pinned_session_doubts_nothing() -> None:
    """v1's refusal is what it is."""
    account = Account(Intent(ALL))
    account.said(no(10000))
    assert (account.report().outcome, account.report().ended_by) == (Outcome.REFUSED, "")


def test_a_list_that_is_not_to_be_had_has_a_reason() -> None:
    """The last one that was heard; without any, nobody has answered."""
    assert problem(either().states()) == "nobody has answered for the account"
    two = either(unread("first", V1), unread("second", V5))
    assert problem(two.states()) == "second"


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ([unread("no answer.", V1)], "the list of open orders could not be read: no answer"),
        ([v1(UNSENT), unread("words", V1)], "the list of open orders could not be read: words"),
        (
            [v1(no(6002)), v5(took("1"), of="1"), unread("no answer.", V5)],
            "the list of open orders could not be read to its end: no answer",
        ),
        (
            [asked(no(4007), V5), v1(took("1")), v1(no(6002)), unread("words", V5)],
            "the list of open orders could not be read to its end: words",
        ),
        (
            [v1(no(6002)), lists("1", V5), v5(LOST, of="1"), unread("words", V5)],
            "the list of open orders could not be read to its end: words",
        ),
        (
            [asked(no(4007), V5), v1(no(1051)), PART, unread("words", V5)],
            "the list of open orders could not be read: words",
        ),
        ([v1(no(6002)), v5(took("1"), of="1"), unread("words", V1)], ""),
        ([v1(no(6002)), v5(took("1"), of="1"), lists("1", V5), unread("words", V5)], ""),
        (
            [unread("no word of HTX.", V1)],
            "the list of open orders could not be read: no word of HTX",
        ),
        # The refusal is why.
        ([v1(no(1014)), unread("words", V1)], ""),
        # V5's refusal is its word.
        (
            [asked(no(4007), V5), unread("V5 refused it", V5), unread("words", V1)],
            "the list of open orders could not be read: words",
        ),
        ([v1(UNSENT)], ""),
    ],
)
def test_a_list_that_was_needed_and_not_read_is_told(does: list[Does], told: str) -> None:
    """Before anything could be sent, or to know what is left; v1's is not, of an account on V5."""
    assert either(*does).report().ended_by == told


@pytest.mark.parametrize(
    ("does", "outcome"),
    [
        # V5's orders are known by its lists alone.
        ([v1(no(6002)), lists(by=V5)], Outcome.NOTHING_TO_CANCEL),
        ([v1(no(6002)), lists("1", V5), v5(took("1"), of="1")], Outcome.CANCELLED),
        ([v1(no(6002)), v5(took("1"), of="1")], Outcome.UNKNOWN),
        ([v1(no(6002)), lists("12", V5), v5(took("1"), of="1")], Outcome.PARTIAL),
        ([v1(no(6002)), lists("1", V5, is_whole=False), v5(took("1"), of="1")], Outcome.UNKNOWN),
        ([v1(no(6002)), lists("1", V5), v5(LOST, of="1")], Outcome.UNKNOWN),
        ([v1(no(6002)), lists("1", V5), v5(no(1014), of="1")], Outcome.REFUSED),
        ([v1(no(6002)), lists("1", V5), v5(UNSENT, of="1")], Outcome.REFUSED),
        ([lists("1", V5), v5(UNSENT, of="1")], Outcome.NOT_SENT),
        ([v1(no(6002))], Outcome.REFUSED),
        ([asked(no(1056))], Outcome.REFUSED),
        ([asked(UNSENT)], Outcome.NOT_SENT),
        ([v1(no(6002)), asked(LOST, V5)], Outcome.REFUSED),
        # Taken by v1, and moved before its list was read.
        ([v1(took("1")), asked(no(6002)), lists(by=V5)], Outcome.CANCELLED),
        ([v1(took("1")), asked(no(6002)), lists("1", V5)], Outcome.PARTIAL),
        ([v1(took("1")), asked(no(6002))], Outcome.UNKNOWN),
        ([v1(LOST), asked(no(6002)), lists(by=V5)], Outcome.CLEAR_AFTER_RETRY),
        # Nothing was sent: the last read tells whether it was refused.
        ([asked(no(10000)), asked(no(404, 404), V5)], Outcome.REFUSED),
        ([asked(no(10000)), asked(no(404, 404), V5), asked(LOST)], Outcome.NOT_SENT),
        ([not_there, asked(no(1066))], Outcome.REFUSED),
        ([asked(no(1056)), asked(UNSENT)], Outcome.NOT_SENT),
    ],
)
def test_what_is_left_of_an_account_that_has_moved(does: list[Does], outcome: Outcome) -> None:
    """By V5's lists, and by what was sent since."""
    assert outcome_of(*does) is outcome


def test_a_refusal_of_the_generation_that_is_not_the_accounts_own_says_nothing() -> None:
    """V5 knows none of the orders of an account that is on v1; it knows those of one on V5."""
    gone = took(errors=[order_error("1", 1061)])
    may_be = either(v5(gone, of="1"), order_ids=("1",)).states()
    assert may_be.having(State.UNKNOWN) == ("1",)
    moved = either(v1(no(6002), of="1"), v5(gone, of="1"), order_ids=("1",)).states()
    assert moved.having(State.GONE) == ("1",)
    triggered = either(v5(took(errors=[order_error("1", 1063)]), of="1"), order_ids=("1",)).states()
    assert triggered.having(State.TRIGGERED) == ("1",)


def test_a_late_empty_list_confirms_and_an_early_one_does_not() -> None:
    """An order may be listed 1.5 s after it was placed, so the list has to be asked for then."""
    early = either(lists(by=V5, after=0.5), known=V5, confirm=True)
    assert early.report().warnings == (TOO_EARLY,)
    assert early.report().confirmed is None
    assert not early.states().is_late(V5)
    exact = either(lists(by=V5, after=1.5), known=V5, confirm=True)
    assert exact.states().is_late(V5)
    assert (exact.report().confirmed, exact.report().warnings) == (True, ())
    # A round begins anew.
    again = either(lists(by=V5), known=V5, confirm=True, until_clear=True)
    again.ledger.file(Round((BTC,), again.now))
    assert not again.states().is_late(V5)
    assert not either().states().is_late(V1)


def test_a_list_from_before_the_last_cancel_confirms_nothing() -> None:
    """What was sent since may have changed what it speaks of."""
    account = either(lists("1", V5), v5(took("1"), of="1"), known=V5, confirm=True)
    assert (account.report().outcome, account.report().confirmed) == (Outcome.CANCELLED, None)
    lists(by=V5)(account)
    history("1", V5)(account)
    assert account.report().confirmed is True


@pytest.mark.parametrize("why", ["", "the read failed"])
def test_a_confirmation_that_was_asked_for_and_is_missing_says_why(why: str) -> None:
    """The list was not read yet, or could not be."""
    account = either(v1(took("1")), confirm=True)
    if why:
        unread("before", V1)(account)
        unread(why, V5)(account)
    told = f"{NOT_CONFIRMED} by the list of open orders ({why or 'it was not read yet'})"
    assert account.report().warnings == (told,)
    assert either(v1(took("1"))).report().warnings == ()
    assert either(v1(no(1014)), confirm=True).report().warnings == ()


@pytest.mark.parametrize(
    ("made", "is_told"), [(took("1"), True), (LOST, True), (UNSENT, False), (no(1014), False)]
)
def test_that_a_call_was_blind_is_told_where_it_changed_something(
    made: Made, is_told: bool
) -> None:
    """What was refused or not sent has cancelled nothing; other warnings stay."""
    account = either(v1(made))
    account.warned("before", BLIND, "after")
    told = ("before", BLIND, "after") if is_told else ("before", "after")
    assert account.report().warnings == told


def test_a_warning_stands_beside_a_missing_confirmation() -> None:
    """In the order in which they became known."""
    account = either(v1(took("1")), confirm=True)
    account.warned("before")
    first, last = account.report().warnings
    assert (first, NOT_CONFIRMED in last) == ("before", True)


@pytest.mark.parametrize(
    ("does", "is_told"),
    [
        ([lists(by=V5)], True),
        ([v5(UNSENT, of="1"), lists(by=V5)], True),
        ([v5(took("1"), of="1"), lists(by=V5)], False),
        ([v5(UNSENT, of="1"), lists("1", V5)], False),
    ],
)
def test_a_call_that_is_clear_by_a_list_alone_says_so(does: list[Does], is_told: bool) -> None:
    """Where a cancel was to be sent, and what ended the call kept it back."""
    account = either(*does, known=V5)
    account.ended("the turn was given to HTX.")
    told = (
        "no cancel was sent (the turn was given to HTX); the list of open orders shows none, in "
        "which one that was placed in the last moment may be missing",
    )
    assert account.report().warnings == (told if is_told else ())


@pytest.mark.parametrize("code", [6002, 10000])
def test_a_doubt_beside_a_clear_call_is_a_warning(code: int) -> None:
    """v1 took the cancel, and then neither API served the account, so no list confirms it."""
    then = [v1(took("1"), of="1"), asked(no(code)), asked(no(4007), V5)]
    told = either(*then, order_ids=("1",), confirm=True).report()
    neither = f"v1 answered {code} and V5 answered 4007, so neither API serves this account"
    assert (told.outcome, told.ended_by) == (Outcome.CANCELLED, "")
    assert (told.warnings, told.confirmed) == ((f"{neither}, so {NOT_CONFIRMED}",), None)


def test_what_a_list_has_confirmed_is_not_called_unconfirmed() -> None:
    """v1 served the list, and not the history that was read after it."""
    then = [v1(took("1")), lists(), asked(no(4007), V5), asked(no(10000))]
    told = either(*then, confirm=True).report()
    assert told.confirmed is True
    assert not any(NOT_CONFIRMED in warning for warning in told.warnings)


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ([history("12")], None),
        ([history("1")], "(1 of them are not in it yet)"),
        ([], "(2 of them are not in it yet)"),
        ([unread("no answer", V1, Kind.ENDED)], "(no answer)"),
        ([unread("an open one", V5), unread("no answer", V1, Kind.ENDED)], "(no answer)"),
        ([unread("an open one", V1)], "(2 of them are not in it yet)"),
    ],
)
def test_a_confirmed_call_says_what_the_history_does_not_tell(
    then: list[Does], told: str | None
) -> None:
    """A success that is not in it may have triggered instead."""
    account = Account(Intent(ALL, confirm=True))
    for each in (v1(no(1032, ts=START), took("1", "2")), lists(), *then):
        each(account)
    report = account.report()
    assert report.confirmed
    words = "the history does not tell which of the orders had triggered"
    assert report.warnings == (() if told is None else (f"{words} {told}",))


@pytest.mark.parametrize(("made", "is_told"), [((LOST, took()), True), ((took(),), False)])
def test_after_a_lost_answer_the_history_is_wanted_too(
    made: tuple[Made, ...], is_told: bool
) -> None:
    """It alone has what the lost request cancelled; read, it need not have anything."""
    account = Account(Intent(ALL, confirm=True))
    for each in (v1(*made), lists()):
        each(account)
    assert bool(account.report().warnings) is is_told
    history("")(account)
    assert account.report().warnings == ()


def test_that_the_account_is_not_on_v5_is_no_reason_of_a_list_that_was_not_read() -> None:
    """It sends nobody to the website: v1 has the orders, and was not asked for its list, or was
    asked to cancel once more since."""
    gone = [v1(no(1051)), asked(no(6001), V5), unread("refused with code 6001", V5)]
    clear = either(*gone, confirm=True).report()
    told = ("this is not confirmed by the list of open orders (it was not read yet)",)
    assert (clear.outcome, clear.warnings) == (Outcome.NOTHING_TO_CANCEL, told)
    since = either(*gone, v1(no(1051)), confirm=True).report()
    assert since.ended_by == f"{NOTHING_PROVEN}; V5 was not asked since"
    assert since.warnings == told


def placed(ms: float, ts: tuple[int | None, ...] = (0, 0), data: int | None = None) -> bool:
    """Whether an order that was placed `ms` after the call began is meant: two requests were told
    the exchange's time `ts`, `data` ms after the call began in the list's own order."""
    account = Account(Intent(ALL))
    for each in ts:
        told = None if each is None else START + each
        account.said(Made(no(1056).verdict, 1056, ts=told))
    if data is not None:
        page = Page((row("8", created_at=START + data), row("7", created_at=None)))
        account.said(Made(took().verdict, ts=START + 10_000, data=page), kind=Kind.OPEN)
        account.said(Made(took().verdict, ts=START + 10_100, data=page), kind=Kind.OPEN)
    account.listed(Kind.OPEN, [row("1", created_at=math.floor(START + ms))])
    return "1" in account.states().orders


def test_what_was_placed_after_the_call_began_is_not_meant() -> None:
    """By two replies that tell the exchange's time: each was told after its request was sent, here
    0 and 200 ms after the call began. The more cautious one holds."""
    assert placed(101, (100, 300))
    assert not placed(102, (100, 300))
    assert placed(2000, (100,))
    assert placed(2000, (None, 100))
    assert placed(300, (100, 500))
    assert not placed(302, (100, 500))


def test_replies_that_contradict_each_other_leave_in_doubt_what_is_meant() -> None:
    """Then the most cautious bound holds: the later of the two."""
    assert placed(5000, (100, 5300))
    assert not placed(5200, (100, 5300))


def test_a_clock_that_lists_contradict_proves_nothing() -> None:
    """An order that was placed after the time of its own list: every order is meant again."""
    assert not placed(15_000, (100, 300), data=10_000)
    assert not placed(15_000, (100, 300), data=10_001)
    assert placed(15_000, (100, 300), data=10_002)


def test_what_stood_on_the_first_list_is_meant_whenever_it_was_placed() -> None:
    """And what a cancel spoke of; later lists add nothing that is newer."""
    new = row("1", created_at=START + 60_000)
    account = Account(Intent(ALL))
    account.listed(Kind.OPEN, [new], after=0.0)
    account.said(no(1056, ts=START), no(1056, ts=START + 200))
    account.listed(Kind.OPEN, [new, row("2", created_at=START + 60_000)])
    assert account.states().having(State.OPEN) == ("1",)
    account.said(took(errors=[order_error("2", 1004)]))
    assert account.states().having(State.OPEN, State.REFUSED) == ("1", "2")
    account.intent = account.intent._replace(until_clear=True)
    account.listed(Kind.OPEN, [row("3", created_at=START + 60_000)])
    assert "3" in account.states().orders


def test_v5s_first_list_is_the_first_of_its_own() -> None:
    """v1 was asked to cancel before: what V5 shows then is meant all the same."""
    new = row("1", created_at=START + 60_000)
    account = either(v1(no(6002, ts=START), no(6002, ts=START + 200)))
    account.listed(Kind.OPEN, [new], by=V5)
    assert account.states().having(State.OPEN) == ("1",)
    account.listed(Kind.OPEN, [new, row("2", created_at=START + 60_000)], by=V5)
    assert account.states().having(State.OPEN) == ("1",)


@pytest.mark.parametrize(
    ("made", "state", "code"),
    [
        ([took("1"), took(errors=[order_error("1", 1061)])], State.TAKEN, None),
        ([took("1"), took(errors=[order_error("1", 1063)])], State.TRIGGERED, 1063),
        ([took("1"), took(errors=[order_error("1", 1004)])], State.REFUSED, 1004),
        ([took("1", errors=[order_error("1", 1062)])], State.TAKEN, None),
        ([took("1", errors=[order_error("1", 1004)])], State.TAKEN, None),
        (
            [took(errors=[order_error("1", 1004), order_error("1", 1061)])],
            State.REFUSED,
            1004,
        ),
        (
            [took(errors=[order_error("1", 1061), order_error("1", 1004)])],
            State.REFUSED,
            1004,
        ),
        (
            [took(errors=[order_error("1", 1004)]), took(errors=[order_error("1", 1061)])],
            State.GONE,
            1061,
        ),
    ],
)
def test_what_was_said_of_one_order_twice(
    made: list[Made], state: State, code: Code | None
) -> None:
    """ "Not there" after a cancel that was taken is what that cancel did; within one reply what
    leaves it open counts; otherwise the later word does."""
    account = Account(Intent(ALL, ("1",)))
    account.said(*made, order_ids=("1",))
    order = account.states().orders["1"]
    assert order.state is state
    assert (None if order.error is None else order.error.err_code) == code


def test_answers_that_were_lost_are_counted_by_order() -> None:
    """Two lost ones are two; one that does not speak of an order is no lost one."""
    account = Account(Intent(ALL, ("1", "2")))
    account.said(LOST, LOST, order_ids=("1",))
    account.said(took(), UNSENT, order_ids=("2",))
    known = account.states()
    assert (known.orders["1"].losses, known.orders["2"].losses) == (2, 0)
    assert known.losses == 0
    assert known.orders["1"].tried == pytest.approx(0.3)
    assert known.orders["2"].tried == pytest.approx(0.5)
    assert either(v1(LOST, LOST)).states().losses == 2


def test_an_order_whose_answer_was_lost_makes_the_ids_incomplete() -> None:
    """Nobody knows what became of it, though the cancel named it."""
    told = either(lists("1", V5), v5(LOST, of="1")).report()
    assert (told.outcome, told.ids_complete) == (Outcome.UNKNOWN, False)


def test_a_lost_cancel_of_all_is_not_forgotten_over_one_by_ids() -> None:
    """What it took is in no answer; and what is open after it was asked to go."""
    does = [v1(LOST), v1(no(6002)), lists("1", V5), v5(LOST, of="1"), v5(took("1"), of="1")]
    known = either(*does).states()
    assert (known.losses, known.orders["1"].losses) == (1, 1)
    pinned = Account(Intent(ALL))
    pinned.said(LOST)
    lists("1")(pinned)
    assert pinned.report().outcome is Outcome.PARTIAL


def test_a_refusal_of_the_request_says_nothing_of_an_order_that_a_lost_answer_may_have_taken() -> (
    None
):
    """v1 lost its answer to a cancel of all, the account moved, and V5 refuses the whole request:
    an order that no list has shown since may be gone; one that was listed long after was not."""
    does = [lists("1"), v1(LOST), asked(no(6002)), v5(no(404), of="1")]
    assert either(*does).report().errors == ()
    assert either(*does).report().outcome is Outcome.UNKNOWN
    again = [*does[:-1], lists("1", V5, after=3.0), does[-1]]
    (error,) = either(*again).report().errors
    assert (error.order_id, error.err_code) == ("1", 404)


def test_a_refusal_before_a_lost_answer_is_no_error_of_an_order_that_is_gone() -> None:
    """The lost one may have taken it; one that is refused again after it is refused."""
    does = [lists("1", V5), v5(no(1032), of="1"), v5(LOST, of="1")]
    told = either(*does, lists("", V5), known=V5).report()
    assert (told.outcome, told.errors) == (Outcome.CLEAR_AFTER_RETRY, ())
    again = either(*does, v5(took(errors=[order_error("1", 1048)]), of="1"), known=V5).report()
    assert [error.err_code for error in again.errors] == [1048]


def test_a_refusal_before_a_lost_cancel_of_all_is_told_only_of_what_is_listed_long_after() -> None:
    """The lost one may have taken it, and a list shows it for a while; what was gone by the refusal
    itself it cannot have."""
    account = Account(Intent(ALL, until_clear=True))
    account.said(took(errors=[order_error("1", 1004), order_error("2", 1071)]))
    assert [error.order_id for error in account.report().errors] == ["1", "2"]
    account.said(LOST)
    told = account.report()
    assert (told.outcome, [error.order_id for error in told.errors]) == (Outcome.UNKNOWN, ["2"])
    account.listed(Kind.OPEN, [row("1")])
    told = account.report()
    assert (told.still_open, [error.order_id for error in told.errors]) == (("1",), ["2"])
    account.listed(Kind.OPEN, [row("1")])
    told = account.report()
    assert (told.outcome, [error.order_id for error in told.errors]) == (
        Outcome.PARTIAL,
        ["1", "2"],
    )


def test_a_request_that_is_refused_as_a_whole_says_nothing_of_what_a_lost_cancel_has_taken() -> (
    None
):
    """Listed in the moment in which the answer was lost, and refused by its id on V5: the one of
    all may have taken it. That V5 names it tells that it has not."""
    does = [v1(LOST), lists("1", V1), v5(no(1030), of="1")]
    told = either(*does).report()
    assert (told.outcome, told.errors) == (Outcome.UNKNOWN, ())
    named = either(*does, v5(took(errors=[order_error("1", 1030)]), of="1")).report()
    assert [error.err_code for error in named.errors] == [1030]


def test_what_a_list_shows_again_that_has_no_end_is_still_open() -> None:
    """Taken, and on a page of V5's list all the same: known to be open, though the list is not
    known to its end."""
    page = lists("1", V5, is_whole=False)
    told = either(page, v5(took("1"), of="1"), page, known=V5).report()
    assert (told.outcome, told.still_open, told.successes) == (Outcome.PARTIAL, ("1",), ())


@pytest.mark.parametrize(("answer", "still_open"), [(UNSENT, ("1",)), (LOST, ()), (no(1067), ())])
def test_a_cancel_that_never_left_changes_nothing_of_what_a_list_showed(
    answer: Made, still_open: tuple[str, ...]
) -> None:
    """After any other one the list is old."""
    account = Account(Intent(ALL, until_clear=True))
    account.said(took("2"))
    account.listed(Kind.OPEN, [row("1")])
    assert account.report().still_open == ("1",)
    account.said(answer)
    assert account.report().still_open == still_open


@pytest.mark.parametrize(("by", "is_all"), [(V1, True), (V5, False)])
def test_v5s_history_has_not_every_id_that_was_lost(by: ApiGeneration, is_all: bool) -> None:
    """It reaches back two days, and that may be to when orders were placed; v1's has all."""
    there = (
        [asked(no(6002)), lists("1", V5), v5(took("1"), of="1")] if by is V5 else [v1(took("1"))]
    )
    there.append(asked(took(ts=START + 500), by))
    told = either(v1(LOST), *there, lists("", by), history("1", by), known=V1).report()
    assert (told.outcome, told.successes) == (Outcome.CANCELLED, ("1",))
    assert told.ids_complete is is_all
    # A last page that is empty takes nothing back.
    pages = [v1(LOST), *there, lists("", by), history("1", by), history("", by)]
    assert either(*pages, known=V1).report().ids_complete is is_all


def test_what_was_taken_is_told_though_only_an_old_list_had_it_since() -> None:
    """Taken, listed once more, and another one cancelled after that list: an id is never lost."""
    does = [lists("12", V5), v5(took("1", "2"), of="12"), lists("12", V5), lists("23", V5)]
    told = either(*does, v5(took("3"), of="3"), until_clear=True).report()
    assert (told.successes, told.still_open) == (("1", "2", "3"), ())
    listed = either(*does, until_clear=True).report()
    assert (listed.successes, listed.still_open) == (("1",), ("2", "3"))


@pytest.mark.parametrize("answer", [no(1067), UNSENT])
@pytest.mark.parametrize("order_ids", [(), ("1", "2")])
def test_what_was_cancelled_beside_a_refusal_is_no_refusal(
    answer: Made, order_ids: tuple[str, ...]
) -> None:
    """By others, while the request for it was refused as a whole or never left: some are gone, and
    some are not."""
    does = [lists("12", V5), v5(answer, of="12"), history("1", V5), lists("2", V5)]
    told = either(*does, order_ids=order_ids).report()
    assert (told.outcome, told.successes) == (Outcome.PARTIAL, ("1",))


@pytest.mark.parametrize("order_ids", [(), ("1442564726303391763", "7")])
def test_a_rounded_id_is_that_of_the_order_that_is_known(order_ids: tuple[str, ...]) -> None:
    """Taken, no stranger beside one that was refused before; of two that are alike, neither."""
    told = Made(took().verdict, successes=("1442564726303391700", "7"), is_exact=False)
    exact = "1442564726303391763"
    before = [lists("", V1), v1(took(errors=[order_error(exact, 1088)]), of="")]
    account = either(*before, order_ids=order_ids, known=V1)
    account.said(told, order_ids=order_ids)
    report = account.report()
    assert sorted(report.successes) == [exact, "7"]
    assert (report.errors, report.ids_complete) == ((), False)
    two = either(v1(took(errors=[order_error(exact[:-1] + digit, 1088) for digit in "34"])))
    two.said(told)
    assert "1442564726303391700" in two.report().successes


def test_a_rounded_id_makes_the_ids_incomplete() -> None:
    """A number in the place of a text may have lost digits, whatever comes later."""
    account = Account(Intent(ALL))
    account.said(Made(took().verdict, successes=("1",), is_exact=False), took("2"))
    assert not account.report().ids_complete


def test_what_a_list_showed_is_gone_by_another_list_alone() -> None:
    """One reply to a cancel-all may be wrong; and a list has to be asked for after the other was
    answered."""
    account = Account(Intent(ALL))
    account.listed(Kind.OPEN, [row("1")])
    account.said(no(1051))
    assert account.states().having(State.OPEN) == ("1",)
    account.listed(Kind.OPEN, [], after=0.0)
    assert account.states().having(State.GONE) == ("1",)
    assert account.states().is_clear


def test_the_last_list_is_the_one_that_was_asked_for_last() -> None:
    """It shows what is meant alone, in its order; a cancel-all is no list."""
    account = either(lists("12"), lists("321", after=0.5), lists("3", V5, is_whole=False))
    account.said(took("3", "2", "1"))
    known = account.states()
    assert (known.shown(V1), known.shown(V5)) == (("3", "2", "1"), ())
    last = known.last_list(V1)
    assert last is not None
    assert last.asked == pytest.approx(2.7)
    by_ids = either(lists("12"), order_ids=("2",)).states()
    assert by_ids.shown(V1) == ("2",)


def test_offset_filters_are_sure_of_no_one_way_order() -> None:
    """What is left and one way may be no order of that offset: partial, not untried."""
    wanted = OrderFilter.checked(BTC, None, "open")
    for offset, outcome in (("both", Outcome.PARTIAL), ("open", Outcome.REFUSED)):
        account = Account(Intent(wanted))
        account.said(no(1014))
        account.listed(Kind.OPEN, [row("1", offset=offset)])
        assert account.report().outcome is outcome
    account = Account(Intent(ALL))
    account.said(no(1014))
    account.listed(Kind.OPEN, [row("1", offset="both")])
    assert account.report().outcome is Outcome.REFUSED


AT_ONCE = -0.1
"""Seconds after which what is asked for next is asked in the moment of the last answer."""


def test_of_two_answers_of_one_moment_the_one_that_took_the_order_holds() -> None:
    """It was refused, and taken by another request: a success has no error."""
    account = Account(Intent(ALL))
    account.said(took(errors=[order_error("1", 1004)]))
    account.now = 0.0
    account.said(took("1"))
    assert (account.report().successes, account.report().errors) == (("1",), ())


def test_a_list_that_lags_behind_a_cancel_by_ids_is_no_word_against_it() -> None:
    """For 2.5 s after its answer; what is listed from then on will not go by it."""
    for after, state in ((2.3, State.TAKEN), (2.5, State.OPEN)):
        account = Account(Intent(ALL, ("1",)))
        account.said(took("1"), order_ids=("1",))
        lists("1", after=after)(account)
        assert account.states().orders["1"].state is state


def test_what_is_asked_for_in_the_moment_of_an_answer_is_later_than_it() -> None:
    """As a procedure does that waits for nothing between the two."""
    assert either(v1(no(1051)), lists(by=V5, after=AT_ONCE)).states().is_clear
    assert either(v1(no(6002)), lists(by=V5, after=AT_ONCE)).states().is_clear

    def state(*does: Does) -> State:
        account = Account(Intent(ALL, ("1",)))
        for each in does:
            each(account)
        return account.states().orders["1"].state

    refused = v1(took(errors=[order_error("1", 1004)]), of="1")
    assert state(refused, lists("1", after=AT_ONCE)) is State.OPEN
    assert state(v1(LOST, of="1"), lists(after=AT_ONCE)) is State.GONE
    assert state(lists("1"), lists(after=AT_ONCE)) is State.GONE


def test_a_list_that_was_under_way_when_a_cancel_was_answered_is_not_the_last_word() -> None:
    """It may have been made before the cancel did its work, so that neither is proof."""
    account = Account(Intent(ALL))
    account.said(LOST)
    account.listed(Kind.OPEN, [], after=-0.15)
    assert account.report().outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("before", "is_own"),
    [
        (v1(took("1"), of="1"), True),
        (v1(LOST, of="1"), True),
        (lists("1"), True),
        (v1(took(errors=[order_error("1", 1071)]), of="1"), False),
    ],
)
def test_what_the_history_has_as_cancelled_is_this_calls_where_it_was_open_before(
    before: Does, is_own: bool
) -> None:
    """Listed, or taken, or perhaps so; an order that was said to be cancelled before is not."""
    account = Account(Intent(ALL, ("1",)))
    before(account)
    history("1")(account)
    assert account.states().orders["1"].state is State.CANCELLED
    assert account.report().successes == (("1",) if is_own else ())


def test_successes_are_told_in_the_order_in_which_they_were_taken() -> None:
    """Not in that of the list that showed them; taken once more, an order keeps its place."""
    account = Account(Intent(ALL))
    lists("12")(account)
    account.said(took("2"), took("1"), took("2"))
    assert account.report().successes == ("2", "1")


def test_a_list_that_v1_hands_out_again_ends_the_doubt() -> None:
    """After it was not served, any list is an answer for the account; none at all is not."""
    away = asked(no(10000))
    assert problem(either(away, asked(LOST)).states()).startswith(SAYS_NOTHING)
    assert either(away).states().is_open_question
    again = problem(either(away, asked(took())).states())
    assert again == "nobody has answered for the account"


def test_ids_that_one_code_answered_together_are_to_be_asked_for_alone() -> None:
    """1051 to two of them speaks of neither; to one alone it speaks of that one."""
    account = Account(Intent(ALL, ("1", "2", "3")))
    account.said(no(1051), order_ids=("1", "2"))
    account.said(no(1051), order_ids=("3",))
    orders = account.states().orders
    assert [orders[i].is_alone for i in "123"] == [True, True, False]


def test_nothing_is_confirmed_or_denied_of_a_call_that_changed_nothing() -> None:
    """What is open was open before: it is not told as still open after a cancel."""
    account = Account(Intent(ALL, confirm=True))
    account.said(no(1014))
    lists("1")(account)
    told = account.report()
    assert (told.outcome, told.confirmed, told.still_open) == (Outcome.REFUSED, None, ())


def test_a_report_names_the_family_of_its_orders() -> None:
    """Its words are of trailing orders only where those were cancelled."""
    other = CANCEL_ALL._replace(name="invented", family="trigger orders")
    account = Account(Intent(ALL, endpoint=other))
    account.said(took("1"))
    assert account.report().family == "trigger orders"


def test_a_report_counts_its_requests_and_its_reads_each_from_one() -> None:
    """Cancels are attempts; a list is a read, and the reason where it was all that was asked."""
    both = either(v1(took("1")), asked(took()), asked(no(1056))).report()
    assert [(a.number, a.code) for a in both.attempts] == [(1, None)]
    assert [(a.number, a.code) for a in both.reads] == [(1, None), (2, 1056)]
    assert [(a.number, a.code) for a in either(asked(no(1056))).report().attempts] == [(1, 1056)]
    assert either(asked(LOST)).report().attempts == ()
    assert either(asked(no(1056)), asked(LOST)).report().attempts == ()
    clear = either(lists(), asked(no(4007), V5)).report()
    assert (clear.outcome, clear.attempts) == (Outcome.NOTHING_TO_CANCEL, ())


def test_a_request_that_went_for_two_parts_is_one_attempt() -> None:
    """Of what was asked for; it keeps its number."""
    account = Account(Intent(ALL, ("1", "2", "3")))
    account.said(took("1"), order_ids=("1",))
    (heard,) = account.states().cancels
    account.ledger.file(heard._replace(order_ids=("2",)))
    account.said(took("3"), order_ids=("3",))
    assert [attempt.number for attempt in account.report().attempts] == [1, 2]


def test_a_report_tells_the_seconds_since_the_call_began() -> None:
    """By the loop's clock, whatever that shows."""
    assert report(states(Intent(ALL), Ledger(10.0, V1)), 12.5).elapsed == 2.5


def test_the_way_out_is_told_for_trailing_orders_alone() -> None:
    """No call of V5 can tell of another family, so a session on V5 would be none."""
    other = CANCEL_ALL._replace(name="invented", family="trigger orders")
    told = either(v1(no(10000)), endpoint=other).report().ended_by
    assert told.startswith(SAYS_NOTHING)
    assert not told.endswith(WAY_OUT)


def test_a_list_that_is_early_is_told_beside_a_clear_call_alone() -> None:
    """Beside an unknown one there is more to say; one from before the cancel was late enough."""
    early = Account(Intent(ALL, confirm=True))
    early.said(LOST, no(1014))
    early.listed(Kind.OPEN, [], after=-0.15)
    assert (early.report().outcome, early.report().warnings) == (Outcome.UNKNOWN, ())
    before = either(lists("1", V5), v5(took("1"), of="1"), known=V5, confirm=True).report()
    assert (before.outcome, before.warnings) == (Outcome.CANCELLED, ())


@pytest.mark.parametrize(
    ("then", "outcome"),
    [(LOST, Outcome.UNKNOWN), (no(1014), Outcome.PARTIAL), (UNSENT, Outcome.CANCELLED)],
)
def test_what_is_sent_after_a_cancel_was_taken_is_no_longer_covered_by_it(
    then: Made, outcome: Outcome
) -> None:
    """Unless it never left: another cancel is sent because there may be more orders."""
    assert outcome_of(v1(took("1")), v1(then)) is outcome


def test_words_of_v5_count_for_nothing_once_it_has_no_such_account() -> None:
    """An empty list from before is no proof that neither generation has an order."""
    gone = either(lists(by=V5), v1(no(6002)), asked(no(4007), V5)).states()
    assert (set(gone.on), gone.is_covered) == (set(), False)
    others = either(lambda account: account.listed(Kind.OPEN, [OTHER], by=V5))
    for each in (v1(no(6002)), asked(no(4007), V5)):
        each(others)
    assert (set(others.states().on), others.states().is_covered) == (set(), False)


def test_v5s_word_on_the_account_counts_from_when_it_was_asked_for() -> None:
    """From before v1's last answer it settles nothing; from its very moment it does."""

    def account(code: int, asked_at: float) -> Account:
        made = either(v1(no(code)))
        made.now = asked_at
        asked(no(4007), V5)(made)
        return made

    assert account(10000, 0.05).states().is_open_question
    assert not account(10000, 0.1).states().is_open_question
    assert set(account(6002, 0.05).states().on) == {V5}
    assert set(account(6002, 0.1).states().on) == set()


@pytest.mark.parametrize(
    ("last", "is_covered"),
    [
        (v1(took("1")), False),
        (v1(took(errors=[order_error("1", 1061)])), False),
        (v1(took()), True),
        (v1(no(1051)), True),
        (lists(), True),
        (lists("1"), True),
    ],
)
def test_until_clear_a_reply_that_names_orders_is_not_the_last_word(
    last: Does, is_covered: bool
) -> None:
    """There may be more of them; a list is, and so is a reply that found nothing."""
    account = Account(Intent(ALL, until_clear=True))
    v1(took("2"))(account)
    last(account)
    assert account.states().is_covered is is_covered


def test_until_clear_what_was_said_before_a_round_does_not_cover_it() -> None:
    """What was placed since counts, too, and nobody has told of that."""
    account = Account(Intent(ALL, until_clear=True))
    account.said(took("1"))
    account.listed(Kind.OPEN, [])
    assert account.states().is_covered
    account.ledger.file(Round((BTC,), account.now))
    assert not account.states().is_covered
    account.listed(Kind.OPEN, [], after=0.0)
    assert account.states().is_covered
    account.listed(Kind.OPEN, [])
    assert account.states().is_covered


@pytest.mark.parametrize("code", [1061, 1062, 1071])
def test_what_is_told_to_be_going_is_taken_whatever_a_list_showed(code: int) -> None:
    """Its cancel was taken, and a list asked for since had it still."""
    going = took(errors=[order_error("1", code)])
    listed = lists("1", V5, after=3.0)
    account = either(v5(took("1"), of="1"), listed, known=V5, order_ids=("1",))
    assert account.states().having(State.OPEN) == ("1",)
    v5(going, of="1")(account)
    assert account.states().having(State.TAKEN) == ("1",)
    assert account.report().successes == ("1",)


@pytest.mark.parametrize(("ahead", "is_complete"), [(0, True), (3_600_000, False)])
def test_the_history_has_all_ids_only_where_clocks_agree_on_since_when(
    ahead: int, is_complete: bool
) -> None:
    """An answer was lost, and the history tells of an order that the call has cancelled."""
    account = Account(Intent(ALL))
    account.said(LOST)
    account.said(no(1051, ts=START + 300))
    account.listed(Kind.OPEN, [row("1")], after=AT_ONCE, is_whole=False)
    account.listed(Kind.OPEN, [])
    account.said(took(ts=START + 2750 + ahead), kind=Kind.ENDED)
    account.listed(Kind.ENDED, [row("1", status=6)])
    assert account.report().successes == ("1",)
    assert account.report().ids_complete is is_complete


def test_the_history_has_all_ids_only_where_it_was_read_to_its_end_since_the_loss() -> None:
    """One of its pages has some of them, and one that was read before a loss has none of that."""
    account = Account(Intent(ALL, confirm=True))
    account.said(LOST)
    account.said(no(1051, ts=START + 300))
    account.listed(Kind.OPEN, [])
    account.listed(Kind.ENDED, [row("1", status=6)], is_whole=False)
    report = account.report()
    assert (report.successes, report.ids_complete) == (("1",), False)
    assert "not read to its end" in report.warnings[-1]
    account.listed(Kind.ENDED, [row("1", status=6), row("2", status=6)])
    report = account.report()
    assert (report.successes, report.ids_complete, report.warnings) == (("1", "2"), True, ())
    account.said(LOST)
    account.said(no(1051, ts=START + 7_700))
    account.listed(Kind.OPEN, [])
    assert not account.report().ids_complete


@pytest.mark.parametrize("order_ids", [("1",), ()])
@pytest.mark.parametrize(
    ("after", "ahead", "successes"),
    [(100, 0, ("1",)), (-60_000, 0, ()), (-60_000, 3_600_000, ("1",)), (None, 0, ("1",))],
)
def test_what_had_ended_before_the_call_is_no_success_of_a_lost_cancel(
    order_ids: tuple[str, ...], after: int | None, ahead: int, successes: tuple[str, ...]
) -> None:
    """By clocks that agree; where the history does not tell when, the lost answer may have."""
    account = Account(Intent(ALL, order_ids))
    account.said(LOST, order_ids=("1",))
    account.said(took(ts=START + 250), took(ts=START + 450 + ahead), kind=Kind.ENDED)
    account.listed(Kind.OPEN, [])
    account.listed(Kind.ENDED, [row("1", status=6, after=after)])
    assert account.report().successes == successes


def test_where_no_reply_tells_its_time_the_history_tells_of_no_other_orders() -> None:
    """What was cancelled or has triggered weeks ago would be called this call's; the ids that a
    lost answer took stay unknown."""
    old = [row("1", status=6), row("2", status=6, after=-60_000), row("3", status=4, after=-60_000)]
    account = Account(Intent(ALL))
    account.said(LOST, took("1"))
    account.listed(Kind.OPEN, [])
    account.listed(Kind.ENDED, old)
    report = account.report()
    assert (report.successes, report.triggered, report.ids_complete) == (("1",), (), False)
    # As where they tell it by another clock than that of orders, an hour behind it.
    page = Page((row("1", created_at=START),))
    account.said(Made(took().verdict, ts=START - 3_600_000, data=page), kind=Kind.OPEN)
    report = account.report()
    assert (report.successes, report.triggered, report.ids_complete) == (("1",), (), False)
    assert account.states().times.do_agree


@pytest.mark.parametrize(
    ("ended", "successes"),
    [
        (row("1", status=6, after=-51), ("1",)),
        (row("1", status=6, after=-52), ()),
        (row("1", status=6, after=-52, canceled_at=None), ()),
        (row("1", status=6, after=-52, update_time=None), ()),
    ],
)
def test_an_order_had_ended_before_the_call_when_it_certainly_had(
    ended: TrailingOrder, successes: tuple[str, ...]
) -> None:
    """By either of its times: the call began 51 ms before its start at the earliest."""
    account = Account(Intent(ALL, ("1",)))
    account.said(LOST, order_ids=("1",))
    account.said(took(ts=START + 250), took(ts=START + 450), kind=Kind.ENDED)
    account.listed(Kind.ENDED, [ended])
    assert account.report().successes == successes


def test_a_cancel_by_ids_is_covered_by_its_answers() -> None:
    """It speaks of no other orders, so no list is needed."""
    account = Account(Intent(ALL, ("1",)))
    account.said(took("1"), order_ids=("1",))
    assert account.states().is_clear


def test_an_order_that_was_listed_since_the_last_cancel_is_still_open() -> None:
    """From the moment of its answer on; in a list from before it, it may be gone by now."""
    account = Account(Intent(ALL))
    account.said(took("2"))
    account.listed(Kind.OPEN, [row("1")], after=AT_ONCE)
    assert account.report().still_open == ("1",)
    account.said(took("2"))
    assert account.report().still_open == ()


def test_what_was_taken_is_still_open_by_a_list_that_ends_early_too() -> None:
    """What was taken and is shown since is open again; what else such a list shows is not told."""
    account = Account(Intent(ALL))
    account.said(took("1"))
    account.listed(Kind.OPEN, [row("1"), row("2")], after=AT_ONCE, is_whole=False)
    assert account.states().having(State.OPEN) == ("1", "2")
    assert account.report().still_open == ("1",)
    account.said(took("3"))
    assert account.report().still_open == ()
