"""The script and the store around it, operation by operation, against a real server.

Periods are long and nobody waits for them: what is stored is made older instead.
"""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.asyncio import Redis

from htx_async import InvalidRequest
from htx_async.limits.redis_link import TO_CONNECT, RedisLink, check_client, connect
from htx_async.limits.redis_store import RedisStore, try_out
from htx_async.limits.shared_store import (
    ASK_AGAIN,
    FENCED,
    GRANTED,
    TOO_LATE,
    WITHIN,
    Rule,
    Taken,
    Unreachable,
)
from htx_async.redis_limits import RedisTokenBucket
from tests.support.fault_server import bounded
from tests.support.leak_search import in_exception
from tests.support.redis_server import PATH, Proxy, RedisServer, Stored, running
from tests.support.shelf import LEASE, PER, PROBE, shelf, soon_after

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tasks")]


SLACK = 1.0
"""Seconds that a busy machine may add."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One server for all tests of this module; each uses an account of its own."""
    with running() as started:
        yield started


@bounded
async def test_tokens_are_granted_up_to_the_size_and_then_asked_for_again(
    server: RedisServer,
) -> None:
    """While every token waits for an answer, nobody can know when one comes back."""
    async with shelf(server) as (store, stored):
        assert await store.take("a", urgent=False) == Taken(GRANTED, 0.0)
        assert await store.take("b", urgent=False) == Taken(GRANTED, 0.0)
        assert await store.take("c", urgent=False) == Taken(ASK_AGAIN, PER * 3 / 4)
        assert set(stored.tokens(stored.waiting)) == {"a", "b"}


@bounded
async def test_a_full_endpoint_is_asked_again_when_the_first_lease_ends(
    server: RedisServer,
) -> None:
    """Unless its holder settles before: that would free the token a period later, at best."""
    async with shelf(server) as one:
        await one.take("a", "b")
        one.stored.age(LEASE - 10)
        assert await one.take("c") == [Taken(ASK_AGAIN, soon_after(10))]


@bounded
async def test_a_settled_token_is_reserved_for_one_and_the_next_gets_the_next(
    server: RedisServer,
) -> None:
    """Each who asks learns when its own token comes; the same token is promised to one only."""
    async with shelf(server) as one:
        await one.take("a", "b")
        await one.store.settle("a")
        one.stored.age(40)
        await one.store.settle("b")
        first, second, third = await one.take("c", "d", "e")
        assert first == Taken(GRANTED, soon_after(PER - 40))
        assert second == Taken(GRANTED, soon_after(PER))
        assert third.status == ASK_AGAIN


@bounded
async def test_a_reservation_is_granted_when_it_is_due(server: RedisServer) -> None:
    """Asked again before that, the same wait is told, and nobody else can have the token."""
    async with shelf(server, size=1) as one:
        await one.take("a")
        await one.store.settle("a")
        assert await one.take("b", "b") == [Taken(GRANTED, soon_after(PER))] * 2
        one.stored.age(PER)
        assert (await one.take("c"))[0].status == ASK_AGAIN
        assert await one.take("b") == [Taken(GRANTED, 0.0)]
        (ends,) = one.stored.tokens(one.stored.waiting).values()
        last = int(one.stored.fields()["last"])
        assert ends == last + LEASE * 1e6


@bounded
async def test_too_many_tokens_on_their_way_back_let_nobody_through_early(
    server: RedisServer,
) -> None:
    """With more out than there are, as after a change-over, the k-th that comes back counts."""
    async with shelf(server, size=2) as one:
        await one.store.join("x", was_away=False, used=1, waiting=())
        one.stored.age(30)
        await one.store.join("y", was_away=False, used=1, waiting=())
        one.stored.age(30)
        await one.store.join("z", was_away=False, used=1, waiting=())
        first, second, third = await one.take("a", "b", "c")
        assert first == Taken(GRANTED, soon_after(PER - 30))
        assert second == Taken(GRANTED, soon_after(PER))
        assert third.status == ASK_AGAIN


