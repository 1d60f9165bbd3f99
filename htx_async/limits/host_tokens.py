"""The tokens of one account as the processes of a host share them: what stands in their file. Pure.

A token is in use from its grant until one period after its request was answered or has failed; a
holder that never says so loses it at the end of its lease. Every token is kept once, for its
endpoint and for the account: how long it counts for which limit is reckoned when somebody asks.
Times are seconds of the machine's monotonic clock, one for all its processes.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

from htx_async.exchange.headers import LONGEST_PAUSE, PERIOD
from htx_async.limits.host_records import Asked, Endpoint, Token, User, room_for
from htx_async.limits.shared_store import ASK_AGAIN, ASKING, CLOSE, FENCED, GRANTED, Rule, Taken
from htx_async.limits.slower_limit import BELIEVED

ASK_EVERY = 0.05
"""Seconds until whoever finds every token unanswered asks again."""

_WISHED = 4 * ASK_EVERY
"""Seconds for which the wish of a caller stands, unless it asks again."""

_A_MOMENT = 0.03

_IN_USE_SECONDS = 5.0
"""Seconds for which a process counts as one that shares, after it asked last."""

_KNOWN = 60.0
"""Seconds for which it is still told of."""

_SAME = 1e-6


class HostTokens:
    """All tokens of an account, begun at `began` knowing nothing of what is in use."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.at = began
        self.per = 0.0
        """The longest period that anybody asked with."""
        self.users: dict[str, User] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.tokens: dict[str, Token] = {}

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """From what `content` gave; any of the errors of wrong types and missing names."""
        tokens = cls(float(content["began"]))
        tokens.at, tokens.per = float(content["at"]), float(content["per"])
        tokens.users = {name: User(*user) for name, user in content["users"].items()}
        tokens.endpoints = {name: Endpoint(**one) for name, one in content["endpoints"].items()}
        tokens.tokens = {name: Token(**one) for name, one in content["tokens"].items()}
        return tokens

    def content(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "began": self.began,
            "at": self.at,
            "per": self.per,
            "users": self.users,
            "endpoints": {name: vars(one) for name, one in self.endpoints.items()},
            "tokens": {name: vars(one) for name, one in self.tokens.items()},
        }

    def used_by(self, name: str, pid: int, called: str) -> None:
        """A process uses this now."""
        self.users = {n: one for n, one in self.users.items() if self.at - one.at < _KNOWN}
        self.users[name] = User(pid, called, self.at)

    def others(self, name: str, now: float) -> int:
        """How many processes beside this one use it at present."""
        return sum(now - one.at < _IN_USE_SECONDS for n, one in self.users.items() if n != name)

    def join(self, asked: Asked, name: str, was_away: bool, used: int, out: Iterable[str]) -> None:
        """See `SharedStore.join`."""
        now, endpoint = self.at, self._endpoint(asked)
        # If nobody has taken a token for a period, the others may have done without it too.
        if was_away and now - endpoint.last >= asked.rule.per:
            self._fence(asked, endpoint, now)
        for number in range(used):
            self._answer(asked, f"{name}:{number}")
        for each in out:
            if each not in self.tokens:
                self._grant(asked, each, now, Token("", 0, 0))

    def take(self, asked: Asked, name: str, urgent: bool) -> Taken:
        """See `SharedStore.take`."""
        now, endpoint = self.at, self._endpoint(asked)
        endpoint.last = now
        held = self.tokens.get(name)
        least, is_shut = endpoint.paused, endpoint.shut > 0
        begins_to_ask = is_shut and not (held and held.asks)
        if begins_to_ask:
            if not urgent and any(one.asks for one in self._of(asked)):
                return self._again(asked)
            least = max(least, endpoint.urgent_at if urgent else endpoint.shut)
        ready = self._ready(asked, endpoint, name, urgent, least)
        if ready is None:
            return self._again(asked)
        ready = max(ready, least)
        was = held or Token(asked.endpoint, ready, 0)
        self._grant(asked, name, ready, was)
        was.urgent, was.asks = urgent, is_shut
        if urgent and (begins_to_ask or held is None):
            endpoint.urgent_at = ready + PERIOD
        is_fenced = ready > now and now < endpoint.fence
        status = FENCED if is_fenced else (ASKING if is_shut else GRANTED)
        return Taken(status, ready - now)

    def settle(self, asked: Asked, names: Iterable[str]) -> None:
        """Counted even if nothing is known of them: they may have been in use when the file was
        lost."""
        self._endpoint(asked)
        for name in names:
            self._answer(asked, name)

    def release(self, asked: Asked, names: Iterable[str]) -> None:
        """See `SharedStore.release`."""
        endpoint = self._endpoint(asked)
        for name in names:
            endpoint.wishes.pop(name, None)
            token = self.tokens.get(name)
            if token is not None and token.answered is None:
                del self.tokens[name]

    def pause(self, asked: Asked, seconds: float) -> None:
        """See `SharedStore.pause`."""
        endpoint = self._endpoint(asked)
        endpoint.paused = max(endpoint.paused, self.at + seconds)

    def tighten(self, asked: Asked, rule: Rule) -> None:
        """See `SharedStore.tighten`. The slowest is believed until its minute is over; a less slow
        one repeats nothing."""
        endpoint = self._endpoint(asked)
        before = self._rule(asked, endpoint)
        is_slowed = endpoint.slower is not None
        if is_slowed and rule.size * before.per > before.size * rule.per * (1 + _SAME):
            return
        slower = (min(before.size, rule.size), max(before.per, rule.per), self.at)
        if endpoint.slower is None or tuple(endpoint.slower[:2]) != slower[:2]:
            self._unreserve(asked)
        endpoint.slower = slower
        if not is_slowed:
            endpoint.urgent_at = max(endpoint.urgent_at, self.at + PERIOD)

    def loosen(self, asked: Asked) -> None:
        """See `SharedStore.loosen`."""
        self._endpoint(asked).slower = None
        self._unreserve(asked)

    def shut(self, asked: Asked, seconds: float, named: float) -> None:
        """See `SharedStore.shut`. What is under way was sent before: its answers prove nothing."""
        endpoint, now = self._endpoint(asked), self.at
        for token in self._of(asked):
            token.asks = False
        endpoint.shut = max(endpoint.shut, now + seconds)
        endpoint.forgotten = max(endpoint.forgotten, now + max(seconds, named) + LONGEST_PAUSE)
        endpoint.urgent_at = max(endpoint.urgent_at, now + PERIOD)

    def open(self, asked: Asked) -> None:
        """See `SharedStore.open`."""
        endpoint = self._endpoint(asked)
        endpoint.shut = endpoint.forgotten = 0.0
        for token in self._of(asked):
            token.asks = False

    def _of(self, asked: Asked) -> list[Token]:
        return [token for token in self.tokens.values() if token.endpoint == asked.endpoint]

    def _endpoint(self, asked: Asked) -> Endpoint:
        """That of `asked`, without what is over by now."""
        now, endpoint = self.at, self.endpoints.get(asked.endpoint)
        if endpoint is None:
            endpoint = self.endpoints[asked.endpoint] = Endpoint()
            self._begin(asked, endpoint)
        if endpoint.slower is not None and now - endpoint.slower[2] >= BELIEVED:
            endpoint.slower = None
            self._unreserve(asked)
        self.per = max(self.per, *(rule.per for rule in (asked.rule, asked.account) if rule))
        self.tokens = {name: one for name, one in self.tokens.items() if not self._is_over(one)}
        endpoint.wishes = {name: one for name, one in endpoint.wishes.items() if one[0] > now}
        is_asked = any(token.asks for token in self._of(asked))
        if endpoint.shut and now >= endpoint.forgotten and not is_asked:
            endpoint.shut = endpoint.forgotten = 0.0
        return endpoint

    def _is_over(self, token: Token) -> bool:
        if token.answered is None:
            return token.ends <= self.at
        endpoint = self.endpoints.get(token.endpoint)
        slower = endpoint.slower[1] if endpoint is not None and endpoint.slower else 0.0
        return token.answered + max(self.per, slower) <= self.at

    def _rule(self, asked: Asked, endpoint: Endpoint) -> Rule:
        """The limit in force."""
        if endpoint.slower is None:
            return asked.rule
        size, per, _ = endpoint.slower
        return Rule(min(asked.rule.size, size), max(asked.rule.per, per))

    def _begin(self, asked: Asked, endpoint: Endpoint) -> None:
        """An endpoint that nobody has asked for since the file was begun."""
        used = self.began + asked.probe
        if self.at < used + asked.rule.per:
            self._fence(asked, endpoint, self.began)
        if asked.account is not None and self.at < used + asked.account.per:
            for number in range(asked.account.size // 2):
                self.tokens[f"fence:{number}"] = Token("", self.began, used, used)

    def _fence(self, asked: Asked, endpoint: Endpoint, since: float) -> None:
        """Every token counts as just used, by somebody who may go on for one more probe; of a broad
        budget half."""
        used, size = since + asked.probe, asked.rule.size
        for number in range(size // 2 if asked.broad else size):
            token = Token(asked.endpoint, since, used, used, counts=False)
            self.tokens[f"fence:{asked.endpoint}:{number}"] = token
        endpoint.fence, endpoint.may_pass = used + asked.rule.per, True

    def _unreserve(self, asked: Asked) -> None:
        """Reserved by another limit than the one in force: whoever has it asks for another one."""
        for name, token in list(self.tokens.items()):
            if token.endpoint == asked.endpoint and self._is_reserved(token):
                del self.tokens[name]

    def _is_reserved(self, token: Token) -> bool:
        """Whether it was certainly not used yet, nor promised for good."""
        return token.answered is None and token.ready > self.at + 2 * CLOSE

    def _grant(self, asked: Asked, name: str, ready: float, token: Token) -> None:
        token.endpoint, token.ready, token.ends = asked.endpoint, ready, ready + asked.lease
        token.counts = asked.account is not None
        self.tokens[name] = token
        self.endpoints[asked.endpoint].wishes.pop(name, None)

    def _answer(self, asked: Asked, name: str) -> None:
        counts = asked.account is not None
        self.tokens[name] = Token(asked.endpoint, self.at, self.at, self.at, counts)

    def _ready(
        self, asked: Asked, endpoint: Endpoint, name: str, urgent: bool, least: float
    ) -> float | None:
        """When the token `name` may be used; None when that takes an answer first."""
        now, held = self.at, self.tokens.get(name)
        if held is not None:
            ready: float | None = max(now, held.ready)
        elif urgent and least <= now < endpoint.fence and endpoint.may_pass:
            endpoint.may_pass = False
            self.tokens.pop(f"fence:{asked.endpoint}:0", None)
            return now
        else:
            ready = self._place(asked, endpoint, self._ahead(asked, endpoint, name, urgent), urgent)
        if urgent and (held is None or not held.urgent):
            ready = self._hastened(asked, name, ready)
        if ready is None:
            # Who was told to ask again keeps its place.
            endpoint.wishes[name] = now + _WISHED, urgent
        return ready

    def _hastened(self, asked: Asked, name: str, ready: float | None) -> float | None:
        """An urgent caller gets the first token that an ordinary one has reserved and not yet used,
        and that one the token that it would have had, if there is one."""
        ordinary = {
            other: token
            for other, token in self.tokens.items()
            if token.endpoint == asked.endpoint and not token.urgent and other != name
            if self._is_reserved(token) and (ready is None or token.ready < ready)
        }
        if not ordinary:
            return ready
        first = min(ordinary, key=lambda other: ordinary[other].ready)
        token = ordinary[first]
        found = token.ready
        if ready is None:
            del self.tokens[first]
        else:
            token.ends += ready - found
            token.ready = ready
        return found

    def _place(self, asked: Asked, endpoint: Endpoint, ahead: int, urgent: bool) -> float | None:
        """When there is room for one more behind `ahead` others, by the endpoint's limit and the
        account's."""
        rule, of = self._rule(asked, endpoint), self._of(asked)
        at = room_for(of, rule, self.at, ahead)
        if urgent and rule.per > max(asked.rule.per, PERIOD):
            # As far as the endpoint's own limit lets it, one each second.
            own = room_for(of, asked.rule, self.at, ahead)
            if own is not None:
                passing = max(own, endpoint.urgent_at)
                at = passing if at is None else min(at, passing)
        if at is None or asked.account is None:
            return at
        account = Rule(asked.account.size if urgent else asked.ordinary, asked.account.per)
        room = room_for((one for one in self.tokens.values() if one.counts), account, self.at)
        return None if room is None else max(at, room)

    def _ahead(self, asked: Asked, endpoint: Endpoint, name: str, urgent: bool) -> int:
        """How many go before `name`: urgent callers, then those whose processes have used fewer of
        late, then those who came before. Beside those who wish for a token, these are processes
        that had one a moment ago, and are about to ask for the next."""
        of = {other: one for other, one in self.tokens.items() if one.endpoint == asked.endpoint}
        used = Counter(map(_owner, of))
        comers = {other: is_urgent for other, (_, is_urgent) in endpoint.wishes.items()}
        comers.setdefault(name, urgent)
        known = set(map(_owner, comers))
        for other, one in of.items():
            is_new = one.answered is None and 0 <= self.at - one.ready < _A_MOMENT
            if is_new and _owner(other) not in known:
                comers[_owner(other)] = False
                known.add(_owner(other))
        # Sorting leaves equals in the order in which they came.
        places = sorted(comers, key=lambda one: (not comers[one], used[_owner(one)]))
        return places.index(name)

    def _again(self, asked: Asked) -> Taken:
        ends = (one.ends for one in self._of(asked) if one.answered is None)
        return Taken(ASK_AGAIN, min([ASK_EVERY, *(end - self.at for end in ends)]))


def _owner(name: str) -> str:
    """Whose token that is: those of one process's line are numbered."""
    return name.partition(":")[0]
