"""What users would pick instead of this SDK, each doing the same cancel-all in its own process."""

ACCESS_KEY = "e2xxxxxx-99xxxxxx-84xxxxxx-7xxxx"
SECRET_KEY = "b0xxxxxx-c6xxxxxx-94xxxxxx-dxxxx"  # noqa: S105 - opens nothing
"""Those of the exchange's documentation."""

PATH = "/linear-swap-api/v1/swap_track_cancelall"
BODY = {"contract_code": "BTC-USDT", "direction": "buy", "offset": "close"}
