"""Ed25519 keys, against the published vector."""

import base64
import sys
import traceback
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from htx_async import Credentials, InvalidRequest
from tests.support.paths import PACKAGE

# huobi_Golang, signerED25519_test.go: 32 bytes of seed, then the public key.
KEY = "nJanXRB7WIiSgr6eQzgNaQjp+xCkieLj0RQ2NxAZefqYiJajRf6PVrd0kE8kdHG3XuiXLlM6w5xipkdTNw5Ucw=="
TEXT = "GET\napi.huobi.pro\n/v1/account/history\naccount-id=1&currency=btcusdt"
SIGNATURE = (
    "KnEhhsa511CrWu++7BMSdVrLtFhvxARINGsGpq8S699qMgghekPwW90RV14A4sniE3RS1J/v0hAo70iA9Ln4Aw=="
)


def pem(protection: KeySerializationEncryption | None = None) -> str:
    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(KEY)[:32])
    form = protection or NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, form).decode()


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_published_vector_is_signed_alike_from_text_and_bytes(as_bytes: bool) -> None:
    """The one published signature of this kind, from text and from bytes."""
    text = pem()
    credentials = Credentials.ed25519("access", text.encode() if as_bytes else text)
    assert credentials.signature(TEXT) == SIGNATURE
    assert credentials.signature_method == "Ed25519"
    assert "SignatureMethod=Ed25519&" in credentials.query_head


def test_what_is_no_such_key_is_refused_without_repeating_it() -> None:
    """Encrypted keys, keys of other kinds, plain text, what is no text: refused, nothing quoted."""
    rsa = generate_private_key(65537, 2048)
    other = rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    # What is no UTF-8 stands so in a text that was read from a variable or an argument.
    undecoded = f"{pem()}canary\udcff"
    encrypted = pem(BestAvailableEncryption(b"word"))
    for text in (encrypted, other, "canary-secret", "", pem()[:-40], undecoded):
        with pytest.raises(InvalidRequest, match="PEM") as caught:
            Credentials.ed25519("access", text)
        assert caught.value.__context__ is None
        frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
        ours = [one for one in frames if Path(one.f_code.co_filename).is_relative_to(PACKAGE)]
        assert ours
        assert not any("canary" in repr(f.f_locals) for f in ours)
        assert not any("PRIVATE KEY-----" in repr(f.f_locals) for f in ours)


def test_a_bad_access_key_is_refused() -> None:
    """The rules for access keys are the same for every kind."""
    with pytest.raises(InvalidRequest, match="access_key"):
        Credentials.ed25519(" access", pem())


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback of an import, but what to install."""
    monkeypatch.setitem(sys.modules, "htx_async.exchange.ed25519", None)
    with pytest.raises(InvalidRequest, match=r"htx-async\[ed25519\]"):
        Credentials.ed25519("access", pem())


def test_an_extra_that_cannot_be_loaded_is_told_without_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library that is missing, a second interpreter: whatever it is, the frames
    of that error would hold the key."""

    class Broken(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise ImportError("libssl.so.3: cannot open shared object file")

    monkeypatch.setitem(sys.modules, "htx_async.exchange.ed25519", Broken("broken"))
    with pytest.raises(InvalidRequest, match=r"htx-async\[ed25519\]") as caught:
        Credentials.ed25519("access", pem())
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [one for one in frames if Path(one.f_code.co_filename).is_relative_to(PACKAGE)]
    assert ours
    assert not any("PRIVATE KEY-----" in repr(frame.f_locals) for frame in ours)


def test_nothing_shows_the_key() -> None:
    """The repr is the same for every kind of key."""
    assert repr(Credentials.ed25519("access", pem())) == repr(Credentials("a", "b"))
