"""A file of keys for a rehearsal: for its owner's eyes, and gone with the simulation."""

import os
import shlex
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from htx_async.errors import InvalidRequest
from htx_async.limits.host_file import hold

_MARK = "# Keys of a simulation of htx-async; they open nothing else.\n"

# What may be set for the real exchange and would lead a rehearsal there, or take its tokens.
_UNSET = (
    *("HTX_ACCESS_KEY_FILE", "HTX_SECRET_KEY_FILE", "HTX_ACCOUNT", "HTX_REDIS_URL"),
    *("HTX_SHARE_OF", "HTX_GENERATION", "HTX_PROXY", "HTX_AUDIT"),
)


@contextmanager
def keys_file(path: str, access_key: str, secret_key: str, base_url: str) -> Iterator[None]:
    """Write a file that a shell can read in with `.`, for a block; removed at its end if it is
    still this one.

    Readable by its owner only, whole or not there at all. `InvalidRequest` where it cannot be
    written, and where something else is there: a link, a device, a file of another hand, or of a
    simulation that runs. One that an earlier simulation has left is replaced.
    """
    exports = {
        "HTX_ACCESS_KEY": access_key,
        "HTX_SECRET_KEY": secret_key,
        "HTX_BASE_URL": base_url,
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()]
    content = f"{_MARK}unset {' '.join(_UNSET)}\n{''.join(lines)}"
    place = Path(path)
    try:
        _check_free(place)
        held = _write(place, content)
    except OSError as error:
        told = error.strerror or type(error).__name__
        raise InvalidRequest(f"the keys file {path} cannot be written: {told}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            if place.read_text() == content:
                place.unlink()
        os.close(held)


def in_shell(path: str) -> str:
    """The path as `.` of a shell takes it, which looks for a plain name elsewhere."""
    return shlex.quote(path if "/" in path else f"./{path}")


def _check_free(place: Path) -> None:
    try:
        found = place.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(found.st_mode):
        with place.open(errors="replace") as file:
            if file.readline() == _MARK:
                if hold(file.fileno()):
                    return
                raise InvalidRequest(
                    f"the keys file {place} is that of a simulation that runs; nothing was "
                    "overwritten: name another one, or end that one"
                )
    raise InvalidRequest(
        f"the keys file {place} is there already, and was not written by a simulation; nothing was "
        "overwritten: name another one, or remove it"
    )


def _write(place: Path, content: str) -> int:
    """Under another name first: what stands at `place` is replaced and never written into. A
    descriptor that holds it, for as long as it is open."""
    descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    try:
        with os.fdopen(descriptor, "w", closefd=False) as file:
            file.write(content)
        hold(descriptor)
        Path(name).replace(place)
    except BaseException:
        # Ctrl-C too: no keys are left under another name.
        Path(name).unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return descriptor
