"""Judges a report by what the exchange itself saw: requests, and what became of each order."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from htx_async import Attempt, CancelReport, Outcome, Verdict
from htx_async.codes import SETTLED_ORDER_CODES
from htx_async.simulator import Order
from htx_async.simulator.orders import TRAILING, as_a_double

START = 1_700_000_000.0
"""Unix seconds at loop time 0."""

GRAIN = 0.002
"""Seconds: the exchange tells times in whole milliseconds."""

NOTHING_TAKEN = (Outcome.NOT_SENT, Outcome.REFUSED, Outcome.NOTHING_TO_CANCEL)


class Wanted(NamedTuple):
    """What a call is meant for: one contract, filtered, or single orders of it."""

    contract_code: str
    margin_mode: str
    direction: str | None = None
    offset: str | None = None
    order_ids: tuple[str, ...] = ()

    def means(self, order: Order) -> bool:
        """Whether it certainly is this order; an offset filter is not sure of one-way orders."""
        return self.may_mean(order) and self.offset in (None, order.offset)

    def may_mean(self, order: Order) -> bool:
        return (
            (order.contract_code, order.margin_mode) == (self.contract_code, self.margin_mode)
            and order.v5_type == TRAILING
            and self.direction in (None, order.direction)
            and (self.offset is None or order.offset in (self.offset, "both"))
            and (not self.order_ids or order.order_id in self.order_ids)
        )


@dataclass(eq=False)
class Letter:
    """One request, from when its sender let go of it; `sent` is False if no byte left.

    `ended`: when the sender had the answer, or gave up. `answered`: it had all of it.
    `tells_time`: the exchange's own time stands in it. `taken`: the orders whose cancel the
    exchange took with it. `in_book`: those that were open just after. `codes`: the contracts that
    it names. `is_shared`: it went for several calls; `parts`: for which contracts of each, by the
    identity of the list of its letters.
    """

    path: str
    body: bytes
    codes: tuple[str, ...]
    began: float
    sent: bool = True
    arrived: float | None = None
    ended: float | None = None
    answered: bool = False
    tells_time: bool = True
    taken: frozenset[str] = frozenset()
    in_book: frozenset[str] = frozenset()
    is_shared: bool = False
    parts: dict[int, set[str]] = field(default_factory=dict)

    @property
    def cancels(self) -> bool:
        return "cancel" in self.path

    @property
    def is_v5(self) -> bool:
        return self.path.startswith("/v5/")

    @property
    def lists_open(self) -> bool:
        return self.path.endswith(("openorders", "/opens"))

    @property
    def is_residual(self) -> bool:
        """Whether it came, or has yet to come, though its sender had given it up."""
        return self.ended is not None and (self.arrived is None or self.arrived > self.ended)


@dataclass
class Book:
    """Every order that was placed, when, and what is so of it now."""

    placed: dict[str, tuple[Order, float]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    """Orders whose cancel the exchange took, whoever sent it."""
    is_open: set[str] = field(default_factory=set)
    """Orders in the book, those being cancelled among them."""
    untouched: set[str] = field(default_factory=set)
    """Open orders that nobody cancels."""
    triggered: set[str] = field(default_factory=set)
    ended: dict[str, float] = field(default_factory=dict)
    """When an order was cancelled or triggered, in whole milliseconds."""
    lag: float = 0.0
    """Seconds until V5 lists an order that was placed."""


class Evidence(NamedTuple):
    """What is known of one call for one contract; `began`: when it was made."""

    wanted: Wanted
    began: float
    letters: Sequence[Letter]
    book: Book
    shared: Sequence[Letter] = ()
    """Requests of the call that name no contract."""

    @property
    def cancels(self) -> list[Letter]:
        return [letter for letter in self.letters if letter.cancels]

    @property
    def taken(self) -> set[str]:
        """Orders that this call took; of requests that others had a part in, what it means."""
        return {
            order_id
            for letter in self.cancels
            for order_id in letter.taken
            if not letter.is_shared or self.wanted.means(self.book.placed[order_id][0])
        }

    @property
    def taken_beside_others(self) -> set[str]:
        """What one request on V5 took may have been asked for by others alone, by its id."""
        return {i for x in self.cancels if x.is_shared and x.is_v5 for i in x.taken}

    def ended_before(self) -> set[str]:
        """Orders that ended before the call began, as far as the exchange's times can tell: they
        are as old as a reply's way back."""
        told = [x for x in (*self.letters, *self.shared) if x.answered and x.tells_time]
        ways = [x.ended - x.arrived for x in told if x.ended and x.arrived]
        since = self.began - min(ways, default=0.0) - GRAIN
        return {order_id for order_id, at in self.book.ended.items() if at < since}

    @property
    def is_by_v5(self) -> bool:
        """Whether V5 was asked at all."""
        return any(letter.is_v5 for letter in (*self.letters, *self.shared))

    def before(self, moment: float) -> list[Order]:
        """What the call certainly means of the orders placed before `moment`."""
        orders = (order for order, at in self.book.placed.values() if at <= moment)
        return [order for order in orders if self.wanted.means(order)]


