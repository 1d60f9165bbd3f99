"""`HostTokenBucket` in one process: each bucket stands for a process of its own, for what they
share is in the file only."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from htx_async import (
    BaseLimiter,
    Credentials,
    HostTokenBucket,
    HtxError,
    HtxSession,
    InvalidRequest,
    LimiterMode,
    RateLimiter,
    SessionClosed,
    TokenBucket,
)
from htx_async.events import Event, LimiterModeChanged
from htx_async.exchange.endpoints import READS
from htx_async.limits import host_limits
from htx_async.limits.limiter import as_limiter
from htx_async.limits.shared_store import WITHIN
from htx_async.simulator import SimulatedExchange
from tests.support.fault_server import bounded
from tests.support.host_files import (
    ACCOUNT,
    PATH,
    content,
    files_in,
    locked,
    opened,
    remove,
    spoil,
    tokens,
    used_by_another,
)
from tests.support.shared_tokens import Modes, until
from tests.support.tokens import busiest, now

pytestmark = pytest.mark.usefixtures("tasks")

SHARED, OWN_SHARE = LimiterMode.SHARED, LimiterMode.OWN_SHARE
PER = 0.25
SLACK = 1.0
"""Seconds that a busy machine may add to what is promised."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is in use."""
    return opened(tmp_path / "limit")


class Host:
    """Buckets of one file; each is closed at the end of the test."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self.path = path
        self._stack = stack

    async def bucket(self, **settings: Any) -> HostTokenBucket:
        """One more process, with two tokens in a quarter of a second unless told otherwise."""
        settings = {"path": self.path, "share_of": 2, "size": 2, "per": PER, **settings}
        return await self._stack.enter_async_context(HostTokenBucket(ACCOUNT, **settings))


@asynccontextmanager
async def host(path: Path) -> AsyncIterator[Host]:
    """A host that leaves no task behind."""
    async with AsyncExitStack() as stack:
        yield Host(path, stack)
    assert not [task for task in asyncio.all_tasks() if "htx_async" in str(task.get_coro())]


async def use(bucket: HostTokenBucket, takes: float = 0.0, *, urgent: bool = False) -> float:
    """Hold a token for `takes` seconds; the loop time at which it was granted."""
    async with bucket.take(PATH, urgent=urgent):
        granted = now()
        if takes:
            await asyncio.sleep(takes)
    return granted


@bounded
async def test_it_is_all_that_a_session_can_ask_of_a_limiter(path: Path) -> None:
    """Nothing of a session is less than with a bucket alone; reads lie in the same file."""
    async with host(path) as one:
        bucket = await one.bucket()
        assert as_limiter(bucket) is bucket
        assert isinstance(bucket, BaseLimiter)
        limiter: RateLimiter = bucket
        async with limiter.take(PATH) as lease:
            lease.not_sent()
        async with bucket.reads.take(READS):
            assert set(content(path)["endpoints"]) == {PATH, READS}
        assert bucket.mode(PATH) is SHARED


@bounded
async def test_processes_share_the_tokens_of_an_account(path: Path) -> None:
    """All of them together use two in any quarter of a second, and use them all."""
    async with host(path) as one:
        buckets = [await one.bucket() for _ in range(3)]
        began = now()
        granted = await asyncio.gather(*(use(bucket) for bucket in buckets for _ in range(3)))
        assert busiest(granted, PER) <= 2
        assert max(granted) - began < 4 * PER + SLACK


@bounded
async def test_a_token_comes_back_one_period_after_its_answer(path: Path) -> None:
    """However long the answer took, and also when there was none."""
    async with host(path) as one:
        bucket, other = await one.bucket(size=1), await one.bucket(size=1)

        async def fail() -> float:
            try:
                async with bucket.take(PATH):
                    await asyncio.sleep(PER)
                    raise ConnectionError
            except ConnectionError:
                return now()

        ended = await fail()
        granted = await use(other)
        assert PER <= granted - ended < PER + SLACK


@bounded
async def test_a_token_that_was_not_used_comes_back_at_once(path: Path) -> None:
    """For every process."""
    async with host(path) as one:
        bucket, other = [await one.bucket(size=1, per=60.0) for _ in range(2)]
        async with bucket.take(PATH) as lease:
            lease.not_sent()
        await bucket.drain()
        began = now()
        assert await use(other) - began < SLACK


@bounded
async def test_a_holder_that_vanished_delays_the_others_by_its_lease(path: Path) -> None:
    """Its token comes back by itself, half a second of slack included."""
    async with host(path) as one:
        bucket, other = [await one.bucket(size=1, lease=0.3, per=0.1) for _ in range(2)]
        await bucket.take(PATH).__aenter__()
        began = now()
        assert 0.3 <= await use(other) - began < 0.3 + 0.5 + SLACK


@bounded
async def test_an_urgent_call_goes_before_all_ordinary_ones_of_all_processes(path: Path) -> None:
    """It gets the next token, whoever has reserved it; one that comes while its own process waits
    for a later one, too."""
    async with host(path) as one:
        buckets = [await one.bucket(size=1) for _ in range(3)]
        order: list[str] = []

        async def call(bucket: HostTokenBucket, name: str) -> None:
            async with bucket.take(PATH, urgent=name == "urgent"):
                order.append(name)

        await call(buckets[0], "first")
        calls = [asyncio.create_task(call(bucket, "ordinary")) for bucket in buckets * 2]
        await until(lambda: tokens(path))
        await asyncio.gather(call(buckets[2], "urgent"), *calls)
        assert order == ["first", "urgent", *["ordinary"] * 6]


@bounded
async def test_a_waiter_that_is_cancelled_leaves_nothing_behind(path: Path) -> None:
    """Neither in the line nor in the file."""
    async with host(path) as one:
        bucket = await one.bucket(size=1, per=60.0)
        await use(bucket)
        waiter = asyncio.create_task(use(bucket))
        await until(lambda: tokens(path))
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert bucket.waiting(PATH) == 0
        await until(lambda: not tokens(path))


@bounded
async def test_what_the_exchange_told_one_process_holds_for_all(path: Path) -> None:
    """A pause, a slower limit, and a refusal after which one asks."""
    async with host(path) as one:
        bucket, other = await one.bucket(), await one.bucket()
        bucket.pause(PATH, PER)
        await bucket.drain()
        began = now()
        assert await use(other) - began >= PER * 0.9
        assert bucket.tighten(PATH, 1, 2 * PER) is not None
        await bucket.drain()
        granted = await asyncio.gather(*(use(each) for each in (bucket, other) * 2))
        assert busiest(granted, 2 * PER) == 1
        assert bucket.refused(PATH, 0.0) == 1.0
        await bucket.drain()
        began = now()
        assert await use(other) - began >= 0.9


@bounded
async def test_foresight_counts_the_processes_that_use_it(path: Path) -> None:
    """As if those were as busy; alone, as a bucket of one's own."""
    async with host(path) as one:
        first = await one.bucket(size=4, per=8.0)
        assert first.foresee(PATH, 5) - now() == pytest.approx(8.0, abs=SLACK)
        used_by_another(path)
        second = await one.bucket(size=4, per=8.0)
        assert second.foresee(PATH, 5) - now() == pytest.approx(16.0, abs=SLACK)


