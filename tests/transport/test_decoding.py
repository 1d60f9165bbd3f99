"""Bodies without their content coding."""

import gzip
import zlib

import pytest

from htx_async.transport.decoding import LARGEST_BODY, decoded

TEXT = b'{"status":"ok"}'


def zipped(body: bytes) -> bytes:
    # Without the time of day, which would give the same case another name a second later.
    return gzip.compress(body, mtime=0)


def bare_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeezer.compress(data) + squeezer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", zipped(TEXT)),
        ("GZIP", zipped(TEXT)),
        ("x-gzip", zipped(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", bare_deflate(TEXT)),
        ("deflate, gzip", zipped(zlib.compress(TEXT))),
    ],
)
def test_known_codings_are_taken_off(coding: str, body: bytes) -> None:
    """Gzip, and deflate in its standard and its bare form, one after the other."""
    assert decoded(body, {"content-encoding": coding}) == TEXT


def test_without_the_header_the_body_is_as_it_is() -> None:
    """Also when it looks compressed."""
    assert decoded(zipped(TEXT), {}) == zipped(TEXT)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("br", TEXT),
        ("gzip", TEXT),
        ("gzip", b""),
        ("gzip", zipped(TEXT)[:-1]),
        ("gzip", zipped(TEXT) + b"tail"),
        ("gzip", zipped(bytes(LARGEST_BODY + 1))),
        ("deflate", b""),
    ],
)
def test_what_is_not_complete_is_an_error(coding: str, body: bytes) -> None:
    """Unknown codings, cut or padded bodies, and those that decode to too much."""
    with pytest.raises((ValueError, zlib.error)):
        decoded(body, {"content-encoding": coding})
