"""One account, several processes of one host: the same tokens in a small file, without a server.

The exchange counts by account, not by process. A token is taken in the file before a request is
signed and comes back one period after its answer, as in `TokenBucket`, so no second at the exchange
holds more than `size` requests of all processes together. The clock is the machine's monotonic one,
which all its processes and containers have in common.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from typing import Self

from htx_async.aio.loop_binding import running_loop
from htx_async.aio.tasks import Promise
from htx_async.arguments import as_count, as_seconds
from htx_async.errors import HtxError, InvalidRequest
from htx_async.exchange.endpoints import BUDGETS, READS, TRAILING, Permission
from htx_async.limits.account_budget import ordinary
from htx_async.limits.host_file import IS_HERE
from htx_async.limits.host_records import Asked
from htx_async.limits.host_store import HostLink, HostStore
from htx_async.limits.registry import account_key
from htx_async.limits.shared_limits import PROBE, SLACK, Here, SharedTokenBucket, as_rule
from htx_async.limits.shared_store import Rule, Unreachable
from htx_async.limits.shared_told import Share

DEFAULT_SHARE_OF = 5
"""Processes of a host where nothing else is said."""

_MOST_SHOWN = 5


class HostTokenBucket(SharedTokenBucket):
    """A `RateLimiter` whose tokens all processes of this host and account share through one file.

    `account`: a name that all of them give; only a hash of it is stored. Without one a session
    gives its own: its `account`, else its access key, as the command line does, so that both meet.
    `path`: the file, or a folder for it, as an absolute path, for several users or for containers
    that share a volume; by default a folder of this user's own, `/dev/shm/htx_async-UID`, or
    `.htx_async` in the home folder that the password database tells, whatever the environment
    says. `share_of`: how many processes share the account; while one of them cannot use the file
    (a full disk, a folder that is not writable, a file that is not ours, a process stopped with the
    lock in its hand) it goes on with `size / share_of` tokens, as `RedisTokenBucket` does without
    Redis, and reports say so in their `warnings`. `lease`: seconds after which the token of a
    process that was killed comes back; a session refuses one shorter than its `attempt_timeout`
    plus `per`. `size`, `per`: as for `TokenBucket`, for each endpoint by itself; the account's
    totals of trade calls and of reads are kept in the same file.

    A file that is new, or that was lost, replaced, torn by a kill or left from before a reboot,
    counts every token as just used: it opens 0.25 s plus one period later, and one urgent call
    passes at once. An urgent call takes the first token that another process has reserved and not
    yet used. Works in any number of threads, event loops and forked children at once. Not on
    Windows. Raises `InvalidRequest` for settings that cannot work, and where `flock` is missing.
    """

    def __init__(
        self,
        account: str | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        share_of: int = DEFAULT_SHARE_OF,
        lease: float = 5.0,
        size: int | None = None,
        per: float = TRAILING.per,
    ) -> None:
        if not IS_HERE:
            raise InvalidRequest(
                "processes cannot share a limit through a file here, since this system has no "
                "flock; give each a fixed part of it, limiter=TokenBucket(2), or share it on Redis"
            )
        if account is not None and not (isinstance(account, str) and account):
            raise InvalidRequest("account must be a name, or None for that of the session")
        self._path = None if path is None else _absolute(path)
        self._share_settings = (size, per, as_count("share_of", share_of))
        share = Share(*self._share_settings)
        self.size: int = share.size
        self.per: float = share.per
        self.share_of: int = share_of
        self.lease: float = as_seconds("lease", lease)
        self._account = None if account is None else account_key(account)
        self._is_named = account is not None
        self._begin()

    def _begin(self) -> None:
        """With nothing of another process."""
        self._process = os.getpid()
        self._link: HostLink | None = None
        self._loops: dict[asyncio.AbstractEventLoop, Here] = {}
        self._lock = threading.Lock()

    def for_account(self, account: str) -> None:
        """See `BaseLimiter`; a name that was given stays."""
        if self._is_named:
            return
        if self._account not in (None, account):
            raise InvalidRequest(
                "this HostTokenBucket counts for the account of another session; make one for each"
            )
        self._account = account

    async def __aenter__(self) -> Self:
        self._here()
        # So that the first caller knows who shares, and need not wait for a file to be made.
        with suppress(Unreachable):
            await self._to_file().users()
        return self

    async def aclose(self) -> None:
        """Carry out every guard that was entered with it on the running event loop, and settle what
        is out there, which takes 0.25 s at most; other loops go on."""
        await self._close(self._here(), self._let_go)

    async def _let_go(self) -> None:
        if self._link is not None:
            self._link.close()

    @property
    def promises(self) -> set[Promise]:
        """See `BaseLimiter`; those of the running event loop."""
        return self._here().promises

    @property
    def reads(self) -> HostTokenBucket:
        """The account's reads lie in the same file."""
        return self

    async def reach(self) -> str:
        """Where the file lies and who uses it, in words; raises `HtxError` when it cannot be used.

        Takes no token.
        """
        try:
            path, users, now = await self._to_file().users()
        except Unreachable as failure:
            reason = failure.reason
        else:
            told = [f"{user.pid} ({user.name}, {now - user.at:.0f} s ago)" for user in users]
            others = ", ".join(told[:_MOST_SHOWN]) or "no other process"
            more = f" and {len(told) - _MOST_SHOWN} more" if len(told) > _MOST_SHOWN else ""
            return f"{path}, used in the last minute by {others}{more}"
        raise HtxError(reason)

    async def is_used_by(self, mark: str) -> bool:
        """Whether a process that was started with this mark (`host_store.MARK`) uses the file, or
        has in the last minute; operators' commands do not count, and no file is no."""
        try:
            return await self._to_file().are_there(mark)
        except Unreachable:
            return False

    def _here(self) -> Here:
        loop = running_loop()
        if self._process != os.getpid():
            # A forked child opens the file anew, and has nothing of its parent's to give back.
            self._begin()
        with self._lock:
            here = self._loops.get(loop)
            if here is None:
                self._loops = {one: of for one, of in self._loops.items() if not one.is_closed()}
                here = self._loops[loop] = Here(Share(*self._share_settings))
        return here

    def _store(self, endpoint: str, rule: Rule) -> HostStore:
        is_read = endpoint == READS
        account = BUDGETS[Permission.TRADE]
        asked = Asked(
            endpoint,
            rule,
            account=None if is_read else as_rule(account),
            ordinary=ordinary(account).size,
            lease=self.lease + SLACK + max(0.0, rule.per - self.per),
            probe=PROBE,
            broad=is_read,
        )
        return HostStore(self._to_file(), asked)

    def _to_file(self) -> HostLink:
        if self._account is None:
            raise InvalidRequest(
                "account must be a name where no session gives its own: all processes of the "
                "account give the same"
            )
        self._here()
        with self._lock:
            self._link = self._link or HostLink(self._account[:32], self._path)
        return self._link


def _absolute(path: str | os.PathLike[str]) -> str:
    told = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if isinstance(told, str) and os.path.isabs(told) and "\0" not in told:
        return told
    raise InvalidRequest(
        "path must be the absolute path of a file or folder: processes that run elsewhere have to "
        "find it too"
    )