@pytest.mark.parametrize(
    "settings",
    [
        {"account": ""},
        {"account": 7},
        {"path": "limit"},
        {"path": b"/limit"},
        {"path": 7},
        {"path": "/a\0b"},
        {"share_of": 0},
        {"share_of": 1.5},
        {"lease": 0},
        {"size": 0},
        {"per": float("nan")},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    """At once and in words."""
    with pytest.raises(InvalidRequest):
        HostTokenBucket(**settings)


def test_where_there_is_no_flock_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: a clear word, and what to do."""
    monkeypatch.setattr(host_limits, "IS_HERE", False)
    with pytest.raises(InvalidRequest, match="no flock"):
        HostTokenBucket("an account")


@bounded
async def test_a_name_is_given_by_the_session_unless_there_is_one(path: Path) -> None:
    """Its `account`, else its access key; not that of a second session, and none at all is an
    error."""
    keys = Credentials("access", "secret")
    bucket = HostTokenBucket(path=path)
    with pytest.raises(InvalidRequest, match="account must be a name"):
        await use(bucket)
    HtxSession(keys, limiter=bucket, account=ACCOUNT)
    HtxSession(Credentials("another", "secret"), limiter=bucket, account=ACCOUNT)
    async with bucket:
        await use(bucket)
    with pytest.raises(InvalidRequest, match="make one for each"):
        HtxSession(keys, limiter=bucket)
    named = HostTokenBucket(ACCOUNT, path=path)
    HtxSession(keys, limiter=named)
    async with named:
        await use(named)
    by_key = HostTokenBucket(path=path)
    HtxSession(keys, limiter=by_key)
    with pytest.raises(HtxError, match="another account"):
        await by_key.reach()


@pytest.mark.parametrize("place", ["file", "folder", "given", "0", "", None, "yes", "limit"])
@bounded
async def test_a_session_of_the_environment_shares_if_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str | None
) -> None:
    """`HTX_HOST_LIMIT`, 1 or a path; a limiter that is given stays; what is neither is refused."""
    for name, value in {"ACCESS_KEY": "an-access-key", "SECRET_KEY": "secret"}.items():
        monkeypatch.setenv(f"HTX_{name}", value)
    if place is None:
        monkeypatch.delenv("HTX_HOST_LIMIT", raising=False)
    else:
        is_path = place in ("file", "folder", "given")
        monkeypatch.setenv("HTX_HOST_LIMIT", str(tmp_path / place) if is_path else place)
    if place in ("yes", "limit"):
        with pytest.raises(InvalidRequest, match="HTX_HOST_LIMIT"):
            HtxSession.from_env()
        # Nobody asks for it where a limiter is given.
        HtxSession.from_env(limiter=TokenBucket())
        return
    if place == "folder":
        (tmp_path / "folder").mkdir()
    exchange = SimulatedExchange(access_key="an-access-key", secret_key="secret")
    settings: dict[str, Any] = {"limiter": None} if place == "given" else {}
    async with exchange:
        async with HtxSession.from_env(base_urls=exchange.url, **settings) as htx:
            report = await htx.cancel_all_trailing("BTC-USDT", urgent=True)
        assert report.is_clear
    assert len(files_in(tmp_path)) == (place in ("file", "folder"))


@contextmanager
def faulty(path: Path, what: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file that cannot be used."""

    def fail(number: int) -> Callable[..., Any]:
        def raises(*args: object, **settings: object) -> None:
            raise OSError(number, os.strerror(number))

        return raises

    with patch.context() as patched:
        if what == "full":
            patched.setattr(os, "pwrite", fail(errno.ENOSPC))
        elif what == "read-only":
            patched.setattr(os, "open", fail(errno.EROFS))
        elif what == "foreign":
            spoil(path)
        elif what == "link":
            path.rename(path.with_suffix(".old"))
            path.symlink_to(path.with_suffix(".old"))
        if what == "locked":
            with locked(path):
                yield
        else:
            yield


FAULTS = {
    "full": "No space left on device",
    "read-only": "Read-only file system",
    "foreign": "another program's file",
    "link": "a link stands in its place",
    "locked": "its lock was not free in time",
}


@pytest.mark.parametrize("what", FAULTS)
@bounded
async def test_a_process_that_cannot_use_the_file_says_so_and_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """With its own share, after one period: told in the report, its attempts, and an event."""
    exchange = SimulatedExchange()
    exchange.place("BTC-USDT", "sell", "close")
    heard: list[Event] = []
    bucket = HostTokenBucket(ACCOUNT, path=path, per=PER, share_of=2, size=2)
    settings: dict[str, Any] = {"limiter": bucket, "generation": "v1", "on_event": heard.append}
    async with exchange:
        with faulty(path, what, monkeypatch):
            settings["base_urls"] = exchange.url
            async with bucket, HtxSession(exchange.credentials, **settings) as htx:
                report = await htx.cancel_all_trailing("BTC-USDT", confirm=True)
        assert report.attempts[0].waited >= PER * 0.9
    assert report.is_clear
    assert [one.limiter_mode for one in report.attempts] == [OWN_SHARE]
    (warning,) = report.warnings
    assert warning.startswith("the limit could not be shared with other processes")
    assert FAULTS[what] in warning
    assert str(path) in warning
    assert warning in report.message
    modes = [event for event in heard if isinstance(event, LimiterModeChanged)]
    assert modes[0].mode is OWN_SHARE
    assert FAULTS[what] in modes[0].reason


@bounded
async def test_a_process_stopped_with_the_lock_is_an_outage(path: Path) -> None:
    """Told within 0.25 s, without the loop waiting for it; shared again when it is let go."""
    async with host(path) as one:
        bucket = await one.bucket()
        modes, late = Modes(bucket), [0.0]

        async def tick() -> None:
            while True:
                due = now() + 0.01
                await asyncio.sleep(0.01)
                late[0] = max(late[0], now() - due)

        ticking = asyncio.create_task(tick())
        began = now()
        with locked(path):
            calling = asyncio.create_task(use(bucket))
            assert await modes.come_to(OWN_SHARE) - began < WITHIN + SLACK
            assert late[0] < WITHIN / 2
            own = await calling
            assert own - began >= PER
        assert await use(bucket) > own
        await modes.come_to(SHARED)
        ticking.cancel()


@bounded
async def test_a_lock_that_is_held_for_a_moment_is_waited_for(path: Path) -> None:
    """In a thread: no outage, and nothing that anybody hears of."""
    async with host(path) as one:
        bucket = await one.bucket()
        modes = Modes(bucket)
        with locked(path):
            calling = asyncio.create_task(use(bucket))
            await asyncio.sleep(WITHIN / 5)
        await calling
        assert modes.heard == []


@bounded
async def test_a_file_that_is_taken_away_while_somebody_waits_is_begun_anew(path: Path) -> None:
    """Every token counts as just used then, and what is on the wire counts on."""
    async with host(path) as one:
        bucket, other = await one.bucket(), await one.bucket()
        async with bucket.take(PATH), bucket.take(PATH):
            waiting = [asyncio.create_task(use(each)) for each in (bucket, other)]
            await until(lambda: content(path)["endpoints"][PATH]["wishes"])
            remove(path)
            began = now()
            await until(path.exists)
            await until(lambda: len(tokens(path)) >= 3)
        granted = await asyncio.gather(*waiting)
        assert min(granted) - began >= PER
        assert {bucket.mode(PATH), other.mode(PATH)} == {SHARED}


@bounded
async def test_one_urgent_call_passes_a_file_that_is_new(tmp_path: Path) -> None:
    """The next one waits for a quarter of a second and a period."""
    async with host(tmp_path / "new") as one:
        bucket = await one.bucket(size=2, per=1.0)
        began = now()
        first, second = [await use(bucket, urgent=True) for _ in range(2)]
        assert first - began < SLACK
        assert second - began >= 1.0


def test_threads_with_event_loops_of_their_own_share_one_bucket(path: Path) -> None:
    """A watchdog thread needs no limiter of its own; one that is closed leaves the others alone."""
    bucket = HostTokenBucket(ACCOUNT, path=path, size=3, per=PER, share_of=2)
    granted: list[float] = []

    async def work(number: int) -> None:
        async def call() -> None:
            async with bucket.take(PATH) as token:
                granted.append(time.monotonic())
                assert token.mode is SHARED

        async with asyncio.timeout(30):
            await asyncio.gather(*(call() for _ in range(3 + number)))
            await bucket.aclose()
            with pytest.raises(SessionClosed):
                bucket.take(PATH)

    threads = [threading.Thread(target=asyncio.run, args=(work(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(granted) == 3 + 4 + 5 + 6
    assert busiest(granted, PER) <= 3


def test_a_later_loop_goes_on_where_a_closed_one_ended(path: Path) -> None:
    """Its tokens are in the file."""
    bucket = HostTokenBucket(ACCOUNT, path=path, size=1, per=PER)

    async def once() -> tuple[float, float]:
        async with bucket.take(PATH):
            granted = time.monotonic()
        settled = time.monotonic()
        await bucket.drain()
        return granted, settled

    granted, settled = zip(*(asyncio.run(once()) for _ in range(3)), strict=True)
    assert all(later - last >= PER for last, later in zip(settled, granted[1:], strict=False))


@bounded
async def test_it_tells_where_the_file_lies_and_who_uses_it(path: Path) -> None:
    """And why it cannot be used; nothing of the account's is taken for that."""
    async with host(path) as one:
        bucket = await one.bucket()
        assert await bucket.reach() == f"{path}, used in the last minute by no other process"
        used_by_another(path)
        before = content(path)["tokens"]
        assert await bucket.reach() == f"{path}, used in the last minute by 7 (bot.py, 0 s ago)"
        assert content(path)["tokens"] == before
        spoil(path)
        with pytest.raises(HtxError, match="another program's file"):
            await bucket.reach()


@bounded
async def test_closing_lets_go_of_what_is_reserved_and_ends_every_wait(path: Path) -> None:
    """Nobody waits for ever, and the others have the token when it is due."""
    bucket = HostTokenBucket(ACCOUNT, path=path, size=1, per=60.0)
    await use(bucket)
    waiting = asyncio.create_task(use(bucket))
    await until(lambda: tokens(path))
    await bucket.aclose()
    with pytest.raises(SessionClosed):
        await waiting
    assert tokens(path) == []
