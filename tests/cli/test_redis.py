"""Commands of a fleet: tokens shared on a real Redis server, and what happens without it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from htx_async.exchange.endpoints import READS
from htx_async.limits.registry import account_key
from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    ACCESS,
    CODE,
    Ended,
    Run,
    after_plan,
    cancel_all,
    cli,
    ended,
    exchange_of_the_command,
    one_by_one,
    started,
)
from tests.support.redis_server import RedisServer, Stored, running

pytestmark = [pytest.mark.slow, pytest.mark.long]

PASSWORD = "planted-password"
FLEET = "desk-7"


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command() as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running() as opened:
        for account in (ACCESS, FLEET):
            Stored(opened, account).open()
            reads = f"htx_async:{{{account_key(f'{account} reads')[:32]}}}:{READS}"
            with opened.client() as client:
                client.hset(reads, "last", "1")
        Stored(opened, FLEET).admit("desk", PASSWORD)
        yield opened


def modes(result: Ended) -> set[Any]:
    """Whose tokens the requests of a cancel took."""
    (report,) = json.loads(result.out)["reports"]
    return {one["limiter_mode"] for one in (*report["attempts"], *report["reads"])}


def silent(result: Ended) -> Ended:
    """The same, once it is certain that no password is in it."""
    assert PASSWORD not in result.out + result.err
    return result


async def test_a_fleet_shares_its_tokens(exchange: SimulatedExchange, server: RedisServer) -> None:
    """By options or variables: cancels and reads take shared tokens, the plan and the doctor say
    whose they are, and Redis sees neither key nor account."""
    url = server.url.replace("//", f"//desk:{PASSWORD}@")
    exchange.place(CODE, "sell", "close")
    to = ("--base-url", exchange.url)
    variables: dict[str, str | None] = {
        "HTX_REDIS_URL": url,
        "HTX_SHARE_OF": "4",
        "HTX_ACCOUNT": FLEET,
    }
    (named, dry, well), (own, shown) = await asyncio.gather(
        one_by_one(
            Run(cancel_all(exchange, CODE, "--confirm", "--json"), variables),
            Run(("cancel-all", CODE, "--dry-run", *to), variables),
            Run(("doctor", *to), variables),
        ),
        one_by_one(
            cancel_all(exchange, CODE, "--json", "--redis", server.url),
            Run(("open", "ETH-USDT", "--generation", "auto", *to), variables),
        ),
    )
    said = (after_plan(named.err), after_plan(own.err), dry.err, shown.err, well.err)
    assert said == ("",) * 5
    for result in (named, own, dry, shown, well):
        assert silent(result).code == 0
    assert modes(named) == modes(own) == {"shared"}
    told = " ".join(dry.out.split())
    assert "limit shared on Redis, among 4 processes; Redis answers in " in told
    assert shown.out.startswith("No such trailing orders are open. Read: isolated margin: 1 contr")
    assert "ok   limiter: Redis answers in " in well.out
    for account in (FLEET, ACCESS):
        assert Stored(server, account).tokens(Stored(server, account).back)
    with server.client() as client:
        stored = " ".join(map(str, client.scan_iter()))
    assert FLEET not in stored
    assert ACCESS not in stored


async def test_without_redis_the_share_of_its_own_is_used(
    exchange: SimulatedExchange, refusing_url: str
) -> None:
    """Commands say so on stderr, cancels and reads alike, and in the account; the plan too, and
    the doctor fails."""
    exchange.place(CODE, "sell", "close")
    url = refusing_url.replace("http://", f"redis://:{PASSWORD}@")
    fleet, to = ("--redis", url, "--share-of", "2"), ("--base-url", exchange.url)
    (cancelled, dry, ill), shown = await asyncio.gather(
        one_by_one(
            cancel_all(exchange, CODE, *fleet),
            ("cancel-all", CODE, "--dry-run", "--json", *fleet, *to),
            ("doctor", *fleet, *to),
        ),
        cli("open", CODE, "--generation", "auto", *fleet, *to),
    )
    assert [silent(result).code for result in (cancelled, dry, ill, shown)] == [0, 0, 6, 0]
    lost = "Redis could not be reached (ConnectionError)"
    told = after_plan(cancelled.err).splitlines()
    assert told == [
        f"{lost}: going on with this process's own share, 1/2 of the limit.",
        f"{CODE} (isolated): cancelled",
    ]
    assert shown.err.splitlines() == told[:1]
    assert "Besides, 1 request went without Redis" in cancelled.out
    assert json.loads(dry.out)["limit"] == (
        f"shared on Redis, among 2 processes; but {lost}, so that this one has its own share only"
    )
    assert f"FAIL limiter: {lost}\n     -> " in ill.out
    assert exchange.open_orders() == ()


async def test_the_doctor_takes_a_token_and_gives_it_back(
    exchange: SimulatedExchange, server: RedisServer
) -> None:
    """None of the account's; where none can be had it fails and says why, though the server
    answers a PING, and never shows a password that makes the URL unreadable."""
    Stored(server, FLEET).admit("looker", PASSWORD, "ping", "hello", "client", "script")
    to = ("doctor", "--base-url", exchange.url)
    well = server.url.replace("//", f"//desk:{PASSWORD}@")
    ill = server.url.replace("//", f"//looker:{PASSWORD}@")
    broken = server.url.replace("//", f"//desk:{PASSWORD}#7@")
    fine, failed, unread = await one_by_one(
        Run(to, {"HTX_REDIS_URL": well, "HTX_ACCOUNT": FLEET}),
        Run(to, {"HTX_REDIS_URL": ill, "HTX_ACCOUNT": FLEET}),
        Run(to, {"HTX_REDIS_URL": broken, "HTX_ACCOUNT": FLEET}),
    )
    assert [silent(each).code for each in (fine, failed, unread)] == [0, 6, 2]
    assert "a token was taken and given back" in fine.out
    assert "FAIL limiter: Redis refused, saying " in failed.out
    assert "no permissions" in failed.out
    assert "may run scripts" in failed.out
    assert "percent-encoded" in unread.err
    assert Stored(server, FLEET).fields() == {"last": "1"}


WITHOUT_REDIS = """
import sys
sys.modules["redis"] = None
from htx_async.__main__ import main; main()
"""


async def test_what_is_wrong_about_a_fleet_exits_2(exchange: SimulatedExchange) -> None:
    """A URL that is none, a URL in the wrong place, and a missing extra, each in one line that
    shows no URL; nothing is sent."""
    wrong = f"http://:{PASSWORD}@127.0.0.1"
    right = f"redis://:{PASSWORD}@127.0.0.1:1"
    results, missing = await asyncio.gather(
        one_by_one(
            cancel_all(exchange, CODE, "--redis", wrong),
            Run(("open", CODE), {"HTX_REDIS_URL": wrong}),
            Run(("doctor",), {"HTX_REDIS_URL": wrong}),
            cancel_all(exchange, CODE, right),
        ),
        ended(await started("-c", WITHOUT_REDIS, *cancel_all(exchange, CODE), HTX_REDIS_URL=right)),
    )
    for result in results:
        assert (silent(result).code, result.out) == (2, "")
        assert result.err.count("\n") == 1
    assert [("the Redis URL must read redis://" in result.err) for result in results] == [
        *(True, True, True, False),
    ]
    assert results[-1].err == "a URL is no contract\n"
    assert (silent(missing).code, missing.out) == (2, "")
    assert 'pip install "htx-async[redis]"' in missing.err
    assert exchange.arrivals == ()
