"""What one call sends, and how its reply is read."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from htx_async.outcome import Reply
from htx_async.terms import ApiGeneration
from htx_async.wire import Answer, Request

Reader = Callable[[Answer, Callable[[str], str]], Reply]
"""Any answer gives a verdict, never an exception; the second takes out what must not be told."""


class Kind(StrEnum):
    """What a request does: cancel, list what is open, or list what has ended."""

    CANCEL = "cancel"
    OPEN = "open"
    ENDED = "ended"


class Job(NamedTuple):
    """One request and the reader of its reply.

    `about`: the contract, in words. `may_repeat`: a second time changes nothing that the first did
    not. `order_ids`: those that it names; none for all of a contract.
    """

    request: Request
    read: Reader
    about: str
    generation: ApiGeneration
    kind: Kind = Kind.CANCEL
    order_ids: tuple[str, ...] = ()
    may_repeat: bool = False

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing at all, and counts among the account's reads."""
        return self.kind is not Kind.CANCEL
