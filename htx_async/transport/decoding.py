"""Bodies without their content coding, within a bound. Pure.

Identity is asked for, but recorded replies of the exchange come gzipped.
"""

import zlib
from collections.abc import Iterable, Mapping

LARGEST_BODY = 256 * 1024
"""Bytes, after decoding; no known reply comes near."""

_DEFLATE = 8


def decoded(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The body without its content coding; ValueError or zlib.error when it is not complete."""
    if "content-encoding" in headers:
        for coding in reversed(_codings(headers)):
            body = _inflated(body, coding)
    return body


def _codings(headers: Mapping[str, str]) -> list[str]:
    named: Iterable[str] = headers.get("content-encoding", "").lower().split(",")
    return [name.strip() for name in named if name.strip() not in ("", "identity")]


def _inflated(body: bytes, coding: str) -> bytes:
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError("the reply has a content coding that was not asked for")
    # "deflate" is zlib's format by the standard and often the bare one in practice.
    bare = coding == "deflate" and body[:1] and body[0] & 0x0F != _DEFLATE
    inflater = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
    result = inflater.decompress(body, LARGEST_BODY)
    if not inflater.eof or inflater.unused_data:
        raise ValueError("the reply is cut short, longer than it says, or too large")
    return result
