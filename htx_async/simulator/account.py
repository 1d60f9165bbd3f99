"""The account: which generation of the API it is on, and what the other one answers, without I/O.

HTX moves accounts one by one from v1 to V5 (announcements 95034086350701 and 65042754281336).
What v1's trailing calls answer an account that has moved was never published: each answer below
was reported of some v1 call, or is a way in which one may go on.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

from htx_async.simulator.endpoints import Call, Endpoint, Generation, V1Call, V5Call
from htx_async.simulator.messages import (
    OFFLINE,
    Answer,
    Page,
    Refusal,
    Refused,
    accepted,
    accepted_on_v5,
    not_found,
    shaped,
)
from htx_async.simulator.orders import Moment
from htx_async.simulator.serve_v1 import ServeV1
from htx_async.simulator.serve_v5 import ServeV5
from htx_async.simulator.settings import InvalidSetting

V1Variant = Literal["answering", "empty", "1051", "1066", "4002", "6002", "6023", "10000", "404"]
V5Refusal = Literal[6001, 4007]

# Texts as recorded (4002, 6023: ccxt issues 28884 and 28732; 10000: HTX's Java SDK). Those of 6002
# and 1066, which its list of V5 interfaces names, were not: assumed.
_PAGES: dict[V1Variant, Page] = {
    "1066": shaped(1, 1066, "contract_code cannot be empty.", 200),
    "4002": shaped(
        1,
        4002,
        "The merged cross and isolated margin account for USDT-M futures is unavailable."
        "Please complete the query with linear-swap-api/v3/unified_account_info",
        200,
    ),
    "6002": shaped(1, 6002, "Simulated refusal.", 200),
    "6023": shaped(1, 6023, "The new feature is temporarily unavailable.", 200),
    "10000": shaped(1, 10000, OFFLINE, 200),
    "404": not_found,
}

# 6001 from the source of htx-api, where it stands among replies shaped like V5's; that V5 says it
# to an account on v1 is inferred. 4007 is listed as "for unified accounts only".
_NOT_ON_V5: dict[V5Refusal, str] = {
    6001: "The Single-Asset Collateral mode is temporarily unavailable.",
    4007: "Simulated refusal.",
}

# Instants are sums of floats: what is due a rounding error from now is due.
_GRAIN = 1e-9


class Account:
    """Serves the account's book by `v1` or `v5`, whichever generation it is on.

    After the move v1's private calls answer by `v1_variant`: "answering", as before, over the
    same book; "empty" and "1051", as if there were no orders, a cancel-all with two empty lists or
    with 1051, a cancel by ids with two empty lists or each id as not found; else that code or
    HTTP status. Assumed: signatures and limits are checked first all the same. Until the move V5
    answers by `v5_refusal`, or, without one, as if there were no orders. `empty_v1` and
    `empty_v5`: as `v1` and `v5`, over books without orders. InvalidSetting for a generation, a
    variant or a refusal that there is not.
    """

    def __init__(
        self,
        generation: Generation,
        v1_variant: V1Variant,
        v5_refusal: V5Refusal | None,
        v1: ServeV1,
        v5: ServeV5,
        empty_v1: ServeV1,
        empty_v5: ServeV5,
    ) -> None:
        if generation not in get_args(Generation):
            raise InvalidSetting("account is v1 or v5")
        if v1_variant not in get_args(V1Variant):
            raise InvalidSetting(f"v1_variant is one of {', '.join(get_args(V1Variant))}")
        if v5_refusal is not None and v5_refusal not in _NOT_ON_V5:
            raise InvalidSetting("v5_refusal is 6001, 4007 or None")
        self._moves_at = math.inf if generation == "v1" else -math.inf
        self._variant = v1_variant
        self._refusal = v5_refusal and Refusal(v5_refusal, _NOT_ON_V5[v5_refusal])
        self._v1 = v1
        self._empty_v1 = empty_v1
        self._v5 = v5
        self._empty_v5 = empty_v5

    def move(self, at: float) -> None:
        """Be on V5 from `at` on, on the exchange's clock, or from the earlier moment arranged."""
        self._moves_at = min(self._moves_at, at)

    def generation(self, at: float) -> Generation:
        """The one that the account is on at `at`, on the exchange's clock."""
        return "v5" if at >= self._moves_at - _GRAIN else "v1"

    def serve_v1(
        self, call: V1Call, endpoint: Endpoint, form: Any, when: Moment, delay: Callable[[], float]
    ) -> Answer:
        """v1's answer to a verified call; raises `Refused`. See `ServeV1.serve`."""
        has_moved = self.generation(when.at) == "v5"
        if has_moved and self._variant in _PAGES:
            return _PAGES[self._variant](when.ms, endpoint.path)
        if has_moved and self._variant == "empty" and endpoint.trades:
            return accepted({"errors": [], "successes": ""}, when.ms)
        sees_orders = not has_moved or self._variant == "answering"
        serve = (self._v1 if sees_orders else self._empty_v1).serve
        return accepted(serve(call, endpoint, form, when, delay), when.ms)

    def serve_v5(
        self, call: V5Call, endpoint: Endpoint, form: Any, when: Moment, delay: Callable[[], float]
    ) -> Answer:
        """V5's answer to a verified call; raises `Refused`. See `ServeV5.serve`.

        Assumed: only the asset mode, which is 0 until the move (HTX.Net), is told to an account on
        either generation.
        """
        has_moved = self.generation(when.at) == "v5"
        if not has_moved and call is Call.V5_ASSET_MODE:
            return accepted_on_v5({"assets_mode": 0}, when.ms)
        if not has_moved and self._refusal:
            raise Refused(self._refusal)
        serve = (self._v5 if has_moved else self._empty_v5).serve
        return accepted_on_v5(serve(call, endpoint, form, when, delay), when.ms)
