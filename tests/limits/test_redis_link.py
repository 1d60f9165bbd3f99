"""The connection to a real Redis: slow ways, closed connections, and what a URL may hold."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from htx_async import HtxError, InvalidRequest
from htx_async.enums import LimiterMode
from htx_async.redis_limits import RedisTokenBucket
from tests.support.fault_server import bounded
from tests.support.long_form import first_of
from tests.support.pages import TEXTS
from tests.support.redis_server import PATH, Proxy, RedisServer, Stored, running
from tests.support.shared_tokens import SLACK, Crowd, Modes, fleet, use
from tests.support.tokens import busiest, now

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tasks")]

SHARED, OWN_SHARE = LimiterMode.SHARED, LimiterMode.OWN_SHARE


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One server for the tests of this module that leave it alone; each uses its own account."""
    with running() as started:
        yield started


@pytest.mark.early
@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("round_trip", first_of([0.0, 0.1, 0.05], 2))
@bounded
async def test_round_trips_of_up_to_100_ms_use_shared_tokens(
    server: RedisServer, round_trip: float, entered: bool
) -> None:
    """From the first one on, over a connection or two, and within the limit."""
    async with Proxy(server) as proxy:
        proxy.up = proxy.down = round_trip / 2
        account = uuid.uuid4().hex
        Stored(server, account).open()
        bucket = RedisTokenBucket.from_url(proxy.url, account, share_of=2)
        async with AsyncExitStack() as stack:
            if entered:
                await stack.enter_async_context(bucket)
            else:
                stack.push_async_callback(bucket.aclose)
            modes, crowd = Modes(bucket), Crowd(bucket, each=8)
            await crowd.get(16, SHARED)
            granted = await crowd.leave()
        assert modes.heard == []
        assert {mode for _, mode in granted} == {SHARED}
        assert busiest([at for at, _ in granted], 1.0) <= 5
        assert proxy.accepted <= 2


@bounded
async def test_a_slow_way_with_a_name_a_password_and_a_database(server: RedisServer) -> None:
    """Each makes for one more round trip of the handshake, which entering the bucket waits for."""
    async with Proxy(server) as proxy:
        proxy.up = proxy.down = 0.05
        stored = Stored(server, uuid.uuid4().hex)
        stored.admit("desk-of-the-slow", "a-password")
        url = proxy.url.replace("//", "//desk-of-the-slow:a-password@") + "/3"
        async with RedisTokenBucket.from_url(url, "slow", share_of=2) as bucket:
            modes = Modes(bucket)
            # Used for the first time: one urgent call passes.
            assert await use(bucket, urgent=True)
        assert modes.heard == []
        assert proxy.accepted <= 2


@bounded
async def test_entering_waits_for_a_silent_redis_for_a_second_at_most(
    server: RedisServer,
) -> None:
    """And not at all for one that refuses; then the first caller goes on as documented."""
    async with Proxy(server) as proxy, fleet(server) as one:
        proxy.is_silent = True
        began = now()
        bucket = await one.bucket(proxy.url)
        assert 0.9 < now() - began < 1.0 + SLACK
        modes, began = Modes(bucket), now()
        async with bucket.take(PATH) as token:
            assert token.mode is OWN_SHARE
        assert modes.heard[0][0] - began < 0.25 + SLACK
        proxy.refuse()
        began = now()
        await one.bucket(proxy.url)
        assert now() - began < 0.5


def kill(server: RedisServer, proxy: Proxy) -> None:
    """The server ends its connections, as its `timeout` does with those that lie idle."""
    with server.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def cut(server: RedisServer, proxy: Proxy) -> None:
    """Something in between ends them."""
    proxy.cut()


def reset(server: RedisServer, proxy: Proxy) -> None:
    """Something in between resets them."""
    proxy.reset()


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("ends", [kill, cut, reset])
@pytest.mark.parametrize("round_trip", first_of([0.05, 0.0], 1))
@bounded
async def test_a_connection_closed_while_idle_costs_nothing(
    server: RedisServer,
    ends: Callable[[RedisServer, Proxy], None],
    is_own: bool,
    round_trip: float,
) -> None:
    """Whether the bucket's client is its own or the caller's: no outage, and no wait but for the
    connection that is made anew."""
    async with Proxy(server) as proxy, fleet(server) as one, Redis.from_url(proxy.url) as client:
        proxy.up = proxy.down = round_trip / 2
        if is_own:
            bucket = await one.bucket(proxy.url, per=0.5)
        else:
            bucket = RedisTokenBucket(client, one.account, share_of=2, size=2, per=0.5)
        async with bucket:
            modes, waits = Modes(bucket), list[float]()
            for _ in range(4):
                began = now()
                waits.append(await use(bucket) - began)
                await bucket.drain()
                await asyncio.sleep(0.3)
                ends(server, proxy)
                await asyncio.sleep(0.02)
            assert modes.heard == []
            # Far from the second and more that an outage takes.
            assert max(waits) < 10 * round_trip + 0.25


