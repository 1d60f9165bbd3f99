"""The signature as a server checks it, in lines of its own.

It deliberately shares nothing with `htx_async.exchange.signing`: two halves by the same hand
agree in their mistakes. Scheme: HTX API docs, "Signature steps".
"""

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from htx_async.simulator.messages import Refusal, Request

# A Timestamp is valid for five minutes (HTX API docs, "Authentication"; the USDT-M pages do not
# repeat it).
TOLERANCE = 300.0

_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")

# Every signature and key fault arrives as 403; which text goes with which fault is assumed.
WRONG_KEY = Refusal(403, "Incorrect Access key [Access key错误]")
WRONG_METHOD = Refusal(403, "Incorrect signature method [错误的签名方法]")
NOT_VERIFIED = Refusal(403, "Verification failure [校验失败]")
STALE = Refusal(12001, "Invalid submission time.")


class SignatureCheck:
    """Knows one key pair; shows it nowhere."""

    __slots__ = ("_access_key", "_keyed")

    def __init__(self, access_key: str, secret_key: str) -> None:
        self._access_key = access_key.encode()
        self._keyed = hmac.new(secret_key.encode(), digestmod=hashlib.sha256)

    def check(self, request: Request, now: float) -> Refusal | None:
        """What is wrong with the key or the signature of `request` at Unix time `now`, or None.

        The query is decoded as a server decodes it, so that a `+` left unescaped in a signature
        arrives as a space and does not verify. The signed host is the Host header, with or
        without its port: peers differ. A stale Timestamp is looked at last.
        """
        pairs = parse_qsl(request.query, keep_blank_values=True)
        params = dict(pairs)
        if not hmac.compare_digest(_bytes(params.get("AccessKeyId", "")), self._access_key):
            return WRONG_KEY
        if params.get("SignatureMethod") != "HmacSHA256":
            return WRONG_METHOD
        submitted = _unix_time(params.get("Timestamp", ""))
        if params.get("SignatureVersion") != "2" or submitted is None or len(pairs) != len(params):
            return NOT_VERIFIED
        signature = _bytes(params.pop("Signature", ""))
        matches = [hmac.compare_digest(signature, one) for one in self._sign(request, params)]
        if True not in matches:
            return NOT_VERIFIED
        return STALE if abs(now - submitted) > TOLERANCE else None

    def _sign(self, request: Request, params: dict[str, str]) -> list[bytes]:
        query = "&".join(f"{_escape(name)}={_escape(params[name])}" for name in sorted(params))
        host = request.header("Host").lower()
        return [
            self._hmac(f"{request.method}\n{name}\n{request.path}\n{query}")
            for name in (host, re.sub(r":[0-9]*$", "", host))
        ]

    def _hmac(self, text: str) -> bytes:
        mac = self._keyed.copy()
        mac.update(_bytes(text))
        return base64.b64encode(mac.digest())


def _escape(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _unix_time(timestamp: str) -> float | None:
    """Seconds, or None unless the text is exactly `YYYY-MM-DDThh:mm:ss` (UTC)."""
    if not _TIMESTAMP.fullmatch(timestamp):
        return None
    try:
        return datetime.fromisoformat(timestamp).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
