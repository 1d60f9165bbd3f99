"""What an examination found, and the finding about the keys."""

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from htx_async.errors import HtxError, InvalidRequest
from htx_async.exchange.proxy import Proxy
from htx_async.exchange.signing import Credentials


class Finding(NamedTuple):
    """What one step found.

    `subject`: "keys", "proxy", "limiter", "keys accepted", "generation", "open orders", or a base
    URL with the step, such as "https://api.hbdm.com: TLS". `told`: one sentence without its full
    stop. `advice`: what to do; empty exactly when `ok`. Nothing secret is in any of them.
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


def of_proxy(proxy: Proxy | None, is_reached: bool) -> Finding | None:
    """Whether the way goes through one; None where there is none and none is named by a variable
    that other programs heed. `is_reached`: whether every base URL told its time."""
    if proxy is not None:
        told = f"requests go by way of {proxy.url}, which looks names up"
        return Finding("proxy", is_reached, told, "" if is_reached else _CHECK_PROXY)
    names = [name for name in os.environ if name.upper() in _OF_OTHERS and os.environ[name]]
    if not names:
        return None
    told = f"{' and '.join(sorted(names))} {'is' if len(names) == 1 else 'are'} set and not used"
    if is_reached:
        return Finding("proxy", True, f"{told}, nor needed; --proxy or HTX_PROXY would name one")
    return Finding("proxy", False, told, _NAME_IT)


def of_plain_http(proxy: Proxy | None, base_urls: Iterable[str]) -> Finding | None:
    """That a proxy would see signed requests, so that nothing is sent; None where it would not.
    `InvalidRequest` for what can be no proxy."""
    if proxy is None:
        return None
    try:
        proxy.check(base_urls)
    except InvalidRequest as error:
        if not proxy.url:
            raise
        told, _, advice = str(error).rpartition(": ")
        return Finding("proxy", False, told, advice)
    return None


_OF_OTHERS = ("HTTPS_PROXY", "ALL_PROXY")
_NAME_IT = (
    "if this machine reaches the exchange through a proxy only, name it by --proxy or HTX_PROXY, "
    "in Python by proxy="
)
_CHECK_PROXY = (
    "check its address, name and password, and that it lets tunnels through to these hosts; if it "
    "ends TLS itself, name the file of its authority by SSL_CERT_FILE"
)


def in_words(error: Exception) -> str:
    """What may be told of an error."""
    # Foreign words may hold a key, or an address with its password.
    return str(error) if isinstance(error, HtxError) else f"{type(error).__name__} was raised"