@bounded
async def test_a_token_that_was_not_used_is_free_at_once(server: RedisServer) -> None:
    """No hold, for the endpoint and for the account."""
    async with shelf(server, size=1, trade=Rule(1, PER)) as one:
        await one.take("a")
        await one.store.release("a")
        await one.store.release("a")
        assert await one.take("b") == [Taken(GRANTED, 0.0)]


@bounded
async def test_a_released_reservation_is_free_when_it_would_have_been(
    server: RedisServer,
) -> None:
    """The request that used the token before it still counts."""
    async with shelf(server, size=1) as one:
        await one.take("a")
        await one.store.settle("a")
        await one.take("b")
        one.stored.age(40)
        await one.store.release("b")
        assert await one.take("c") == [Taken(GRANTED, soon_after(PER - 40))]


@bounded
async def test_a_holder_that_vanished_loses_its_token_with_its_lease(server: RedisServer) -> None:
    """Not before; and what it says afterwards changes nothing."""
    async with shelf(server, size=1) as one:
        await one.take("a")
        one.stored.age(LEASE - 10)
        assert (await one.take("b"))[0].status == ASK_AGAIN
        one.stored.age(10)
        assert await one.take("b") == [Taken(GRANTED, 0.0)]
        await one.store.release("a")
        assert set(one.stored.tokens(one.stored.waiting)) == {"b"}


@bounded
async def test_tokens_that_are_back_leave_nothing_on_the_server(server: RedisServer) -> None:
    """A fleet that runs for years stores no more than what is out at the moment."""
    async with shelf(server) as one:
        for name in "abcdef":
            await one.take(name)
            await one.store.settle(name)
            one.stored.age(PER * 3)
        await one.take("g")
        stored = one.stored
        assert [stored.tokens(key) for key in (stored.back, stored.account_back)] == [{}, {}]
        assert set(stored.tokens(stored.waiting)) == {"g"}
        assert set(stored.tokens(stored.account_waiting)) == {"g"}


@bounded
async def test_a_pause_holds_everyone_and_a_shorter_one_does_not_end_it(
    server: RedisServer,
) -> None:
    """Free tokens and reservations alike, urgent or not."""
    async with shelf(server) as one:
        await one.take("a")
        await one.store.settle("a")
        await one.store.pause(PER * 3)
        await one.store.pause(PER)
        assert await one.take("b") == [Taken(GRANTED, soon_after(PER * 3))]
        assert await one.take("c", urgent=True) == [Taken(GRANTED, soon_after(PER * 3))]
        one.stored.age(PER * 3)
        assert await one.take("b", "c") == [Taken(GRANTED, 0.0)] * 2


@bounded
async def test_a_slower_limit_is_believed_for_a_minute(server: RedisServer) -> None:
    """One odd header of the exchange must not slow a fleet down for good."""
    async with shelf(server) as one:
        await one.store.tighten(Rule(1, PER))
        one.stored.age(59.5)
        await one.take("a")
        assert (await one.take("b"))[0].status == ASK_AGAIN
        one.stored.age(0.5)
        assert await one.take("b") == [Taken(GRANTED, 0.0)]
        assert (await one.take("c"))[0].status == ASK_AGAIN


@bounded
async def test_a_limit_is_only_ever_tightened(server: RedisServer) -> None:
    """Fewer or later, never more or sooner; it counts for what is on its way back, too."""
    per = 5.0
    async with shelf(server, per=per) as one:
        await one.take("a")
        await one.store.settle("a")
        await one.store.tighten(Rule(5, per / 2))
        assert one.stored.fields() | {"size": "2", "per": str(int(per * 1e6))} == (
            one.stored.fields()
        )
        await one.store.tighten(Rule(1, per * 3))
        assert await one.take("b") == [Taken(GRANTED, soon_after(per * 3))]
        one.stored.age(per * 3)
        assert await one.take("b") == [Taken(GRANTED, 0.0)]
        assert (await one.take("c"))[0].status == ASK_AGAIN
        await one.store.settle("b")
        assert await one.take("c") == [Taken(GRANTED, soon_after(per * 3))]


