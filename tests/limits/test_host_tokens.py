"""What stands in the file of a host's processes, step by step; time is what a test says it is."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from htx_async.limits.host_records import Asked
from htx_async.limits.host_tokens import ASK_EVERY, HostTokens
from htx_async.limits.shared_store import ASK_AGAIN, ASKING, FENCED, GRANTED, Rule, Taken
from tests.support.virtual import SOAK

PATH, READS = "/an/endpoint", "reads"
PER, LEASE, PROBE = 100.0, 500.0, 20.0


class Shelf:
    """The tokens of an account that was used long ago, unless it `is_new`."""

    def __init__(
        self, size: int = 2, *, is_new: bool = False, account: int = 72, ordinary: int = 60
    ) -> None:
        self.tokens = HostTokens(1000.0 if is_new else -9000.0)
        self.tokens.at = 1000.0
        rules = (Rule(size, PER), Rule(account, 3 * PER))
        self.asked = Asked(PATH, *rules, ordinary, LEASE, PROBE)

    def wait(self, seconds: float) -> None:
        """Let time pass, and the file be read anew."""
        self.tokens = HostTokens.of(json.loads(json.dumps(self.tokens.content())))
        self.tokens.at += seconds

    def take(self, *names: str, urgent: bool = False) -> list[Taken]:
        return [self.tokens.take(self.asked, name, urgent) for name in names]

    def settle(self, *names: str) -> None:
        self.tokens.settle(self.asked, names)

    def release(self, *names: str) -> None:
        self.tokens.release(self.asked, names)


NOW, AGAIN = Taken(GRANTED, 0.0), Taken(ASK_AGAIN, ASK_EVERY)


def at(seconds: float, status: int = GRANTED) -> Taken:
    return Taken(status, seconds)


def test_tokens_are_granted_up_to_the_size_and_then_asked_for_again() -> None:
    """While every token waits for an answer, nobody can know when one comes back."""
    one = Shelf()
    assert one.take("a", "b", "c") == [NOW, NOW, AGAIN]


def test_a_full_endpoint_is_asked_again_when_the_first_lease_ends() -> None:
    """If that is sooner than anybody asks anyway."""
    one = Shelf()
    one.take("a", "b")
    one.wait(LEASE - ASK_EVERY / 2)
    (taken,) = one.take("c")
    assert taken.status == ASK_AGAIN
    assert taken.wait == pytest.approx(ASK_EVERY / 2)


def test_a_settled_token_is_reserved_for_one_and_the_next_gets_the_next() -> None:
    """Each who asks learns when its own token comes; the same token is promised to one only."""
    one = Shelf()
    one.take("a", "b")
    one.settle("a")
    one.wait(40)
    one.settle("b")
    assert one.take("c", "d", "e") == [at(PER - 40), at(PER), AGAIN]


def test_a_reservation_is_granted_when_it_is_due() -> None:
    """Asked again before that, the same wait is told, and nobody else can have the token."""
    one = Shelf(1)
    one.take("a")
    one.settle("a")
    assert one.take("b", "b") == [at(PER), at(PER)]
    one.wait(PER)
    assert one.take("c", "b") == [AGAIN, NOW]
    assert one.tokens.tokens["b"].ends == one.tokens.at + LEASE


def test_a_token_that_was_not_used_is_free_at_once() -> None:
    """No hold, for the endpoint and for the account, however often it is said."""
    one = Shelf(1, account=1)
    one.take("a")
    one.release("a")
    one.release("a")
    assert one.take("b") == [NOW]


def test_a_released_reservation_is_free_when_it_would_have_been() -> None:
    """The request that used the token before it still counts."""
    one = Shelf(1)
    one.take("a")
    one.settle("a")
    one.take("b")
    one.wait(40)
    one.release("b")
    assert one.take("c") == [at(PER - 40)]


def test_a_holder_that_vanished_loses_its_token_with_its_lease() -> None:
    """Not before; what it says afterwards takes nothing from whoever has the token now."""
    one = Shelf(1)
    one.take("a")
    one.wait(LEASE - 10)
    assert one.take("b") == [AGAIN]
    one.wait(10)
    assert one.take("b") == [NOW]
    one.release("a")
    assert one.take("c") == [AGAIN]


def test_a_token_that_the_file_does_not_know_counts_from_its_answer() -> None:
    """It may have been in use when the file was lost, or its lease has ended since."""
    one = Shelf(1)
    one.settle("unknown")
    assert one.take("a") == [at(PER)]


def test_what_is_back_leaves_nothing_in_the_file() -> None:
    """A host that runs for years stores no more than what is out at the moment."""
    one = Shelf()
    for name in "abcdef":
        one.take(name)
        one.settle(name)
        one.wait(3 * PER)
    one.take("g")
    assert set(one.tokens.tokens) == {"g"}
    assert one.tokens.endpoints[PATH].wishes == {}


def test_a_new_file_counts_every_token_as_just_used() -> None:
    """And gives those who do without it the time of a probe to find it."""
    one = Shelf(is_new=True)
    fenced = at(PROBE + PER, FENCED)
    assert one.take("a", "b", "c") == [fenced, fenced, AGAIN]
    one.wait(PROBE + PER)
    assert one.take("a", "b") == [NOW, NOW]


def test_an_endpoint_that_is_asked_for_later_is_closed_as_long() -> None:
    """Its tokens may have been used before the file was begun, too; later they cannot."""
    for passed, expected in ((50, at(PROBE + PER - 50, FENCED)), (PROBE + PER, NOW)):
        one = Shelf(is_new=True)
        one.tokens.join(one.asked._replace(endpoint="/another"), "x", False, 0, ())
        one.wait(passed)
        assert one.take("a") == [expected]


def test_of_the_broad_budgets_of_a_new_file_half_is_used() -> None:
    """Of trade calls by everybody, and of reads, which one endpoint could not have used up."""
    one = Shelf(50, is_new=True)
    reads = one.asked._replace(endpoint=READS, account=None, broad=True)
    got = [one.tokens.take(reads, f"r{n}", False).wait for n in range(50)]
    assert got == [0.0] * 25 + [PROBE + PER] * 25
    one.wait(PROBE + PER)
    waits = [taken.wait for taken in one.take(*map(str, range(50)))]
    assert waits == [0.0] * 24 + [2 * PER] * 26


def test_one_urgent_caller_passes_each_fence() -> None:
    """The second one waits, but before an ordinary one."""
    one = Shelf(is_new=True)
    one.take("a")
    assert one.take("b", urgent=True) == [NOW]
    assert one.take("c", urgent=True) == [at(PROBE + PER, FENCED)]
    assert one.take("a") == [AGAIN]


def test_both_limits_hold_and_ordinary_calls_leave_a_part_of_the_accounts_to_urgent_ones() -> None:
    """Reads do not count."""
    one = Shelf(10, account=3, ordinary=2)
    other = one.asked._replace(endpoint="/another")
    reads = one.asked._replace(endpoint=READS, account=None)
    assert one.tokens.take(reads, "r", False) == NOW
    assert one.take("a", "b", "c") == [NOW, NOW, AGAIN]
    assert one.tokens.take(other, "d", True) == NOW
    one.settle("a")
    assert one.take("c") == [AGAIN]
    one.settle("b")
    assert one.take("c") == [at(3 * PER)]


def test_an_urgent_caller_gets_what_an_ordinary_one_has_reserved() -> None:
    """The first of them; who had it gets a later one, or asks again."""
    one = Shelf()
    one.take("a", "b")
    one.settle("a")
    one.wait(40)
    one.settle("b")
    one.take("c")
    assert one.take("u", urgent=True) == [at(PER - 40)]
    assert one.take("c") == [at(PER)]
    assert one.take("v", urgent=True) == [at(PER)]
    assert one.take("c") == [AGAIN]


def test_an_urgent_caller_takes_over_what_its_own_process_has_reserved() -> None:
    """And changes places with an ordinary one whose token comes sooner."""
    one = Shelf()
    one.take("a", "b")
    one.settle("a")
    one.wait(40)
    one.settle("b")
    one.take("c", "d")
    assert one.take("d", urgent=True) == [at(PER - 40)]
    assert one.take("c", "d") == [at(PER), at(PER - 40)]


def test_a_token_that_is_all_but_due_is_its_holders() -> None:
    """It may have been handed out: two requests would use it."""
    one = Shelf(1)
    one.take("a")
    one.settle("a")
    one.take("b")
    one.wait(PER - 0.02)
    assert one.take("u", urgent=True) == [AGAIN]
    (taken,) = one.take("b")
    assert taken.status == GRANTED
    assert taken.wait == pytest.approx(0.02)


def test_who_wished_for_a_token_gets_the_next_and_urgent_ones_first() -> None:
    """However often others ask meanwhile; a wish that nobody repeats is over soon."""
    one = Shelf(1)
    one.take("a")
    one.take("b", "c")
    one.take("u", urgent=True)
    one.settle("a")
    assert one.take("d", "c", "b") == [AGAIN] * 3
    assert one.take("u", urgent=True) == [at(PER)]
    assert one.take("d", "c", "b") == [AGAIN] * 3
    one.release("u")
    assert one.take("d", "c") == [AGAIN] * 2
    assert one.take("b") == [at(PER)]
    one.release("b")
    one.wait(5 * ASK_EVERY)
    assert one.take("d") == [at(PER - 5 * ASK_EVERY)]


def test_of_those_who_wish_the_one_that_used_fewer_goes_first() -> None:
    """A process with many callers takes no more than one with few."""
    one = Shelf(2)
    one.take("x:1", "y:1")
    one.settle("y:1")
    one.wait(2 * PER)
    one.take("y:2")
    assert one.take("y:3", "x:2") == [AGAIN, AGAIN]
    one.settle("y:2")
    assert one.take("y:3") == [AGAIN]
    assert one.take("x:2") == [at(PER)]


def test_a_process_that_did_without_closes_what_nobody_used_meanwhile() -> None:
    """The others may have done without it, too; not if somebody took a token of late."""
    for since, expected in ((PER, at(PROBE + PER, FENCED)), (PER / 2, NOW)):
        one = Shelf()
        one.take("a")
        one.release("a")
        one.wait(since)
        one.tokens.join(one.asked, "j", True, 0, ())
        assert one.take("b") == [expected]


def test_what_a_process_used_meanwhile_counts() -> None:
    """What was answered comes back a period later, what was not waits for its answer."""
    one = Shelf(3)
    one.tokens.join(one.asked, "j", False, 2, ("out",))
    assert one.take("a", "b") == [at(PER), at(PER)]
    assert one.take("c") == [AGAIN]
    one.settle("out")
    assert one.take("c") == [at(PER)]


def test_a_pause_holds_everyone_and_a_shorter_one_does_not_end_it() -> None:
    """Free tokens and reservations alike, urgent or not."""
    one = Shelf()
    one.tokens.pause(one.asked, 3 * PER)
    one.tokens.pause(one.asked, PER)
    assert one.take("a") == [at(3 * PER)]
    assert one.take("b", urgent=True) == [at(3 * PER)]


def test_a_slower_limit_counts_for_what_is_on_its_way_back_and_is_believed_for_a_minute() -> None:
    """A less slow one repeats nothing; a reservation by the faster one is none any more."""
    one = Shelf()
    one.take("a", "b")
    one.settle("a", "b")
    assert one.take("c") == [at(PER)]
    one.tokens.tighten(one.asked, Rule(1, 3 * PER))
    one.tokens.tighten(one.asked, Rule(2, 2 * PER))
    assert one.take("c") == [at(3 * PER)]
    one.wait(59.5)
    assert one.take("c") == [at(3 * PER - 59.5)]
    one.wait(0.5)
    assert one.take("c") == [at(PER - 60)]


def test_a_slower_limit_that_is_undone_is_gone_for_all() -> None:
    """Whoever has reserved a token by it asks for another one."""
    one = Shelf()
    one.tokens.tighten(one.asked, Rule(1, 3 * PER))
    one.take("a")
    one.settle("a")
    assert one.take("b") == [at(3 * PER)]
    one.tokens.loosen(one.asked)
    assert one.take("b") == [NOW]


def test_urgent_callers_keep_one_a_second_however_slow_a_limit_is() -> None:
    """As far as the endpoint's own limit lets them."""
    one = Shelf(2)
    one.tokens.tighten(one.asked, Rule(1, 9 * PER))
    one.take("a")
    one.settle("a")
    assert one.take("u", urgent=True) == [at(1.0)]
    assert one.take("v", urgent=True) == [at(PER)]


