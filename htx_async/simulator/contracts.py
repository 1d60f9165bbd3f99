"""Which contracts exist, and what the public list says of them, without I/O."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from htx_async.simulator.endpoints import MarginMode
from htx_async.simulator.messages import Refusal, Refused, check_names, illegal
from htx_async.simulator.settings import InvalidSetting

SWAP = "swap"
CONTRACT_TYPES = (SWAP, "this_week", "next_week", "quarter", "next_quarter")

UNKNOWN_CONTRACT = Refusal(1014, "This contract doesn't exist.")

# Names need not be ASCII.
_PAIR = re.compile(r"[^\s-]+-[^\s-]+")
_DATED = re.compile(r"([^\s-]+-[^\s-]+)-([0-9]{6})")

_BUSINESS_TYPES = ("swap", "futures", "all")
_SETTLEMENT = timedelta(hours=8) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Contract:
    """A swap (`BTC-USDT`) or a dated future (`BTC-USDT-261225`), of one of `CONTRACT_TYPES`."""

    code: str
    contract_type: str

    @property
    def pair(self) -> str:
        """See `pair_of`."""
        return pair_of(self.code)

    @property
    def business_type(self) -> str:
        """swap or futures."""
        return "swap" if self.contract_type == SWAP else "futures"

    def row(self, ts: int) -> dict[str, object]:
        """Its row in `swap_contract_info` at `ts`, in Unix ms.

        Fields and formats: replies recorded by roq-htx-futures and ccxt. Assumed: the values, the
        same for every contract; delivery at 08:00 UTC; settlement every eight hours.
        """
        delivery = delivery_of(self.code)
        symbol, _, rest = self.pair.partition("-")
        return {
            "symbol": symbol,
            "contract_code": self.code,
            "contract_size": Decimal("0.001"),
            "price_tick": Decimal("0.1"),
            "delivery_date": f"{delivery:%Y%m%d}" if delivery else "",
            "delivery_time": str(round(delivery.timestamp() * 1000)) if delivery else "",
            "create_date": "20201021",
            "contract_status": 1,
            "settlement_date": str((ts // _SETTLEMENT + 1) * _SETTLEMENT),
            "support_margin_mode": "cross" if delivery else "all",
            "business_type": self.business_type,
            "pair": self.pair,
            "contract_type": self.contract_type,
            "trade_partition": rest,
        }


class Contracts:
    """The contracts that exist: those of `contracts`, or else every one whose code is well formed.

    Contract codes are compared regardless of case, as sibling calls document it (HTX API docs,
    "Cancel All Orders (isolated)").
    """

    def __init__(self, contracts: Iterable[str] | None) -> None:
        self._any = contracts is None
        self._known: dict[str, Contract] = {}
        self._unknown: set[str] = set()
        for code in contracts or ():
            self.add(code, self.type_of(code, "cross", None))

    def type_of(self, code: str, margin_mode: MarginMode, contract_type: str | None) -> str:
        """The type given, or else the one that is known or usual; ValueError if it cannot be."""
        key, dated = code.upper(), delivery_of(code) is not None
        if contract_type is None:
            usual = "quarter" if dated else SWAP
            contract_type = self._known[key].contract_type if key in self._known else usual
        if contract_type not in CONTRACT_TYPES or dated == (contract_type == SWAP):
            raise InvalidSetting(
                f"{code} cannot be of the type {contract_type!r}: a contract with a delivery day "
                f"is one of {', '.join(CONTRACT_TYPES[1:])}, any other is a swap"
            )
        if dated and margin_mode == "isolated":
            raise InvalidSetting(f"{code} exists in cross margin only, as all dated futures do")
        return contract_type

    def add(self, code: str, contract_type: str) -> None:
        """Make a contract known, as of this type from now on."""
        self._unknown.discard(code.upper())
        self._known[code.upper()] = Contract(code, contract_type)

    def remove(self, code: str) -> None:
        """From now on this contract does not exist, until it is added."""
        self._unknown.add(code.upper())
        self._known.pop(code.upper(), None)

    @property
    def listed(self) -> tuple[str, ...]:
        """Those known by name, sorted."""
        return tuple(sorted(one.code for one in self._known.values()))

    def exists(self, code: str, margin_mode: MarginMode) -> bool:
        """Whether there is such a contract; dated futures exist in cross margin only (HTX API docs,
        "Introduction").
        """
        key = code.upper()
        dated = delivery_of(key) is not None
        if key in self._unknown or (dated and margin_mode == "isolated"):
            return False
        return key in self._known or (self._any and (dated or bool(_PAIR.fullmatch(key))))

    def pair_exists(self, pair: str, contract_type: str | None) -> bool:
        """Whether there is a contract of this pair and, if given, of this type."""
        key = pair.upper()
        if self._any and _PAIR.fullmatch(key):
            return not (contract_type == SWAP and key in self._unknown)
        return any(
            one.pair.upper() == key and contract_type in (None, one.contract_type)
            for one in self._known.values()
        )

    def info(self, query: dict[str, Any], ts: int) -> list[dict[str, object]]:
        """The `data` of `swap_contract_info` at `ts`, in Unix ms, sorted by code; raises `Refused`.

        `business_type` is swap, futures or all, and swap if absent, as ccxt uses it. Without a
        closed list of contracts, those known by name are listed, and any other well-formed one
        when it is asked for. Assumed: 1014 for a code that does not exist or is of another
        business type, 1067 for any other field.
        """
        check_names(query, ("contract_code", "business_type"))
        business = query.get("business_type", "swap")
        if business not in _BUSINESS_TYPES:
            raise Refused(illegal("business_type"))
        rows = [
            one.row(ts)
            for one in self._listed(query.get("contract_code"))
            if business in ("all", one.business_type)
        ]
        if not rows and "contract_code" in query:
            raise Refused(UNKNOWN_CONTRACT)
        return rows

    def _listed(self, code: str | None) -> list[Contract]:
        if code is None:
            return [self._known[key] for key in sorted(self._known)]
        if not self.exists(code, "cross"):
            return []
        unlisted = Contract(code.upper(), "quarter" if delivery_of(code) else SWAP)
        return [self._known.get(code.upper(), unlisted)]


def is_well_formed(code: str) -> bool:
    """Whether a contract may be called so: a pair such as `BTC-USDT`, or one of its futures."""
    return bool(_PAIR.fullmatch(code)) or delivery_of(code) is not None


def pair_of(code: str) -> str:
    """`BTC-USDT` for the swap of that name and for `BTC-USDT-261225`."""
    dated = _DATED.fullmatch(code)
    return dated[1] if dated else code


def delivery_of(code: str) -> datetime | None:
    """When a dated future is delivered; None for anything else."""
    dated = _DATED.fullmatch(code)
    if dated is None:
        return None
    try:
        return datetime.strptime(f"{dated[2]}08", "%y%m%d%H").replace(tzinfo=UTC)
    except ValueError:
        return None