@bounded
async def test_a_token_that_the_server_does_not_know_counts_from_its_answer(
    server: RedisServer,
) -> None:
    """It may have been in use when the store was lost, or its lease has ended since."""
    async with shelf(server, size=1) as one:
        await one.store.settle("unknown")
        assert set(one.stored.tokens(one.stored.back)) == {"unknown"}
        assert set(one.stored.tokens(one.stored.account_back)) == {"unknown"}
        assert await one.take("a") == [Taken(GRANTED, soon_after(PER))]


@bounded
async def test_a_store_older_than_what_was_seen_of_it_is_as_good_as_empty(
    server: RedisServer,
) -> None:
    """From a snapshot, or a replica that was behind: nobody knows what was used since."""
    async with shelf(server) as one:
        await one.take("a")
        old = one.stored.fields()["last"]
        await one.store.pause(PER * 9)
        await one.take("b")
        with one.stored.client() as client:
            client.hset(one.stored.endpoint, "last", old)
        assert await one.take("c") == [Taken(FENCED, soon_after(PROBE + PER))]
        assert set(one.stored.tokens(one.stored.waiting)) == {"c"}
        assert "pause" not in one.stored.fields()
        # Seen by one is seen by all: nobody closes it a second time.
        one.stored.age(PROBE + PER)
        assert await one.take("c") == [Taken(GRANTED, 0.0)]


@bounded
async def test_an_older_store_is_known_from_the_first_word_on(server: RedisServer) -> None:
    """Whoever joins it again closes it, before anybody takes a token."""
    async with shelf(server) as one:
        await one.take("a")
        with one.stored.client() as client:
            client.hset(one.stored.endpoint, "last", "1")
        await one.store.join("b", was_away=False, used=0, waiting=("a",))
        assert "fence" in one.stored.fields()
        assert set(one.stored.tokens(one.stored.waiting)) == {"a"}


@bounded
async def test_an_empty_store_counts_every_token_as_just_used(server: RedisServer) -> None:
    """And gives those who do without it the time of a probe to find it."""
    async with shelf(server, is_open=False) as one:
        assert await one.take("a", "b") == [Taken(FENCED, soon_after(PROBE + PER))] * 2
        assert (await one.take("c"))[0].status == ASK_AGAIN
        assert len(one.stored.tokens(one.stored.account_back)) == 36
        one.stored.age(PROBE + PER)
        assert await one.take("a", "b") == [Taken(GRANTED, 0.0)] * 2


@bounded
async def test_one_urgent_caller_passes_each_fence(server: RedisServer) -> None:
    """The second one waits like everybody, and so does an ordinary one before it."""
    async with shelf(server, is_open=False) as one:
        assert (await one.take("a"))[0].status == FENCED
        assert await one.take("b", urgent=True) == [Taken(GRANTED, 0.0)]
        # The tokens that the fence holds are one each for the two before it.
        assert (await one.take("c", urgent=True))[0].status == ASK_AGAIN


@bounded
async def test_an_urgent_caller_passes_no_fence_that_is_open_again(server: RedisServer) -> None:
    """What nobody used of the pass is gone with the fence."""
    async with shelf(server, is_open=False, size=1) as one:
        assert (await one.take("a"))[0].status == FENCED
        one.stored.age(PROBE + PER)
        assert await one.take("a") == [Taken(GRANTED, 0.0)]
        assert (await one.take("b", urgent=True))[0].status == ASK_AGAIN


