"""Keys from the environment, and nothing of them in what goes wrong."""

import base64
import hashlib
import hmac
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

import htx_async
from htx_async import Credentials, HtxSession, InvalidRequest
from htx_async.exchange.environment import read_settings
from tests.support.paths import ROOT

ACCESS = "access-canary-0123456789"
SECRET = "secret-canary-0123456789"
OURS = str(Path(htx_async.__file__).parent)
NAMES = ("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_ACCESS_KEY_FILE", "HTX_SECRET_KEY_FILE")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def holds(credentials: Credentials, access: str = ACCESS, secret: str = SECRET) -> bool:
    digest = hmac.new(secret.encode(), b"text", hashlib.sha256).digest()
    same_secret = credentials.signature("text") == base64.b64encode(digest).decode()
    return same_secret and credentials.access_key == access


def leaks(error: BaseException) -> str:
    """Texts, arguments and whole chain of `error`, with the locals of the package's frames."""
    shown: list[str] = []
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is None:
            continue
        todo += [current.__cause__, current.__context__]
        shown += [str(current), repr(current), repr(current.args), repr(vars(current))]
        if isinstance(current, UnicodeDecodeError):
            shown.append(repr(current.object))
        for frame, _ in traceback.walk_tb(current.__traceback__):
            if frame.f_code.co_filename.startswith(OURS):
                shown += [repr(value) for value in frame.f_locals.values()]
    return "\n".join(shown)


def refused() -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        Credentials.from_env()
    return caught.value


