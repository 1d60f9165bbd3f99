"""Keys and signatures, without I/O.

The scheme (HTX API docs, "Signature steps"): the query parameters, percent-encoded and sorted by
the ASCII order of their names, after method, host and path on lines of their own, are signed and
the signature travels as one more parameter. A POST body is not signed.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NoReturn, Self
from urllib.parse import quote

from htx_async.arguments import key_problem
from htx_async.errors import InvalidRequest
from htx_async.exchange.messages import HIDDEN, Request, Secret, SignedRequest

_TIMESTAMP = "%Y-%m-%dT%H%%3A%M%%3A%S"
"""Seconds in UTC, percent-encoded."""


class Credentials:
    """An access key and the means to sign for it; immutable, and mute about both.

    Keys are taken as they are. Empty ones, control or invisible characters, leading or trailing
    space raise `InvalidRequest`. The secret is not kept as text and shows in no repr, str, pickle
    or dump; pickling raises `TypeError`.
    """

    __slots__ = ("_access_key", "_sign", "query_head", "signature_method")

    _access_key: str
    _sign: Callable[[bytes], bytes]
    signature_method: str
    query_head: str

    def __init__(self, access_key: str, secret_key: str) -> None:
        problem = key_problem("access_key", access_key) or key_problem("secret_key", secret_key)
        if problem is not None:
            # A traceback shows the values of a frame: leave none behind.
            del access_key, secret_key
            raise InvalidRequest(problem)
        self._fill(access_key, "HmacSHA256", _hmac_sha256(secret_key.encode()))

    def _fill(self, access_key: str, method: str, sign: Callable[[bytes], bytes]) -> None:
        head = (
            f"AccessKeyId={_quoted(access_key)}&SignatureMethod={method}"
            "&SignatureVersion=2&Timestamp="
        )
        values = (access_key, sign, head, method)
        for name, value in zip(Credentials.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("Credentials do not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("Credentials do not change")

    @classmethod
    def ed25519(cls, access_key: str, private_key_pem: str | bytes) -> Self:
        """Keys of the Ed25519 kind (HTX API docs, "Ed25519 Steps"): the private key as PEM text.

        Needs the extra `ed25519`; without it, and for a key that is none, raises `InvalidRequest`.
        """
        sign = key_problem("access_key", access_key) or _ed25519(private_key_pem)
        if isinstance(sign, str):
            # A traceback shows the values of a frame: leave none behind.
            del access_key, private_key_pem
            raise InvalidRequest(sign)
        credentials = cls.__new__(cls)
        credentials._fill(access_key, "Ed25519", sign)
        return credentials

    @classmethod
    def from_env(cls) -> Self:
        """Keys from `HTX_ACCESS_KEY` and `HTX_SECRET_KEY`, or from the files that
        `HTX_ACCESS_KEY_FILE` and `HTX_SECRET_KEY_FILE` name (one trailing newline dropped).

        Raises `InvalidRequest` when a key is missing, given both ways, unreadable or malformed.
        """
        # Only this constructor needs pydantic-settings, so only its users pay for loading it.
        from htx_async.exchange.environment import read_keys  # noqa: PLC0415 - see above

        access_key, secret_key = read_keys()
        return cls(access_key.get_secret_value(), secret_key.get_secret_value())

    @property
    def access_key(self) -> str:
        """The access key, which names the key pair to the exchange. Keep it out of logs."""
        return self._access_key

    def signature(self, text: str) -> str:
        """Base64 of the signature of `text`."""
        return base64.b64encode(self._sign(text.encode())).decode("ascii")

    def __repr__(self) -> str:
        return f"Credentials(access_key={HIDDEN!r}, secret_key={HIDDEN!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials are not pickled: pass them by other means")


class Signer:
    """Signs for one pair of keys, and remembers what it signed in the current second.

    A signature covers method, host, path, query and the second; a POST's is the same for every
    body. So a burst of calls costs one signature for each host and second, and every attempt
    still carries the time at which it was signed.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._second = 0
        self._signed: dict[tuple[str, str, str], SignedRequest] = {}

    def sign(self, request: Request, base_url: str, at: datetime) -> SignedRequest:
        """`sign` with these keys."""
        if request.params:
            return sign(self._credentials, request, base_url, at)
        second = int(at.timestamp())
        if second != self._second:
            self._second = second
            self._signed.clear()
        key = (request.method, base_url, request.path)
        signed = self._signed.get(key)
        if signed is None:
            signed = self._signed[key] = sign(self._credentials, request, base_url, at)
        return signed.serving(request)

    def forget(self) -> None:
        """Keep nothing that was signed."""
        self._signed.clear()


def sign(credentials: Credentials, request: Request, base_url: str, at: datetime) -> SignedRequest:
    """`request` for the host of `base_url`, signed for the second of `at`.

    The signed host is what the Host header will carry: no port when it is the scheme's own
    (HTX API docs, "FAQ Q6"), so `base_url` must come without a default port.
    """
    try:
        return _signed(credentials, request, base_url, at)
    except BaseException as error:
        # Ctrl-C may come at any moment, and the frames below hold the signature.
        error.__traceback__ = None
        raise


def _signed(
    credentials: Credentials, request: Request, base_url: str, at: datetime
) -> SignedRequest:
    query = credentials.query_head + at.astimezone(UTC).strftime(_TIMESTAMP)
    if request.params:
        extra = (f"{_quoted(name)}={_quoted(value)}" for name, value in request.params)
        query = "&".join(sorted([*query.split("&"), *extra], key=_name))
    host = base_url.partition("://")[2].lower()
    signature = credentials.signature(f"{request.method}\n{host}\n{request.path}\n{query}")
    escaped = signature.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    return SignedRequest(
        request,
        base_url,
        f"{query}&Signature={escaped}",
        (Secret(signature), Secret(credentials.access_key)),
    )


def _name(parameter: str) -> str:
    return parameter.partition("=")[0]


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _hmac_sha256(secret: bytes) -> Callable[[bytes], bytes]:
    keyed = hmac.new(secret, digestmod=hashlib.sha256)

    def sign_bytes(message: bytes) -> bytes:
        mac = keyed.copy()
        mac.update(message)
        return mac.digest()

    return sign_bytes


def _ed25519(private_key_pem: str | bytes) -> Callable[[bytes], bytes] | str:
    """What signs with this key, or what is wrong."""
    try:
        # Only users of these keys have cryptography, and pay for loading it.
        from htx_async.exchange.ed25519 import signer  # noqa: PLC0415 - see above
    except ImportError:
        # Not there, or a library that it needs is not.
        return 'Ed25519 keys need a cryptography that works here: pip install "htx-async[ed25519]"'
    return signer(private_key_pem) or (
        "private_key_pem must be an unencrypted Ed25519 private key in PEM form, as "
        "`openssl genpkey -algorithm ed25519` writes it"
    )
