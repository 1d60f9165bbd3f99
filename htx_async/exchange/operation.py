"""What one call sends, and how its reply is read."""

from collections.abc import Callable
from typing import Any, NamedTuple

from htx_async.codes import Code
from htx_async.enums import ApiGeneration, MarginMode, Verdict
from htx_async.exchange.endpoints import Endpoint, Kind
from htx_async.exchange.messages import Answer, Request
from htx_async.report import OrderError

__all__ = ["Kind", "Operation", "Reader"]


class Reply(NamedTuple):
    """What one attempt came to: a verdict and, where there was a reply, what it says.

    `data`: what a read was made for. `is_exact`: False where ids came as numbers, of which what was
    between us and the exchange may have rounded some. `excerpt`: how a reply begins that could not
    be believed.
    """

    verdict: Verdict
    code: Code | None = None
    message: str = ""
    successes: tuple[str, ...] = ()
    errors: tuple[OrderError, ...] = ()
    ts: int | None = None
    data: Any = None
    is_exact: bool = True
    excerpt: str = ""


Reader = Callable[[Answer, Callable[[str], str]], Reply]
"""Any answer gives a verdict, never an exception; the second takes out what must not be told."""


class Operation(NamedTuple):
    """One request and the reader of its reply.

    `about`: the contract, in words. `may_repeat`: a second time changes nothing that the first did
    not. `order_ids`: those that it names; none for all of a contract. `items`: the same with the
    contract of each, where a request may name several. `joins`: makes one request of this one and
    another, or says by None that it cannot; without it there is no such request.
    """

    request: Request
    read: Reader
    about: str
    generation: ApiGeneration
    kind: Kind = Kind.CANCEL
    order_ids: tuple[str, ...] = ()
    may_repeat: bool = False
    items: tuple[tuple[str, str], ...] = ()
    joins: "Callable[[Operation, Operation], Operation | None] | None" = None

    def merged(self, other: "Operation") -> "Operation | None":
        """One request that does what both do."""
        return None if self.joins is None or other.joins is None else self.joins(self, other)

    @classmethod
    def to(
        cls,
        endpoint: Endpoint,
        read: Reader,
        about: str,
        *,
        body: bytes = b"",
        params: tuple[tuple[str, str], ...] = (),
        margin_mode: MarginMode = MarginMode.ISOLATED,
    ) -> "Operation":
        """A request to `endpoint`, which says the rest."""
        request = Request(endpoint.method, endpoint.path(margin_mode), body, params)
        return cls(request, read, about, endpoint.generation, endpoint.kind)

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing at all, and counts among the account's reads."""
        return self.kind is not Kind.CANCEL
