"""What stands in the file that a host's processes share, record by record, and the room that a
limit has beside them. Pure; times are seconds of the machine's monotonic clock."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from htx_async.limits.shared_store import Rule


@dataclass
class Token:
    """One request's. `ready`: from when it may be used. `ends`: when its lease does, unless it is
    `answered` before. `counts`: whether it is one of the account's trade calls. `asks`: whether it
    asks, for all others, if a refusal still holds."""

    endpoint: str
    ready: float
    ends: float
    answered: float | None = None
    counts: bool = True
    urgent: bool = False
    asks: bool = False


@dataclass
class Endpoint:
    """What is known of one beside its tokens. `last`: when a token was asked for last. `fence`:
    until when it is closed, since the file knew nothing; `may_pass`: one urgent call may go all the
    same. `slower`: size and period that the exchange told, and when. `shut`: until when a refusal
    closes it, 0 for none; `forgotten`: when that counts no more; `urgent_at`: when the next urgent
    call may pass. `wishes`: those for whom there is no token yet, in the order in which they came,
    with until when that holds and whether they are urgent."""

    last: float = 0.0
    fence: float = 0.0
    may_pass: bool = False
    paused: float = 0.0
    slower: tuple[int, float, float] | None = None
    shut: float = 0.0
    forgotten: float = 0.0
    urgent_at: float = 0.0
    wishes: dict[str, tuple[float, bool]] = field(default_factory=dict)


class User(NamedTuple):
    """A process, what it is called, and when it asked last."""

    pid: int
    name: str
    at: float


class Asked(NamedTuple):
    """Who asks for what: an endpoint's rule, and the account's with the part of it that ordinary
    callers may use, or None where it does not count. `broad`: of an account that nothing is known
    of, half counts as used, since no more than that is kept for one endpoint. `lease` and `probe`
    as for a limiter."""

    endpoint: str
    rule: Rule
    account: Rule | None
    ordinary: int
    lease: float
    probe: float
    broad: bool = False


def room_for(tokens: Iterable[Token], rule: Rule, now: float, ahead: int = 0) -> float | None:
    """When one more may be used, behind `ahead` others; a token that is reserved takes the place of
    one that comes back. None when that takes an answer first."""
    out, back = ahead, []
    for token in tokens:
        if token.answered is None:
            out += 1
        elif token.answered + rule.per > now:
            back.append(token.answered + rule.per)
    short = out + len(back) - rule.size + 1
    if short <= 0:
        return now
    return sorted(back)[short - 1] if short <= len(back) else None
