"""What an examination found, and the finding about the keys."""

from collections.abc import Callable
from typing import NamedTuple

from htx_async.errors import HtxError
from htx_async.exchange.signing import Credentials


class Finding(NamedTuple):
    """What one step found.

    `subject`: "keys", "limiter", "keys accepted", "generation", "open orders", or a base URL with
    the step, such as "https://api.hbdm.com: TLS". `told`: one sentence without its full stop.
    `advice`: what to do; empty exactly when `ok`. Nothing secret is in any of them.
    """

    subject: str
    ok: bool
    told: str
    advice: str = ""


def of_keys(read_credentials: Callable[[], Credentials]) -> Finding:
    """Whether the keys can be read."""
    try:
        method = read_credentials().signature_method
    except Exception as error:
        return Finding("keys", False, in_words(error), _SET_KEYS)
    return Finding("keys", True, f"both can be read, for {method}")


_SET_KEYS = (
    "set HTX_ACCESS_KEY and HTX_SECRET_KEY, or HTX_ACCESS_KEY_FILE and HTX_SECRET_KEY_FILE to "
    "files that hold them"
)


def in_words(error: Exception) -> str:
    """What may be told of an error."""
    # Foreign words may hold a key, or an address with its password.
    return str(error) if isinstance(error, HtxError) else f"{type(error).__name__} was raised"
