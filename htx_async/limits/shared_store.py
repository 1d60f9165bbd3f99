"""Tokens that several processes share, wherever they are kept: what a store can be asked for."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

WITHIN = 0.25
"""Seconds that a caller waits for a store."""

MARGIN = 0.002
"""Seconds added to every hold: loop timers were seen to fire up to 1.25 ms early (uvloop)."""

CLOSE = 0.02
"""Seconds: a token that is due this soon is its holder's for good; earlier than that an urgent
caller may have got it, or the store may have been lost."""

GRANTED, ASK_AGAIN, TOO_LATE, FENCED, ASKING = range(5)


class Unreachable(Exception):
    """A store did not do what it was asked for, or not in time: a signal between modules."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Taken(NamedTuple):
    """What `SharedStore.take` came to; `wait` in seconds from now. GRANTED: the token may be used
    then; FENCED: the same, but the endpoint is closed until then; ASKING: the same, and it asks for
    all others whether a refusal still holds; ASK_AGAIN: every token waits for an answer, or
    somebody asks; TOO_LATE: nothing was done."""

    status: int
    wait: float


class Rule(NamedTuple):
    """At most `size` requests in any `per` seconds."""

    size: int
    per: float


class SharedStore(Protocol):
    """The tokens of one endpoint. Each step may be taken twice, to the same end; it raises
    `Unreachable` when the store does not take it in time."""

    answers_again: str
    """What is said when it can be reached once more."""

    hastens: bool
    """Whether an urgent caller may get an earlier token than the one that its process reserved."""

    def sharers(self) -> int:
        """How many processes share the tokens at present, this one included."""

    async def join(self, token: str, *, was_away: bool, used: int, waiting: Sequence[str]) -> None:
        """Use this store from now on.

        `was_away`: this process did without it for a while. `used`: how many tokens of its own it
        used in the last period, apart from those that still wait for an answer.
        """

    async def take(self, token: str, *, urgent: bool) -> Taken:
        """Grant or reserve a token; asked again for the same one, grant it when it is due."""

    async def settle(self, *tokens: str) -> None:
        """The requests were answered or have failed: the tokens come back one period from now."""

    async def release(self, *tokens: str) -> None:
        """The tokens were certainly not used."""

    async def pause(self, seconds: float) -> None:
        """No token before then; a longer pause stays in force."""

    async def tighten(self, rule: Rule) -> None:
        """Keep to `rule` for a minute where it is slower than what is in force."""

    async def loosen(self) -> None:
        """No slower limit is in force any more."""

    async def shut(self, seconds: float, asked: float) -> None:
        """A refusal asked for `asked` seconds: no token for `seconds`, then one for who asks."""

    async def open(self) -> None:
        """The one that asked was not refused."""
