"""The calls that the simulated exchange knows: method, path, what it does, margin mode."""

from typing import Literal, NamedTuple

Call = Literal[
    "cancelall",
    "cancel",
    "openorders",
    "hisorders",
    "v5_opens",
    "v5_history",
    "v5_order",
    "v5_cancel",
    "v5_asset_mode",
    "v5_position_mode",
    "contract_info",
    "timestamp",
]
MarginMode = Literal["isolated", "cross"]
Generation = Literal["v1", "v5"]

V5 = "/v5/"
_V1 = "/linear-swap-api/v1/"


class Endpoint(NamedTuple):
    """One path of the exchange; `margin_mode` is None where it is not the path that tells it."""

    method: str
    path: str
    call: Call
    margin_mode: MarginMode | None = None

    @property
    def trades(self) -> bool:
        """Whether it counts as a trade call: on v1 five a second on each path (HTX API docs, the
        pages of the four cancel calls).
        """
        return self.call in ("cancelall", "cancel", "v5_cancel")

    @property
    def is_public(self) -> bool:
        return self.call in ("contract_info", "timestamp")

    @property
    def is_v5(self) -> bool:
        return self.path.startswith(V5)


ENDPOINTS = (
    Endpoint("POST", f"{_V1}swap_track_cancelall", "cancelall", "isolated"),
    Endpoint("POST", f"{_V1}swap_cross_track_cancelall", "cancelall", "cross"),
    Endpoint("POST", f"{_V1}swap_track_cancel", "cancel", "isolated"),
    Endpoint("POST", f"{_V1}swap_cross_track_cancel", "cancel", "cross"),
    Endpoint("POST", f"{_V1}swap_track_openorders", "openorders", "isolated"),
    Endpoint("POST", f"{_V1}swap_cross_track_openorders", "openorders", "cross"),
    Endpoint("POST", f"{_V1}swap_track_hisorders", "hisorders", "isolated"),
    Endpoint("POST", f"{_V1}swap_cross_track_hisorders", "hisorders", "cross"),
    Endpoint("GET", f"{V5}algo/order/opens", "v5_opens"),
    Endpoint("GET", f"{V5}algo/order/history", "v5_history"),
    Endpoint("GET", f"{V5}algo/order", "v5_order"),
    Endpoint("POST", f"{V5}algo/cancel_orders", "v5_cancel"),
    Endpoint("POST", f"{V5}algo/cancel-orders", "v5_cancel"),
    Endpoint("GET", f"{V5}account/asset_mode", "v5_asset_mode"),
    Endpoint("GET", f"{V5}position/mode", "v5_position_mode"),
    Endpoint("GET", f"{_V1}swap_contract_info", "contract_info"),
    Endpoint("GET", "/api/v1/timestamp", "timestamp"),
)

BY_REQUEST = {(endpoint.method, endpoint.path): endpoint for endpoint in ENDPOINTS}