@bounded
async def test_the_account_keeps_twelve_of_its_72_for_urgent_callers(server: RedisServer) -> None:
    """Ordinary callers stop at 60, urgent ones at 72, each token settled or not."""
    async with shelf(server, size=100) as one:
        assert await one.take(*map(str, range(60))) == [Taken(GRANTED, 0.0)] * 60
        await one.store.settle("0")
        one.stored.age(PER)
        assert await one.take("late") == [Taken(GRANTED, soon_after(2 * PER))]
        kept = [f"urgent {number}" for number in range(12)]
        assert await one.take(*kept, urgent=True) == [Taken(GRANTED, 0.0)] * 12
        assert (await one.take("one more", urgent=True))[0].status == ASK_AGAIN


@bounded
async def test_a_command_that_comes_after_its_sender_gave_up_does_nothing(
    server: RedisServer,
) -> None:
    """It was on its way for too long: nobody waits for the token that it would take."""
    async with (
        Proxy(server) as proxy,
        shelf(server, url=proxy.url, single_connection_client=True) as one,
    ):
        await one.take("a")
        before = one.stored.fields(), one.stored.tokens(one.stored.waiting)
        proxy.up = WITHIN * 2
        delivered, calls = proxy.delivered, one.stored.calls()
        with pytest.raises(Unreachable, match="did not answer in time"):
            await one.take("b")
        await proxy.delivers(delivered + 1)
        assert one.stored.calls() == calls + 1
        after = one.stored.fields(), one.stored.tokens(one.stored.waiting)
        assert after == before


@bounded
async def test_a_server_whose_clock_jumped_ahead_refuses_until_it_is_asked_anew(
    server: RedisServer,
) -> None:
    """Every time stored is in doubt then; the sender learns the server's time with the refusal."""
    async with shelf(server) as one:
        await one.take("a")
        assert one.store._ahead is not None
        one.store._ahead -= PER
        statuses = [taken.status for taken in await one.take("b", "b")]
        assert statuses == [TOO_LATE, GRANTED]


@bounded
async def test_a_clock_set_ahead_by_more_than_a_period_closes(server: RedisServer) -> None:
    """Whoever asked before notices, and joins anew: then every token counts as just used."""
    async with shelf(server) as one:
        await one.take("a")
        assert one.store._ahead is not None
        one.store._ahead -= 2 * PER
        one.store._seen -= round(2 * PER * 1e6)
        with one.stored.client() as client:
            client.hincrby(one.stored.endpoint, "last", -round(2 * PER * 1e6))
        one.stored.age(2 * PER)
        assert (await one.take("b"))[0].status == TOO_LATE
        await one.store.join("me", was_away=True, used=0, waiting=())
        assert (await one.take("b"))[0].status == FENCED


@bounded
async def test_a_clock_that_went_back_makes_the_store_as_good_as_empty(
    server: RedisServer,
) -> None:
    """Leases and returns of another time mean nothing now, and a pause of it has no end."""
    async with shelf(server) as one:
        await one.take("a", "b")
        await one.store.pause(PER * 9)
        one.stored.age(-2.0)
        assert await one.take("c") == [Taken(FENCED, soon_after(PROBE + PER))]
        assert set(one.stored.tokens(one.stored.waiting)) == {"c"}


@bounded
async def test_a_clock_that_went_back_a_little_is_borne(server: RedisServer) -> None:
    """Less than a second is what keeping a clock in step may take."""
    async with shelf(server) as one:
        await one.take("a")
        one.stored.age(-0.5)
        assert await one.take("b") == [Taken(GRANTED, 0.0)]


@bounded
async def test_a_clock_that_went_back_a_little_closes_nothing_for_others(
    server: RedisServer,
) -> None:
    """What one of them has seen of the later clock is no sign of an older store."""
    account = uuid.uuid4().hex
    async with shelf(server, size=3, account=account) as one, shelf(server, account=account) as two:
        await one.take("a")
        one.stored.age(-0.5)
        # The clock that showed this to the first one went back before the second one asked.
        one.store._seen += 500_000
        assert await two.take("b") == [Taken(GRANTED, 0.0)]
        assert await one.take("c") == [Taken(GRANTED, 0.0)]


