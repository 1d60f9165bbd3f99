"""Bodies that no exchange means to send."""

import json
import random
import unicodedata
from typing import Any

OK: dict[str, Any] = {"status": "ok", "data": {"errors": [], "successes": "11,12"}, "ts": 5}
NO: dict[str, Any] = {"status": "error", "err_code": 1051, "err_msg": "No orders.", "ts": 5}


def ok(**data: Any) -> dict[str, Any]:
    """An accepted reply whose `data` has other fields."""
    return {**OK, "data": {**OK["data"], **data}}


def no(code: Any, **fields: Any) -> dict[str, Any]:
    """An error of the first shape with another code."""
    return {**NO, "err_code": code, **fields}


_OK_TEXT = json.dumps(OK)
_BAD_CODE = b'{"status": "error", "err_code": '
_IDS = b'{"status": "ok", "data": {"errors": [], "successes": ['
NOT_JSON = {
    "nothing": b"",
    "space": b"  \n",
    "words": b"OK",
    "HTML": b"<!DOCTYPE html><html><body>ok</body></html>",
    "HTML around a reply": f"<pre>{_OK_TEXT}</pre>".encode(),
    "byte order mark": b"\xef\xbb\xbf" + _OK_TEXT.encode(),
    "UTF-16": _OK_TEXT.encode("utf-16"),
    "UTF-16 without a mark": _OK_TEXT.encode("utf-16-le"),
    "UTF-32": _OK_TEXT.encode("utf-32"),
    "Latin-1": _OK_TEXT.replace('"ts"', '"t\u00e9": 1, "ts"').encode("latin-1"),
    "GB 18030": json.dumps(no(1051, err_msg="\u9519\u8bef"), ensure_ascii=False).encode("gb18030"),
    "encoded surrogate": _OK_TEXT.encode().replace(b"ts", b"\xed\xa0\x80"),
    "overlong encoding": _OK_TEXT.encode().replace(b"ts", b"\xc0\xaf"),
    "NaN": _OK_TEXT.replace("5}", "NaN}").encode(),
    "Infinity": _OK_TEXT.replace("5}", "Infinity}").encode(),
    "minus Infinity": _OK_TEXT.replace("5}", "-Infinity}").encode(),
    "NaN where it is ignored": _OK_TEXT.replace("5}", '5, "x": [NaN]}').encode(),
    "a key twice": _OK_TEXT.replace("5}", '5, "ts": 5}').encode(),
    "status twice": _BAD_CODE + b'1, "status": "ok",' + _OK_TEXT[16:].encode(),
    "code twice": b'{"status": "error", "err_code": 1051, "err_code": 1051}',
    "a nested key twice": _OK_TEXT.replace('"errors"', '"errors": [], "errors"').encode(),
    "a key twice, ignored": _OK_TEXT.replace("5}", '5, "x": [{"a": 1, "a": 1}]}').encode(),
    "a key twice by escape": _OK_TEXT.replace("5}", '5, "\\u0074s": 5}').encode(),
    "two replies": (_OK_TEXT * 2).encode(),
    "a tail": _OK_TEXT.encode() + b"x",
    "a trailing NUL": _OK_TEXT.encode() + b"\x00",
    "a trailing comma": _OK_TEXT.replace("5}", "5,}").encode(),
    "a comment": _OK_TEXT.encode() + b"// ok",
    "single quotes": _OK_TEXT.replace('"', "'").encode(),
    "a raw newline in a string": _OK_TEXT.replace("11,12", "11\n12").encode(),
    "a leading zero": _OK_TEXT.replace("5}", "05}").encode(),
    "a list": f"[{_OK_TEXT}]".encode(),
    "null": b"null",
    "true": b"true",
    "a number": b"1051",
    "a string": b'"ok"',
    "an empty object": b"{}",
    "an empty list": b"[]",
    "a reply in a string": json.dumps(_OK_TEXT).encode(),
    "a callback": f"callback({_OK_TEXT})".encode(),
    "deep lists": b"[" * 100_000,
    "deep lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "depth where it is ignored": _OK_TEXT.replace("5}", f'5, "x": {"[" * 100_000}').encode(),
    "deep code": _BAD_CODE + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep status": b'{"err_code": 1, "error": 1, "status": ' + b"[" * 900 + b"]" * 900 + b"}",
    "5000 digits as time": _OK_TEXT.replace("5}", "5" * 5000 + "}").encode(),
    "5000 digits as code": _BAD_CODE + b"1" * 5000 + b"}",
    "5000 digits as text": b'{"status": "error", "err_code": "' + b"1" * 5000 + b'"}',
    "5000 digits as id": json.dumps(ok(successes=["1" * 5000])).encode(),
    "4000 digits as code": _BAD_CODE + b"1" * 4000 + b"}",
    "4000 digits as status": b'{"error": "x", "status": ' + b"4" * 4000 + b"}",
    "4000 digits as id": _IDS + b"1" * 4000 + b"]}}",
    "an infinite float as code": b'{"status": "error", "err_code": 1e400}',
    "a code in exponents": b'{"status": "error", "err_code": 1.051e3}',
    "a negative code": b'{"status": "error", "err_code": -1}',
}  # fmt: skip
EVIL = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "8-bit escape": "\x9b31m",
    "newline": "one\ntwo\r\nthree",
    "forged log line": "no\n2026-03-01 INFO all cancelled",
    "NUL": "a\x00b",
    "backspace": "refused\x08\x08\x08",
    "delete": "a\x7fb",
    "bidi override": "abc\u202ecba\u202c",
    "bidi isolate": "\u2066abc\u2069",
    "left-to-right mark": "a\u200eb\u200fc\u061cd",
    "zero width": "a\u200bb\u200dc\ufeff",
    "line separator": "a\u2028b\u2029c\x85d",
    "tags": "a\U000e0041b",
}


