"""One limiter for each account of this process, whatever sessions and event loops come and go."""

import hashlib
import itertools
import threading

from htx_async.errors import InvalidRequest
from htx_async.limits.account_limiter import AccountLimiter

_LOOKED_AT = 4
"""Accounts that are looked at, in turn, each time that one is asked for."""


class Registry:
    """The limiters of accounts, one for each. They outlive sessions and loops, because the
    exchange's count does, but not for ever: the one of an account that has had no holder for a
    while is forgotten."""

    def __init__(self) -> None:
        self._limiters: dict[str, AccountLimiter] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._limiters)

    def limiter(self, account: str, holder: object = None) -> AccountLimiter:
        """The one for `account`, bound to the running loop; see `shared_limiter`."""
        with self._lock:
            self._forget_a_few(account)
            limiter = self._limiters.get(account)
            if limiter is None:
                limiter = self._limiters[account] = AccountLimiter()
            # Whoever takes it over and whoever opens it on the loop before come one at a time.
            limiter.bind(take_over=not limiter.holders)
            if holder is not None:
                limiter.holders.add(holder)
        return limiter

    def release(self, limiter: AccountLimiter, holder: object) -> None:
        """`holder` uses it no more."""
        with self._lock:
            limiter.holders.discard(holder)

    def _forget_a_few(self, asked: str) -> None:
        # In turn, a few each time: a thousand accounts would else be looked at a thousand times.
        for account in list(itertools.islice(self._limiters, _LOOKED_AT)):
            limiter = self._limiters.pop(account)
            if account == asked or not limiter.is_gone():
                self._limiters[account] = limiter


_registry = Registry()


def account_key(name: str) -> str:
    """A name for an account that gives nothing away: access keys are used as account names.
    `InvalidRequest` for one that holds bytes which are no text, as an argument or a variable may.
    """
    try:
        return hashlib.sha256(name.encode()).hexdigest()
    except UnicodeEncodeError:
        pass
    # Raised out here: that error holds the name.
    raise InvalidRequest("account must be a name that can be written as UTF-8")


def shared_limiter(account: str, holder: object = None) -> AccountLimiter:
    """The one limiter of this process for `account` (an `account_key`), bound to the running loop.

    `holder`: the session that uses it, until `release`. Without any holder the tokens move over
    from whatever loop used them last. Raises `InvalidRequest` when a session on another loop that
    is still open holds it, or the process that forked this one.
    """
    return _registry.limiter(account, holder)


def release(limiter: AccountLimiter, holder: object) -> None:
    """`holder` was closed: another loop may have the tokens, once nobody else holds them."""
    _registry.release(limiter, holder)
