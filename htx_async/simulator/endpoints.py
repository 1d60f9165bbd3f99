"""The calls that the simulated exchange knows: method, path, what it does, margin mode."""

from typing import Literal, NamedTuple

Call = Literal["cancelall", "cancel", "openorders", "hisorders", "contract_info", "timestamp"]
MarginMode = Literal["isolated", "cross"]

_V1 = "/linear-swap-api/v1/"


class Endpoint(NamedTuple):
    """One path of the exchange; `margin_mode` is None where orders are not concerned."""

    method: str
    path: str
    call: Call
    margin_mode: MarginMode | None = None

    @property
    def trades(self) -> bool:
        """Whether it counts as a trade call: five a second on each path (HTX API docs, the pages
        of the four cancel calls).
        """
        return self.call in ("cancelall", "cancel")


ENDPOINTS = (
    Endpoint("POST", f"{_V1}swap_track_cancelall", "cancelall", "isolated"),
    Endpoint("POST", f"{_V1}swap_cross_track_cancelall", "cancelall", "cross"),
    Endpoint("POST", f"{_V1}swap_track_cancel", "cancel", "isolated"),
    Endpoint("POST", f"{_V1}swap_cross_track_cancel", "cancel", "cross"),
    Endpoint("POST", f"{_V1}swap_track_openorders", "openorders", "isolated"),
    Endpoint("POST", f"{_V1}swap_cross_track_openorders", "openorders", "cross"),
    Endpoint("POST", f"{_V1}swap_track_hisorders", "hisorders", "isolated"),
    Endpoint("POST", f"{_V1}swap_cross_track_hisorders", "hisorders", "cross"),
    Endpoint("GET", f"{_V1}swap_contract_info", "contract_info"),
    Endpoint("GET", "/api/v1/timestamp", "timestamp"),
)

BY_REQUEST = {(endpoint.method, endpoint.path): endpoint for endpoint in ENDPOINTS}
