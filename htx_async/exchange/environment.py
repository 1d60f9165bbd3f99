"""Settings from the environment; the only door to pydantic-settings, loaded when asked for."""

import os
from pathlib import Path
from typing import Any, NoReturn

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from htx_async.arguments import key_problem
from htx_async.errors import InvalidRequest
from htx_async.exchange.proxy import Proxy

_NAMES = ("HTX_ACCESS_KEY", "HTX_SECRET_KEY")
_KEYS = {"access_key", "access_key_file", "secret_key", "secret_key_file"}
_NO_KEYS = (
    "no keys: neither HTX_ACCESS_KEY nor HTX_SECRET_KEY is set, and no file is named for either "
    "(HTX_ACCESS_KEY_FILE, HTX_SECRET_KEY_FILE)"
)


class _Hidden(SecretStr):
    """Masked where it is shown, and never part of a pickle: it stands in frames that may be."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is a credential and is not pickled")


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(
        case_sensitive=True, extra="ignore", hide_input_in_errors=True
    )

    access_key: _Hidden | None = Field(default=None, validation_alias="HTX_ACCESS_KEY")
    secret_key: _Hidden | None = Field(default=None, validation_alias="HTX_SECRET_KEY")
    # Masked too: somebody may put the key itself where its file's name belongs.
    access_key_file: _Hidden | None = Field(default=None, validation_alias="HTX_ACCESS_KEY_FILE")
    generation: str | None = Field(default=None, validation_alias="HTX_GENERATION")
    secret_key_file: _Hidden | None = Field(default=None, validation_alias="HTX_SECRET_KEY_FILE")
    base_url: str | None = Field(default=None, validation_alias="HTX_BASE_URL")
    # Masked, since it may hold a password.
    proxy: _Hidden | None = Field(default=None, validation_alias="HTX_PROXY")
    host_limit: str | None = Field(default=None, validation_alias="HTX_HOST_LIMIT")


def read_keys() -> tuple[SecretStr, SecretStr]:
    """Access key and secret key from `HTX_ACCESS_KEY` and `HTX_SECRET_KEY`, or from the files
    named by `HTX_ACCESS_KEY_FILE` and `HTX_SECRET_KEY_FILE` (one trailing newline dropped).

    Raises `InvalidRequest` when a key is missing, given twice, or its file cannot be read.
    """
    found = _Environment()
    if not found.model_fields_set & _KEYS:
        raise InvalidRequest(_NO_KEYS)
    return (
        _key(_NAMES[0], found.access_key, found.access_key_file),
        _key(_NAMES[1], found.secret_key, found.secret_key_file),
    )


def read_settings() -> dict[str, Any]:
    """`HTX_GENERATION`, `HTX_BASE_URL` (one or several, with white space in between) and
    `HTX_PROXY` as settings of a session, as far as they are set and not empty."""
    found = _Environment()
    settings: dict[str, Any] = {}
    if found.generation:
        settings["generation"] = found.generation
    if base_urls := (found.base_url or "").split():
        settings["base_urls"] = base_urls
    if found.proxy is not None and found.proxy.get_secret_value():
        settings["proxy"] = Proxy(found.proxy.get_secret_value())
    return settings


def read_host_limit(otherwise: str | None = None) -> str | None:
    """`HTX_HOST_LIMIT`: a path, "" where it is 1 (the usual place), None where it is 0, and
    `otherwise` where it is not set.

    Raises `InvalidRequest` for anything else.
    """
    told = _Environment().host_limit
    if not told:
        return otherwise
    if told == "0":
        return None
    if told == "1":
        return ""
    if os.path.isabs(told):
        return told
    raise InvalidRequest("HTX_HOST_LIMIT must be 1, 0 or the absolute path of a file or folder")


def _key(name: str, value: SecretStr | None, file: SecretStr | None) -> SecretStr:
    """Raises `InvalidRequest` with the name of the variable that is at fault."""
    found = _found(name, value, file)
    problem = key_problem(name if file is None else f"{name}_FILE", found.get_secret_value())
    if problem is not None:
        # A traceback shows the values of a frame: leave none behind.
        del found, value
        raise InvalidRequest(problem)
    return found


def _found(name: str, value: SecretStr | None, file: SecretStr | None) -> SecretStr:
    if value is not None and file is not None:
        raise InvalidRequest(f"both {name} and {name}_FILE are set; set one of them")
    if value is not None:
        return value
    if file is None:
        raise InvalidRequest(f"no key: set {name}, or {name}_FILE to a file that holds it")
    content = _read(file)
    if isinstance(content, str):
        raise InvalidRequest(f"the file that {name}_FILE names: {content}")
    return content


def _read(file: SecretStr) -> SecretStr | str:
    # The reason is returned, not raised here: a decoding error carries the file's bytes with it.
    try:
        return _Hidden(_without_newline(Path(file.get_secret_value()).read_bytes().decode()))
    except OSError as error:
        return error.strerror or "cannot be read"
    except UnicodeDecodeError:
        return "not UTF-8 text"


def _without_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
