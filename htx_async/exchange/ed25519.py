"""Ed25519 signatures; the only door to cryptography (extra `ed25519`), loaded when asked for."""

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key


def signer(private_key_pem: str | bytes) -> Callable[[bytes], bytes] | None:
    """What signs with the key of an unencrypted PEM text (PKCS #8); None when it is not one."""
    # The reason is dropped: exceptions of the encoder and the parser quote what they were given.
    try:
        pem = private_key_pem.encode() if isinstance(private_key_pem, str) else private_key_pem
        key = load_pem_private_key(pem, password=None)
    except Exception:
        return None
    return key.sign if isinstance(key, Ed25519PrivateKey) else None