@bounded
async def test_only_a_take_tells_how_old_a_store_is(server: RedisServer) -> None:
    """Settling, releasing, pausing and slowing down tell nothing of when a token was last taken."""
    async with shelf(server, size=3) as one:
        await one.take("a", "b")
        await one.store.join("me", was_away=False, used=0, waiting=("a", "b"))
        await one.store.settle("a")
        await one.store.release("b")
        await one.store.tighten(Rule(2, PER))
        assert await one.take("c") == [Taken(GRANTED, 0.0)]
        assert "fence" not in one.stored.fields()


@bounded
async def test_what_has_to_be_done_is_done_though_the_clock_jumped_ahead(
    server: RedisServer,
) -> None:
    """A token that stayed out for its lease would be the price of one jump."""
    async with shelf(server) as one:
        await one.take("a", "b")
        assert one.store._ahead is not None
        one.store._ahead -= PER
        await one.store.settle("a")
        one.store._ahead -= PER
        await one.store.release("b")
        one.store._ahead -= PER
        await one.store.pause(PER * 3)
        one.store._ahead -= PER
        await one.store.tighten(Rule(1, PER))
        assert one.stored.tokens(one.stored.waiting) == {}
        assert set(one.stored.tokens(one.stored.back)) == {"a"}
        assert {"pause", "slowed"} <= set(one.stored.fields())


@bounded
async def test_joining_a_store_in_use_closes_nothing(server: RedisServer) -> None:
    """A process that starts, or comes back to others who stayed, only brings its own tokens."""
    async with shelf(server, size=4) as one:
        await one.take("a")
        await one.store.join("b", was_away=True, used=1, waiting=("c",))
        assert set(one.stored.tokens(one.stored.waiting)) == {"a", "c"}
        assert await one.take("d", "e") == [Taken(GRANTED, 0.0), Taken(GRANTED, soon_after(PER))]
        await one.store.settle("c")
        assert (await one.take("f"))[0].status == GRANTED


@bounded
async def test_joining_after_an_absence_closes_a_store_that_nobody_used(
    server: RedisServer,
) -> None:
    """The others may have done without it as well; one fence is enough for all of them."""
    async with shelf(server) as one:
        await one.store.join("a", was_away=False, used=0, waiting=())
        assert "fence" not in one.stored.fields()
        await one.store.join("b", was_away=True, used=0, waiting=())
        fence = one.stored.fields()["fence"]
        await one.store.join("c", was_away=True, used=0, waiting=())
        assert one.stored.fields()["fence"] == fence
        assert (await one.take("d"))[0].status == FENCED


@bounded
async def test_times_are_whole_microseconds(server: RedisServer) -> None:
    """A number written short, as 1.7e+15, would have lost up to fifty seconds."""
    async with shelf(server, is_open=False) as one:
        await one.take("a")
        await one.store.pause(PER)
        await one.store.tighten(Rule(1, PER * 2))
        assert all(value.isdecimal() for value in one.stored.fields().values())
        with one.stored.client() as client:
            raw: Any = client.execute_command("ZRANGE", one.stored.back, 0, -1, "WITHSCORES")
        assert raw
        assert "e+" not in str(raw)
        now = int(one.stored.fields()["last"])
        fence = int(one.stored.fields()["fence"])
        assert fence - now == (PROBE + PER) * 1e6


@bounded
async def test_keys_lie_together_and_hold_no_name(server: RedisServer) -> None:
    """One hash tag for a cluster; the account's name is an access key by default."""
    name = f"access-key-{uuid.uuid4().hex}"
    async with shelf(server, account=name) as one:
        await one.take("a")
        await one.store.settle("a")
        await one.take("b")
        with one.stored.client() as client:
            found: Any = client.keys(f"*{one.stored.key}*")
        assert len(found) == 5
        assert len({key.partition("{")[2].partition("}")[0] for key in found}) == 1
        assert not any(name in key for key in found)