def is_plain(text: str) -> bool:
    """No control, format, separator or surrogate character but the plain space."""
    odd = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    return all(unicodedata.category(character) not in odd for character in text)


STATUSES = [200, 200, 200, 200, 201, 400, 403, 404, 429, 302, 502]
ODD: list[Any] = [None, True, False, -1, 0, 1, 1.5, 1051, "1051", "", "ok", "error", [], {}, [[]],
                  {"a": 1}, 10**20, "x" * 500, "\u0000", "\u202e", "\ud800", 200, 404,
                  "maintain"]  # fmt: skip
SPLICES = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\x00", b"\xff", b"NaN", b"1e999",
           b"null", b'"status": "ok",', b'"err_code": 1051,', b"\xef\xbb\xbf"]  # fmt: skip


def mangled(chance: random.Random, body: bytes) -> bytes:
    """`body` with one to three bytes or pieces changed."""
    text = bytearray(body)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(text) + 1)
        end = min(len(text), place + chance.randint(0, 6))
        kind = chance.randrange(6)
        if kind == 0:
            text[place:end] = b""
        elif kind == 1:
            text[place:place] = chance.choice(SPLICES)
        elif kind == 2:
            text[place:end] = chance.choice(SPLICES)
        elif kind == 3:
            text[place:place] = text[place:end]
        elif kind == 4:
            del text[place:]
        elif place < len(text):
            text[place] = chance.randrange(256)
    return bytes(text)


def regrown(chance: random.Random, body: bytes) -> bytes:
    """`body` with one of its values, at any depth, replaced, dropped, or joined by another."""
    document = json.loads(body)
    node = document
    while True:
        names = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not names:
            break
        name = chance.choice(names)
        if isinstance(node[name], dict | list) and node[name] and chance.random() < 0.7:
            node = node[name]
            continue
        kind = chance.randrange(3)
        if kind == 0:
            node[name] = chance.choice(ODD)
        elif kind == 1:
            del node[name]
        elif isinstance(node, dict):
            node[chance.choice(["status", "err_code", "code", "data", "errors", "x"])] = (
                chance.choice(ODD)
            )
        else:
            node.append(chance.choice(ODD))
        break
    return json.dumps(document).encode()