def assert_true(report: CancelReport, seen: Evidence) -> None:
    """No outcome is better than its evidence, no id invented, none lost without a word."""
    _assert_every_request_is_told(report, seen)
    _assert_ids(report, seen)
    _assert_outcome(report, seen)
    if report.is_clear:
        _assert_clear(report, seen)
    if report.confirmed:
        _assert_gone(seen)


def assert_still_true(report: CancelReport, seen: Evidence) -> None:
    """What came to the exchange after the report was made does not belie it either."""
    if report.outcome in NOTHING_TAKEN:
        told = _settled(report) | set(report.triggered) | seen.taken_beside_others
        assert not seen.taken - told, "taken, and not told"
    if report.outcome is Outcome.NOT_SENT:
        assert all(letter.arrived is None for letter in seen.cancels), "it did arrive"


def _settled(report: CancelReport) -> set[str]:
    return {e.order_id for e in report.errors if e.err_code in SETTLED_ORDER_CODES}


def _assert_every_request_is_told(report: CancelReport, seen: Evidence) -> None:
    """Each request is an attempt or a read, and what was not answered is none of the good ones."""
    attempts, reads = list(report.attempts), report.reads
    lists = [letter for letter in seen.letters if not letter.cancels]
    if reads and len(attempts) > len(seen.cancels) and _are_same(attempts[-1], reads[-1]):
        # Where no list could be read, the refusal of the last one tells why.
        del attempts[-1]
    # Who leaves a request that others still wait for does not see how its connection fails.
    attempts = [a for a in attempts if a.sent or not a.shared_by]
    cancels = [x for x in seen.cancels if x.sent or not x.is_shared]
    _assert_told(attempts, cancels)
    # Lists of the account are read once for all contracts of a call, and told by those that had not
    # ended before.
    more = len(reads) - len(lists)
    assert 0 <= more <= len(seen.shared), "a list is not told, or told twice"
    if more:
        _assert_believed(reads, (*lists, *seen.shared))
    else:
        _assert_told(reads, lists)


def _assert_told(told: Sequence[Attempt], letters: Sequence[Letter]) -> None:
    assert [a.sent for a in told].count(True) == [x.sent for x in letters].count(True)
    assert len(told) == len(letters), "a request is not told, or told twice"
    _assert_believed(told, letters)


def _assert_believed(told: Sequence[Attempt], letters: Sequence[Letter]) -> None:
    believed = [a for a in told if a.verdict in (Verdict.ACCEPTED, Verdict.REFUSED)]
    assert len(believed) <= [x.answered for x in letters].count(True)
    assert all(a.sent == (a.verdict is not Verdict.NOT_SENT) for a in told)


def _are_same(one: Attempt, other: Attempt) -> bool:
    return one.model_copy(update={"number": other.number}) == other


def _assert_ids(report: CancelReport, seen: Evidence) -> None:
    wanted, placed = seen.wanted, seen.book.placed
    assert all(wanted.means(placed[order_id][0]) for order_id in seen.taken), "a stranger's"
    successes, settled = set(report.successes), _settled(report)
    refused = {e.order_id for e in report.errors if e.err_code is not None} - settled
    assert len(successes) == len(report.successes), "an id stands twice"
    # Lists do not tell who cancelled an order; an answer does.
    is_listed = any(x.lists_open and x.answered for x in (*seen.letters, *seen.shared))
    by_lists = is_listed or any(letter.is_v5 for letter in seen.cancels)
    known = seen.book.taken if by_lists else seen.taken
    if not report.ids_complete:
        known = known | {str(as_a_double(order_id)) for order_id in known}
    assert successes <= known, "an id is invented"
    # A request without an answer may come after the one that was refused.
    at = max((x.arrived or 0.0 for x in seen.cancels if x.answered), default=0.0)
    taken = {i for x in seen.cancels if x.arrived and x.arrived <= at for i in x.taken}
    taken &= seen.taken
    # What is being cancelled by a later round, and listed still, may keep its earlier refusal; and
    # one request on V5 may have taken for others what was refused when this call asked for it.
    elsewhere = set(report.still_open) | seen.taken_beside_others
    assert not refused & taken - elsewhere, "told as refused, and it was taken"
    triggered = set(report.triggered)
    assert not (successes | triggered - settled) & seen.ended_before(), "it was gone before"
    assert triggered <= seen.book.triggered
    elsewhere = settled | triggered | set(report.still_open)
    if report.ids_complete and report.outcome is not Outcome.UNKNOWN:
        elsewhere |= seen.taken_beside_others
        placed_since = {i for i in seen.taken if placed[i][1] > seen.began}
        elsewhere |= placed_since & seen.book.is_open
        assert seen.taken <= successes | elsewhere, "an id is missing"
    _assert_still_open(report, seen)


