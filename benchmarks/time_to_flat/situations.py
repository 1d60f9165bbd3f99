"""The situations in which a mass cancel is measured, and what each may take."""

from typing import Literal, NamedTuple

ONE_WAY = 0.04
"""Seconds from client to exchange, and back."""

ROUND_TRIP = 2 * ONE_WAY
ATTEMPT_TIMEOUT = 3.0
"""Seconds for one request, of every client."""

_NEVER = 60.0


class Most(NamedTuple):
    """Seconds that a figure may have; `beside`: so many more than that figure has in the situation
    of this name, in the same run. `periods`: and so many times what tokens take there to come back,
    which is a second after their answer."""

    seconds: float
    beside: str = ""
    periods: int = 0


class Situation(NamedTuple):
    """`contracts` of them, of which `holding` have `orders` each: every tenth of forty and so on,
    the last among them, which is the worst place for who goes by the order given.

    `lists`: seconds, from and to, by which v1's lists of orders are late. `again`: seconds after
    which the same is asked for once more. `is_all`: the contracts are not named, but all that there
    are. `is_known`: that the account is on V5. `flat`, `told`: see `benchmarks.flat`. `alike`: the
    situation that is the same for who reads no lists.
    """

    name: str
    words: str
    contracts: int
    holding: int
    flat: Most | None = None
    told: Most | None = None
    orders: int = 3
    account: Literal["v1", "v5"] = "v1"
    v1_variant: Literal["answering", "1051", "4002"] = "answering"
    is_known: bool = False
    lists: tuple[float, float] | None = None
    is_first_silent: bool = False
    is_all: bool = False
    again: float | None = None
    alike: str = ""

    @property
    def codes(self) -> list[str]:
        """The contracts."""
        return [f"C{number}-USDT" for number in range(self.contracts)]

    @property
    def holders(self) -> list[str]:
        """Those that have orders."""
        part = self.contracts / self.holding
        return [self.codes[round((number + 1) * part) - 1] for number in range(self.holding)]


_NAMED = Situation("named", "40 named contracts, 4 have orders", 40, 4, Most(0.6), Most(8.2))
_MOVED = Situation(
    "moved",
    "100 named, 12 have orders, the account has moved and v1 says 1051",
    100,
    12,
    Most(2.0),
    Most(4.0),
    account="v5",
    v1_variant="1051",
)

SITUATIONS = (
    _NAMED,
    _NAMED._replace(
        name="late",
        words="the same, lists come within a second",
        flat=Most(1.6),
        lists=(0.4, 0.8),
        alike="named",
    ),
    _NAMED._replace(
        name="never",
        words="the same, lists never come",
        # As at 96ec95c, which did not read: 7.8 s; and the moment for which lists are waited for.
        flat=Most(8.1),
        lists=(_NEVER, _NEVER),
        alike="named",
    ),
    _MOVED,
    _MOVED._replace(
        name="moved_4002",
        words="the same, v1 says 4002",
        v1_variant="4002",
        alike="moved",
    ),
    Situation(
        "on_v5",
        "100 contracts with one order each, on V5",
        100,
        100,
        Most(2.0),
        Most(4.0),
        orders=1,
        account="v5",
        v1_variant="4002",
        is_known=True,
    ),
    Situation(
        "listed",
        "230 listed, 12 with orders, on v1, V5's list is empty",
        230,
        12,
        told=Most(12.0),
        is_all=True,
    ),
    _NAMED._replace(
        name="silent",
        words="40 named, 4 have orders, the first host is silent",
        flat=Most(ATTEMPT_TIMEOUT + 1.5, "named"),
        told=Most(ATTEMPT_TIMEOUT + 1.5, "named"),
        is_first_silent=True,
    ),
    _NAMED._replace(
        name="at_once",
        words="a second mass cancel of the same 40, at once",
        told=Most(0.0, "named", 1),
        again=0.0,
    ),
    _NAMED._replace(
        name="after",
        words="a second mass cancel of the same 40, 2 s later",
        flat=None,
        told=Most(0.0, "named", 1),
        again=2.0,
    ),
)
BY_NAME = {each.name: each for each in SITUATIONS}