@bounded
async def test_a_client_that_decodes_serves_as_well(server: RedisServer) -> None:
    """The caller's client is set up as the caller likes."""
    async with shelf(server, decode_responses=True, protocol=3) as one:
        assert await one.take("a", "b") == [Taken(GRANTED, 0.0)] * 2
        assert (await one.take("c"))[0].status == ASK_AGAIN


@bounded
async def test_two_stores_of_one_account_share_its_tokens(server: RedisServer) -> None:
    """Whatever their clients are; another account has its own."""
    account = uuid.uuid4().hex
    async with (
        shelf(server, account=account) as one,
        shelf(server, account=account) as two,
        shelf(server) as other,
    ):
        assert await one.take("a") + await two.take("b") == [Taken(GRANTED, 0.0)] * 2
        assert {(await each.take("c"))[0].status for each in (one, two)} == {ASK_AGAIN}
        assert await other.take("a") == [Taken(GRANTED, 0.0)]


@bounded
async def test_a_server_that_forgot_the_script_is_taught_it_again(server: RedisServer) -> None:
    """As one that was started anew."""
    async with shelf(server) as one:
        await one.take("a")
        with one.stored.client() as client:
            client.script_flush()
        assert await one.take("b") == [Taken(GRANTED, 0.0)]


class Stub:
    """A client whose script answers `reply`; what no real server of ours does."""

    def __init__(self, reply: Any) -> None:
        self._reply = reply

    def register_script(self, script: str) -> Any:
        return self._answer

    async def script_load(self, script: str) -> Any:
        return "as known"

    async def _answer(self, keys: Any, args: Any) -> Any:
        if isinstance(self._reply, BaseException):
            raise self._reply
        return self._reply

    async def ping(self) -> Any:
        return await self._answer((), ())

    async def aclose(self) -> None:
        pass


def stubbed(reply: Any) -> RedisStore:
    """A store whose server answers `reply`, whatever it is asked."""
    rules = (Rule(1, 1.0), Rule(1, 1.0))
    link = RedisLink(Stub(reply))
    return RedisStore(link, "key", PATH, rules=rules, ordinary=1, lease=1.0, probe=1.0)


@pytest.mark.parametrize("reply", [None, [], [1], ["a", "b", "c"], 5, RuntimeError("a-password")])
async def test_whatever_a_client_does_is_told_as_one_thing(reply: Any) -> None:
    """The queue above knows one way to fail, and its words hold nothing of the client's."""
    with pytest.raises(Unreachable) as caught:
        await stubbed(reply).take("a", urgent=False)
    assert "a-password" not in caught.value.reason
    assert caught.value.__context__ is None or "a-password" not in str(caught.value.__context__)


async def test_what_comes_too_late_twice_is_given_up() -> None:
    """A clock that jumps all the time is no clock; whoever owes a token tries again later."""
    store = stubbed([TOO_LATE, 0, 1])
    for said in (store.settle("a"), store.release("a"), store.pause(1), store.tighten(Rule(1, 1))):
        with pytest.raises(Unreachable, match="clock jumps"):
            await said