def test_both_keys_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two variables are enough."""
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY", SECRET)
    assert holds(Credentials.from_env())


def test_a_variable_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each key may come its own way."""
    (tmp_path / "secret").write_text(SECRET)
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY_FILE", str(tmp_path / "secret"))
    assert holds(Credentials.from_env())


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_both_keys_from_files(ending: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One trailing newline of a file, in either style, is not part of the key."""
    for name, key in (("ACCESS", ACCESS), ("SECRET", SECRET)):
        (tmp_path / name).write_bytes((key + ending).encode())
        monkeypatch.setenv(f"HTX_{name}_KEY_FILE", str(tmp_path / name))
    assert holds(Credentials.from_env())


def test_a_key_in_another_script_is_read_as_utf_8(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file is UTF-8 whatever the locale says."""
    (tmp_path / "secret").write_bytes("cl\u00e9-canary".encode())
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY_FILE", str(tmp_path / "secret"))
    assert holds(Credentials.from_env(), secret="cl\u00e9-canary")


@pytest.mark.parametrize(
    "content",
    ["", "\n", f"{SECRET}\n\n", f"{SECRET}\r\r\n", f"{SECRET}\r", f"{SECRET} \n", f"\n{SECRET}",
     f"\ufeff{SECRET}\n", f"{SECRET}\x00", f"{SECRET}\n{SECRET}\n"],
)  # fmt: skip
def test_a_file_with_more_than_a_key(
    content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only one newline is dropped: what is left and cannot be a key is refused, and not shown."""
    (tmp_path / "secret").write_bytes(content.encode())
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY_FILE", str(tmp_path / "secret"))
    assert "canary" not in leaks(refused())


@pytest.mark.parametrize("which", ["ACCESS", "SECRET"])
def test_a_missing_key_is_named(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one key missing the error names both ways to give it, and shows not the other key."""
    other = {"ACCESS": "SECRET", "SECRET": "ACCESS"}[which]
    monkeypatch.setenv(f"HTX_{other}_KEY", SECRET)
    error = refused()
    assert f"HTX_{which}_KEY" in str(error)
    assert f"HTX_{which}_KEY_FILE" in str(error)
    assert "canary" not in leaks(error)


@pytest.mark.parametrize("which", ["ACCESS", "SECRET"])
def test_a_key_given_both_ways(which: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key in a variable and in a file is a mistake, even when both are the same."""
    (tmp_path / "key").write_text(SECRET)
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY", SECRET)
    monkeypatch.setenv(f"HTX_{which}_KEY_FILE", str(tmp_path / "key"))
    error = refused()
    assert f"HTX_{which}_KEY_FILE" in str(error)
    assert "canary" not in leaks(error)


def _absent(folder: Path) -> Path:
    return folder / "absent"


def _folder(folder: Path) -> Path:
    return folder


def _below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("x")
    return folder / "file" / "key"


def _loop(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def _long_name(folder: Path) -> Path:
    return folder / ("x" * 300)


@pytest.mark.parametrize("make", [_absent, _folder, _below_a_file, _loop, _long_name])
def test_a_file_that_cannot_be_read(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that cannot be read is `InvalidRequest` that names the variable, but not what it
    holds: that may be the key itself, put in the wrong place."""
    path = make(tmp_path)
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY_FILE", str(path))
    error = refused()
    assert "HTX_SECRET_KEY_FILE" in str(error)
    assert str(path) not in leaks(error)
    assert "canary" not in leaks(error)


@pytest.mark.parametrize("spoilt", [b"\xff", b"\xfe\xff", b"\xc3", b"\xed\xa0\x80"])
def test_a_file_that_is_not_utf_8(
    spoilt: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Bytes that are no UTF-8 are refused without the decoder's error, which would carry them."""
    (tmp_path / "secret").write_bytes(SECRET.encode() + spoilt)
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY_FILE", str(tmp_path / "secret"))
    error = refused()
    assert "HTX_SECRET_KEY_FILE" in str(error)
    assert "UTF-8" in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "canary" not in leaks(error)


@pytest.mark.parametrize("which", ["ACCESS", "SECRET"])
@pytest.mark.parametrize("value", ["", " ", f" {SECRET}", f"{SECRET}\n", f"{SECRET}\u200b"])
def test_a_bad_key_in_a_variable(which: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is taken as it is, newline included, and refused when that is no key."""
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY", SECRET)
    monkeypatch.setenv(f"HTX_{which}_KEY", value)
    assert "canary" not in leaks(refused())


@pytest.mark.parametrize("form", ["variable", "file", "argument"])
def test_a_key_in_pem_form_is_told_as_that(
    form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An Ed25519 key where one for HmacSHA256 belongs has not been pasted badly."""
    text = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    name = "HTX_SECRET_KEY_FILE" if form == "file" else "HTX_SECRET_KEY"
    (tmp_path / "key").write_text(text)
    monkeypatch.setenv(name, str(tmp_path / "key") if form == "file" else text)
    with pytest.raises(InvalidRequest, match=r"in PEM form; .* Credentials\.ed25519") as caught:
        Credentials.from_env() if form != "argument" else Credentials(ACCESS, text)
    assert str(caught.value).startswith("secret_key " if form == "argument" else f"{name} ")
    assert "canary" not in leaks(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="the environment of Windows holds no bytes")
@pytest.mark.parametrize("which", ["ACCESS", "SECRET"])
def test_a_variable_that_is_not_utf_8(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes in a variable that are no text end in `InvalidRequest`, not in pydantic's error."""
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY", SECRET)
    monkeypatch.setenv(f"HTX_{which}_KEY", os.fsdecode(SECRET.encode() + b"\xff"))
    assert "canary" not in leaks(refused())


def test_names_are_taken_to_the_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables in another case, or without the prefix, are someone else's."""
    for name in ("htx_access_key", "access_key", "ACCESS_KEY", "secret_key", "HTX_SECRET"):
        monkeypatch.setenv(name, SECRET)
    assert "HTX_ACCESS_KEY" in str(refused())


def test_no_dotenv_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stray `.env` in the working directory gives no keys."""
    (tmp_path / ".env").write_text(f"HTX_ACCESS_KEY={ACCESS}\nHTX_SECRET_KEY={SECRET}\n")
    monkeypatch.chdir(tmp_path)
    assert "HTX_ACCESS_KEY" in str(refused())


@pytest.mark.slow
def test_pydantic_settings_is_loaded_only_when_asked_for() -> None:
    """Importing the package, and making credentials by hand, loads no pydantic-settings."""
    script = (
        "import sys, htx_async; htx_async.Credentials('a', 'b');"
        "sys.exit('pydantic_settings' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_base_urls_come_from_the_environment_unless_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`HTX_BASE_URL`: one, or several with white space in between; empty is not set, and what is
    no base URL is refused."""
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY", SECRET)
    urls = ["http://127.0.0.1:8080", "https://api.hbdm.vn"]
    for value, found in ((urls[0], urls[:1]), (" ".join(urls), urls), ("  ", None), ("", None)):
        monkeypatch.setenv("HTX_BASE_URL", value)
        assert read_settings().get("base_urls") == found
        HtxSession.from_env()
    monkeypatch.setenv("HTX_BASE_URL", "http://api.hbdm.com")
    with pytest.raises(InvalidRequest, match="use https"):
        HtxSession.from_env()
    HtxSession.from_env(base_urls="https://api.hbdm.com")


@pytest.mark.parametrize("name", ["BASE_URL", "GENERATION", "PROXY", "HOST_LIMIT"])
def test_an_empty_variable_counts_as_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a session as for the command; a key that is empty is an error instead."""
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY", SECRET)
    monkeypatch.setenv(f"HTX_{name}", "")
    assert read_settings() == {}
    assert HtxSession.from_env().generation[1] != "given"
