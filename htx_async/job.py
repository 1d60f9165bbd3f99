"""What one call sends, and how its reply is read."""

from collections.abc import Callable
from typing import NamedTuple

from htx_async.outcome import Reply
from htx_async.wire import Answer, Request

Reader = Callable[[Answer, Callable[[str], str]], Reply]
"""Any answer gives a verdict, never an exception; the second takes out what must not be told."""


class Job(NamedTuple):
    """One request and the reader of its reply.

    `about`: the contract, in words. `may_repeat`: a second time changes nothing that the first did
    not. `is_read`: it changes nothing at all, and counts among the account's reads.
    """

    request: Request
    read: Reader
    about: str
    may_repeat: bool = False
    is_read: bool = False