def _assert_still_open(report: CancelReport, seen: Evidence) -> None:
    still_open = set(report.still_open)
    if still_open:
        lists = [x for x in (*seen.letters, *seen.shared) if x.lists_open and x.answered]
        # The last one may have been answered with something else.
        is_at_once = any(still_open <= letter.in_book for letter in lists)
        # Of a list of several pages each row was open when its page was asked for.
        pages = [letter.in_book for letter in lists if letter.is_v5]
        assert is_at_once or still_open <= frozenset().union(*pages)
        assert not still_open & {*report.successes, *report.triggered}
        assert not report.is_clear


def _assert_outcome(report: CancelReport, seen: Evidence) -> None:
    verdicts = [attempt.verdict for attempt in report.attempts]
    if report.outcome is Outcome.NOT_SENT:
        assert not any(letter.sent for letter in seen.cancels), "something was sent"
    if report.outcome in NOTHING_TAKEN:
        told = _settled(report) | set(report.triggered) | seen.taken_beside_others
        assert not seen.taken - told, "something was taken"
    if report.outcome is Outcome.CANCELLED:
        assert seen.taken | set(report.successes) | _settled(report)
    if report.outcome is Outcome.CLEAR_AFTER_RETRY:
        assert Verdict.UNKNOWN in verdicts
    if report.outcome is Outcome.UNKNOWN:
        is_in_doubt = report.ended_by or seen.is_by_v5
        assert Verdict.UNKNOWN in verdicts or is_in_doubt or _is_untold(report, seen)
    if report.outcome is Outcome.REFUSED:
        assert Verdict.REFUSED in verdicts
    if report.outcome in (Outcome.REFUSED, Outcome.NOT_SENT):
        assert not report.successes


def _is_untold(report: CancelReport, seen: Evidence) -> bool:
    """Whether an accepted reply left out an id that it was asked for."""
    told = {*report.successes, *(error.order_id for error in report.errors)}
    return not told.issuperset(seen.wanted.order_ids)


def _assert_clear(report: CancelReport, seen: Evidence) -> None:
    """Nothing that the call means was left alone, and no lost answer is the last word."""
    settled = _settled(report)
    told = sorted((*seen.letters, *seen.shared), key=lambda letter: letter.began)
    words = [letter for letter in told if letter.cancels or letter.lists_open]
    # What was refused at first may have been cancelled by others by the time of a list.
    heard = [letter for letter in words if letter.cancels or letter.answered]
    is_listed = bool(heard) and heard[-1].lists_open
    assert is_listed or all(error.order_id in settled for error in report.errors)
    for number, letter in enumerate(words):
        if letter.cancels and letter.sent and not letter.answered:
            # Batches of ids go side by side, and each is repeated by itself, or with others.
            if not letter.is_v5 and any(x.is_v5 and x.answered for x in words):
                # V5 has its word on an account that is there; what v1 was asked is no matter then.
                continue
            ids = [i.encode() for i in seen.wanted.order_ids if i.encode() in letter.body] or [b""]
            later = [x.body for x in words[number + 1 :] if x.answered]
            is_told = all(any(i in body for body in later) for i in ids)
            assert is_told, "clear, though the last answer was lost"
    since = seen.began
    last = seen.cancels[-1] if seen.cancels else None
    if last is not None and not last.is_v5 and report.confirmed is None:
        # Where it did not arrive, a list is the word.
        assert last.arrived is not None or is_listed_at_all(seen)
        # What is placed in the same moment may come after it.
        since = max(seen.began, (last.arrived or 0.0) - GRAIN)
    if report.confirmed is None and seen.is_by_v5:
        # Nothing is promised about an order that was not listed yet.
        since -= seen.book.lag
    left = {order.order_id for order in seen.before(since)} & seen.book.untouched
    assert not left, "clear, and an order is left"


def is_listed_at_all(seen: Evidence) -> bool:
    """Whether a list of open orders was answered."""
    return any(x.lists_open and x.answered for x in (*seen.letters, *seen.shared))


def _assert_gone(seen: Evidence) -> None:
    placed: Collection[tuple[Order, float]] = seen.book.placed.values()
    meant = {o.order_id for o, at in placed if at <= seen.began and seen.wanted.may_mean(o)}
    assert not meant & seen.book.is_open, "confirmed, and an order is open"