def test_after_a_refusal_one_asks_and_the_others_wait_for_its_answer() -> None:
    """Urgent ones wait a second; once it is open, everybody goes."""
    one = Shelf(9)
    one.tokens.shut(one.asked, 10.0, 30.0)
    assert one.take("a") == [at(10.0, ASKING)]
    assert one.take("b") == [AGAIN]
    assert one.take("u", urgent=True) == [at(1.0, ASKING)]
    one.wait(10.0)
    assert one.take("a", "b") == [at(0.0, ASKING), AGAIN]
    one.tokens.open(one.asked)
    assert one.take("b") == [NOW]


def test_a_refusal_is_forgotten_and_one_that_asked_in_vain_lets_the_next_ask() -> None:
    """Ten seconds after the time that it named, if nobody asks."""
    one = Shelf(9)
    one.tokens.shut(one.asked, 10.0, 30.0)
    one.take("a")
    one.settle("a")
    assert one.take("b") == [at(10.0, ASKING)]
    one.release("b")
    one.wait(40.0)
    assert one.take("c") == [NOW]


def test_who_uses_it_is_known_for_a_minute() -> None:
    """And counts as one that shares for five seconds."""
    one = Shelf()
    one.tokens.used_by("p", 41, "bot.py")
    one.tokens.used_by("q", 42, "htx-async")
    assert one.tokens.others("p", one.tokens.at) == 1
    one.wait(6)
    one.tokens.used_by("p", 41, "bot.py")
    assert one.tokens.others("q", one.tokens.at) == 1
    assert one.tokens.others("p", one.tokens.at) == 0
    one.wait(55)
    one.tokens.used_by("r", 43, "watchdog")
    assert [user.pid for user in one.tokens.users.values()] == [41, 43]