@bounded
async def test_what_a_server_refuses_is_told_in_its_own_words(server: RedisServer) -> None:
    """The person who reads it has to change the server's rights, or the password."""
    name = f"guest-{uuid.uuid4().hex}"
    Stored(server, name).admit(name, "a-password", "ping")
    url = f"redis://{name}:a-password@127.0.0.1:{server.port}"
    async with shelf(server, url=url) as one:
        with pytest.raises(Unreachable, match="refused, saying") as caught:
            await one.take("a")
        assert "a-password" not in caught.value.reason
    async with shelf(server, url=url.replace("a-password", "a-wrong-password")) as one:
        with pytest.raises(Unreachable, match="refused the name or the password") as caught:
            await one.take("a")
        assert "a-wrong-password" not in caught.value.reason


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://user:a-password@host",
        "redis://:a-password@host:port",
        "redis://:a-password@host?option=unknown",
        b"a-password",
        5,
        None,
    ],
)
async def test_what_is_no_redis_url_is_refused_without_being_shown(url: Any) -> None:
    """A URL may hold a password, and what is no URL may still be one."""
    with pytest.raises(InvalidRequest, match="redis://host:port") as caught:
        connect(url)
    assert caught.value.__context__ is None
    assert "a-password" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("http://user:a-password@host", {}),
        ("redis://:a-password@host?option=unknown", {}),
        ("redis://:a-password@host", {"account": ""}),
        ("redis://:a-password@host", {"share_of": 0}),
        ("redis://:a-password@host", {"unknown": 5}),
    ],
)
async def test_no_frame_of_ours_shows_the_password_of_a_url(
    url: str, settings: dict[str, Any]
) -> None:
    """Whatever is wrong, with it or beside it: error reporters send the locals of frames."""
    given = {"account": "desk", "share_of": 2, **settings}
    with pytest.raises((InvalidRequest, TypeError)) as caught:
        RedisTokenBucket.from_url(url, **given)
    shown = [*in_exception(caught.value)]
    assert any("RedisTokenBucket.from_url: " in where for where, _ in shown)
    assert not [where for where, text in shown if "a-password" in text]


@bounded
async def test_trying_it_out_measures_the_way_there_and_back(server: RedisServer) -> None:
    """And raises as everything else when there is nobody."""
    async with Proxy(server) as proxy:
        client = connect(proxy.url)
        try:
            assert 0 < await try_out(client) < WITHIN * 2
            proxy.refuse()
            with pytest.raises(Unreachable, match="could not be reached"):
                await try_out(client)
        finally:
            await client.aclose()


@bounded
async def test_nobody_waits_for_a_silent_network(server: RedisServer) -> None:
    """It costs a quarter of a second, as often as it is asked."""
    async with Proxy(server) as proxy, connect(proxy.url) as client:
        proxy.is_silent = True
        link, loop = RedisLink(client), asyncio.get_running_loop()
        for _ in range(2):
            began = loop.time()
            with pytest.raises(Unreachable, match="did not answer in time"):
                await link.run(("key",), lambda until: ())
            assert WITHIN * 0.9 < loop.time() - began < WITHIN + SLACK
        await link.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@bounded
async def test_trying_it_out_gives_up_by_itself(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person waits for it, so that it has the time of a whole connection."""
    monkeypatch.setattr("htx_async.limits.redis_store.TO_CONNECT", WITHIN)
    async with Proxy(server) as proxy, connect(proxy.url) as client:
        proxy.is_silent = True
        with pytest.raises(Unreachable):
            await try_out(client)


@bounded
async def test_a_slow_connection_is_made_in_the_background(server: RedisServer) -> None:
    """Its handshake takes longer than a caller waits, who leaves it to whoever asks next."""
    async with Proxy(server) as proxy:
        proxy.down = WITHIN * 0.4
        # A name of its own makes for one more round trip, with any version of redis-py.
        async with shelf(server, url=proxy.url, client_name="slow") as one:
            with pytest.raises(Unreachable, match="did not answer in time"):
                await one.take("a")
            await one.store._link.connect(TO_CONNECT)
            assert await one.take("a") == [Taken(GRANTED, 0.0)]


def test_only_a_client_of_the_asyncio_side_is_taken() -> None:
    """A blocking one would hold up every caller, and its answers cannot be awaited."""
    for client in (redis.Redis(), object(), None, "redis://127.0.0.1"):
        with pytest.raises(InvalidRequest, match=r"redis\.asyncio"):
            check_client(client)
    check_client(Redis())