@bounded
async def test_an_answer_lost_with_its_connection_is_asked_for_again(server: RedisServer) -> None:
    """The token that it granted is the one that is got: none is out twice."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url, per=60.0)
        await use(bucket)
        await bucket.drain()
        modes, delivered = Modes(bucket), proxy.delivered
        proxy.is_mute = True
        async with AsyncExitStack() as stack:
            entering = asyncio.create_task(stack.enter_async_context(bucket.take(PATH)))
            await proxy.delivers(delivered + 1)
            assert len(one.stored.tokens(one.stored.waiting)) == 1
            proxy.is_mute = False
            proxy.cut()
            await entering
            assert len(one.stored.tokens(one.stored.waiting)) == 1
        assert modes.heard == []


@bounded
async def test_a_redis_that_cuts_and_stays_silent_is_known_within_half_a_second(
    server: RedisServer,
) -> None:
    """A quarter for the answer, and as long again for the connection that is made anew."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url, per=60.0)
        await use(bucket)
        await bucket.drain()
        modes = Modes(bucket)
        proxy.is_silent = True
        proxy.cut()
        began = now()
        assert await use(bucket, urgent=True) - began < 0.5 + SLACK
        assert modes.heard[0][1] is OWN_SHARE
        proxy.is_silent = False
        proxy.refuse()


@bounded
async def test_what_is_asked_at_once_goes_together(server: RedisServer) -> None:
    """Thirty endpoints on a slow way are served by one connection, as fast as one of them."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url)
        proxy.up = proxy.down = 0.05
        began = now()

        async def first(path: str) -> None:
            async with bucket.take(path, urgent=True):
                pass

        await asyncio.gather(*(first(f"/{number}") for number in range(30)))
        # Each joins, learns that its endpoint is closed, and passes.
        assert now() - began < 6 * 0.1 + SLACK
        await bucket.drain()
        assert proxy.accepted == 1


PASSWORDS = [
    "zx#yq",
    "zx/yq",
    "zx?yq",
    "87#99",
    "87/99",
    "87?99",
    "8/99@9",
    "8?99@9",
    "8#@",
    "zx[yq",
]


@pytest.mark.parametrize("name", ["", "desk"])
@pytest.mark.parametrize("password", PASSWORDS)
async def test_a_password_that_is_not_quoted_is_hinted_at(name: str, password: str) -> None:
    """Else its first part would be taken for a host; nothing of it is shown."""
    for scheme in ("redis", "rediss"):
        with pytest.raises(InvalidRequest, match="percent-encoded") as caught:
            RedisTokenBucket.from_url(f"{scheme}://{name}:{password}@host:6379/0", "a", share_of=2)
        assert "redis://host:port" in str(caught.value)
        assert not any(part in str(caught.value) for part in re.findall(r"\w+", password))
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://:pa@ss@host",
        "redis://127.0.0.1:6379/0?password=p@ss",
        "redis://:pa%23ss@host/1?client_name=a@b",
        "unix:///tmp/a@b.sock",
        "unix://desk:password@/tmp/a@b.sock?db=1",
    ],
)
async def test_what_can_be_read_is_taken(url: str) -> None:
    """An @ may stand in many places."""
    await RedisTokenBucket.from_url(url, "an account", share_of=2).aclose()


@bounded
async def test_any_password_can_be_given_in_a_url_if_it_is_quoted(server: RedisServer) -> None:
    """And one that was not, but could be read all the same, is hinted at when it is refused."""
    password = "p/a?s#s@w:o[r]d%41 &=+"
    stored = Stored(server, uuid.uuid4().hex)
    stored.admit("quoting", password)

    def url(written: str) -> str:
        return server.url.replace("//", f"//quoting:{written}@")

    async with RedisTokenBucket.from_url(url(quote(password, safe="")), "a", share_of=2) as bucket:
        assert "answers in" in await bucket.reach()
    stored.admit("quoting", "100%41")
    async with RedisTokenBucket.from_url(url("100%41"), "a", share_of=2) as bucket:
        with pytest.raises(HtxError, match="percent-encoded") as caught:
            await bucket.reach()
        assert "100" not in str(caught.value)


def replica(server: RedisServer) -> dict[str, Any]:
    """It answers a PING and takes no write."""
    with server.client() as client:
        client.replicaof("127.0.0.1", 1)
    return {"match": "READONLY You can't write"}


def admit(server: RedisServer, *rights: str, keys: str = "*") -> dict[str, Any]:
    """A name that may do everything else."""
    with server.client() as client:
        client.acl_setuser(
            "desk",
            enabled=True,
            passwords=["+a-password"],
            keys=[keys],
            commands=["+@all", *rights],
        )
    return {"match": "refused, saying", "user": "desk:a-password@"}


def no_scripts(server: RedisServer) -> dict[str, Any]:
    """A name that may run no scripts."""
    return admit(server, "-evalsha", "-eval")


def no_loading(server: RedisServer) -> dict[str, Any]:
    """A name that may run scripts, but bring none."""
    return admit(server, "-script")


def no_writes(server: RedisServer) -> dict[str, Any]:
    """A name whose scripts may only look."""
    return admit(server, "-@write")


def no_keys(server: RedisServer) -> dict[str, Any]:
    """A name for somebody else's keys."""
    return admit(server, keys="other:*")


