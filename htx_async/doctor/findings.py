"""What an examination found, and the findings about the account itself."""

from collections.abc import Callable
from typing import NamedTuple

from htx_async.errors import HtxError
from htx_async.exchange.signing import Credentials
from htx_async.session import HtxSession, SessionSettings


class Finding(NamedTuple):
    """What one step found.

    `subject`: "keys", "limiter", "generation", or a base URL with the step, such as
    "https://api.hbdm.com: TLS". `told`: one sentence without its full stop. `advice`: what to do;
    empty exactly when `ok`. Nothing secret is in any of them.
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


async def of_generation(
    credentials: Credentials, settings: SessionSettings, seconds: float
) -> Finding:
    """By one list of open orders, which touches none."""
    async with HtxSession(credentials, **settings) as htx:
        try:
            await htx.open_trailing(_ANY_CONTRACT, deadline=seconds)
        except HtxError as error:
            return Finding("generation", False, str(error), _ASK_ON_THE_WEBSITE)
        current, how = htx.generation
    return Finding("generation", True, f"{current} ({how})")


_ANY_CONTRACT = "BTC-USDT"
_ASK_ON_THE_WEBSITE = (
    "check the keys and their permissions; the exchange's website tells which kind of account it is"
)


def in_words(error: Exception) -> str:
    """What may be told of an error."""
    # Foreign words may hold a key, or an address with its password.
    return str(error) if isinstance(error, HtxError) else f"{type(error).__name__} was raised"
