"""Bodies without their content coding."""

import gzip
import zlib

import pytest

from htx_async.decoding import LARGEST_BODY, decoded

TEXT = b'{"status":"ok"}'


def bare_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeezer.compress(data) + squeezer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("GZIP", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", bare_deflate(TEXT)),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
    ],
)
def test_known_codings_are_taken_off(coding: str, body: bytes) -> None:
    """Gzip, and deflate in its standard and its bare form, one after the other."""
    assert decoded(body, {"content-encoding": coding}) == TEXT


def test_without_the_header_the_body_is_as_it_is() -> None:
    """Also when it looks compressed."""
    assert decoded(gzip.compress(TEXT), {}) == gzip.compress(TEXT)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("br", TEXT),
        ("gzip", TEXT),
        ("gzip", b""),
        ("gzip", gzip.compress(TEXT)[:-1]),
        ("gzip", gzip.compress(TEXT) + b"tail"),
        ("gzip", gzip.compress(bytes(LARGEST_BODY + 1))),
        ("deflate", b""),
    ],
)
def test_what_is_not_complete_is_an_error(coding: str, body: bytes) -> None:
    """Unknown codings, cut or padded bodies, and those that decode to too much."""
    with pytest.raises((ValueError, zlib.error)):
        decoded(body, {"content-encoding": coding})