def no_password(server: RedisServer) -> dict[str, Any]:
    """It wants a password, and gets none."""
    with server.client() as client:
        client.config_set("requirepass", "a-password")
    return {"match": "refused the name or the password"}


@contextmanager
def prepared(prepare: Callable[[RedisServer], dict[str, Any]]) -> Iterator[tuple[str, str]]:
    with running() as server:
        told = prepare(server)
        yield server.url.replace("//", f"//{told.get('user', '')}"), told["match"]


@pytest.mark.parametrize(
    "prepare", [replica, no_scripts, no_loading, no_writes, no_keys, no_password]
)
@bounded
async def test_a_server_that_answers_and_gives_no_token_is_not_well(
    prepare: Callable[[RedisServer], dict[str, Any]],
) -> None:
    """A PING proves nothing: what cannot be done is told before it is needed, and why."""
    with prepared(prepare) as (url, match):
        async with RedisTokenBucket.from_url(url, "an account", share_of=2) as bucket:
            with pytest.raises(HtxError, match=match) as caught:
                await bucket.reach()
            assert "a-password" not in str(caught.value)


@bounded
async def test_the_rights_that_the_page_names_are_enough() -> None:
    """A user with no others does all that a bucket asks for, an empty Redis and a lost key
    included."""
    (line,) = re.findall(r"^ACL SETUSER .*$", TEXTS["docs/fleet.md"], re.MULTILINE)
    with running() as server:
        rules = line.replace(">...", ">a-password").split()
        with server.client() as client:
            client.execute_command(*rules)
        url = server.url.replace("//", f"//{rules[2]}:a-password@")
        async with fleet(server, is_open=False) as one:
            bucket = await one.bucket(url)
            modes = Modes(bucket)
            assert "given back" in await bucket.reach()
            await use(bucket, urgent=True)
            await use(bucket)
            async with bucket.take(PATH) as lease:
                lease.not_sent()
            bucket.pause(PATH, 0.01)
            assert bucket.tighten(PATH, 1, 0.3) is not None
            await bucket.drain()
            await use(bucket)
            await bucket.drain()
            one.stored.age(-2.0)
            await use(bucket)
            assert one.stored.fields()["size"] == "1"
            assert modes.heard == []


@asynccontextmanager
async def yes_man() -> AsyncIterator[str]:
    """A server of another kind, which says yes to everything."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(b"+PONG\r\n")
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with listening:
        yield f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@bounded
async def test_a_server_of_another_kind_is_not_well() -> None:
    """Whatever it answers."""
    async with yes_man() as url, RedisTokenBucket.from_url(url, "a", share_of=2) as bucket:
        with pytest.raises(HtxError, match="no script of ours"):
            await bucket.reach()


@bounded
async def test_reaching_takes_none_of_the_accounts_tokens(server: RedisServer) -> None:
    """It takes one under a name of its own, however often, and leaves none out."""
    async with fleet(server, is_open=False) as one:
        bucket = await one.bucket()
        for _ in range(8):
            assert "a token was taken and given back" in await bucket.reach()
        assert one.stored.fields() == {}
        with server.client() as client:
            kept = [str(key) for key in client.scan_iter("*trial*")]
            assert kept
            assert not any(key.endswith("waiting") for key in kept)
            assert not client.keys(f"*{one.stored.key}*")


@bounded
async def test_a_full_server_that_evicts_nothing_still_grants() -> None:
    """The script frees before it stores, which a server beyond its `maxmemory` allows."""
    with running() as full:
        with full.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
        async with fleet(full) as one:
            with full.client() as client:
                client.config_set("maxmemory", "1")
            bucket = await one.bucket()
            modes = Modes(bucket)
            assert "given back" in await bucket.reach()
            for _ in range(4):
                await use(bucket)
            assert modes.heard == []
