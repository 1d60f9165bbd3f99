"""The contracts that demo and simulation play with."""

_COINS = (
    *("BTC", "ETH", "XRP", "LTC", "SOL", "DOGE", "AVAX", "ADA", "TRX", "LINK"),
    *("DOT", "UNI", "BCH", "ETC", "FIL", "NEAR", "APT", "ARB", "OP", "SUI"),
    *("ATOM", "XLM", "HBAR", "ICP", "INJ", "TIA", "SEI", "AAVE", "MKR", "LDO"),
    *("CRV", "GRT", "SAND", "MANA", "AXS", "GALA", "DYDX", "ENS", "EOS", "ZEC"),
)

MOST = 400


def contracts(number: int) -> tuple[str, ...]:
    """So many contract codes, made up where there are no more names: TEST41-USDT and so on."""
    made_up = (f"TEST{n}" for n in range(len(_COINS) + 1, number + 1))
    return tuple(f"{coin}-USDT" for coin in (*_COINS[:number], *made_up))