class Made(NamedTuple):
    """A request, from when it was sent until when it may have arrived; one that passed a fence."""

    sent: float
    latest: float
    passed: bool


@dataclass
class History:
    """Processes that share one file, with everything that may happen to them and to it."""

    chance: random.Random
    size: int
    made: list[Made] = field(default_factory=list)
    fenced: float = -1.0

    def run(self) -> None:
        one = Shelf(self.size, is_new=self.chance.random() < 0.5)
        out: dict[str, float] = {}
        names = (f"p{self.chance.randrange(4)}:{number}" for number in range(10_000))
        waiting: dict[str, bool] = {}
        for _ in range(200):
            one.wait(self.chance.choice((0, 0.01, 0.04, 1, PER / 7, PER / 2, PER)))
            self._happens(one, out, waiting)
            if len(waiting) < 6:
                waiting[next(names)] = self.chance.random() < 0.2
            for name, urgent in list(waiting.items()):
                self._ask(one, name, urgent, out, waiting)
        self.made += [Made(sent, one.tokens.at, False) for sent in out.values()]

    def _ask(
        self, one: Shelf, name: str, urgent: bool, out: dict[str, float], waiting: dict[str, bool]
    ) -> None:
        fence = one.tokens.endpoints[PATH].fence if PATH in one.tokens.endpoints else 0.0
        (taken,) = one.take(name, urgent=urgent)
        if taken.status == ASK_AGAIN or taken.wait > 0.02:
            return
        del waiting[name]
        fence = max(fence, one.tokens.endpoints[PATH].fence)
        if one.tokens.at < fence and taken.wait <= 0:
            # The documented one more.
            self.made.append(Made(one.tokens.at, one.tokens.at, True))
            one.settle(name)
        else:
            out[name] = one.tokens.at + taken.wait

    def _happens(self, one: Shelf, out: dict[str, float], waiting: dict[str, bool]) -> None:
        names = [name for name, sent in out.items() if sent <= one.tokens.at]
        for name in self.chance.sample(names, min(len(names), self.chance.randrange(3))):
            self.made.append(Made(out.pop(name), one.tokens.at, False))
            one.settle(name)
        what = self.chance.randrange(12)
        if what == 0 and waiting:
            name = self.chance.choice(list(waiting))
            del waiting[name]
            one.release(name)
        elif what == 1 and (names := [name for name in names if name in out]):
            # Killed with the token in hand: its request arrives within the lease, unanswered.
            name = self.chance.choice(names)
            sent = out.pop(name)
            self.made.append(Made(sent, min(sent + LEASE - PER, one.tokens.at), False))
        elif what == 2:
            one.tokens.pause(one.asked, PER / 3)
        elif what == 3:
            one.tokens.tighten(one.asked, Rule(1, 2 * PER))
        elif what == 4:
            one.tokens.loosen(one.asked)
        elif what == 5:
            one.tokens.shut(one.asked, 1.0, 1.0)
        elif what == 6:
            one.tokens.open(one.asked)
        elif what == 7 and not out:
            # Lost, torn, from before a reboot: begun anew.
            tokens = HostTokens(one.tokens.at)
            tokens.at = one.tokens.at
            one.tokens = tokens


def seeds(few: int) -> Iterator[int]:
    return iter(range(few * 50 if SOAK else few))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_no_history_lets_one_more_arrive_in_any_period(size: int) -> None:
    """Urgent and ordinary callers, killed holders, refusals, slower limits and files begun anew, in
    any order: whenever a request is sent, at most so many others could arrive within one period of
    it; the one that may pass a fence apart."""
    for seed in seeds(8):
        history = History(random.Random(seed), size)
        history.run()
        assert len(history.made) > 5
        counted = [one for one in history.made if not one.passed]
        for one in counted:
            before = [
                other
                for other in counted
                if other is not one and other.sent <= one.sent < other.latest + PER
            ]
            # Of equals the first has none before it.
            at_once = sum(other.sent == one.sent for other in before)
            assert len(before) - at_once < size, seed
            assert sum(other.sent == one.sent for other in counted) <= size, seed
