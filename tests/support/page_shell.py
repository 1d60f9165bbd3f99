"""Runs the shell blocks of a page in a real shell: the command is on the PATH and reaches a
simulated exchange only, whatever it is told; `make` and `pip` say what they would do.
"""

import asyncio
import shlex
import sys
from pathlib import Path

from htx_async.simulator import SimulatedExchange
from tests.support import warm_command
from tests.support.command import ACCESS, SECRET, environment, warm
from tests.support.paths import ROOT

_PATIENCE = 120.0

_COMMAND = """\
#!/bin/bash
# The real one. Nobody is there to answer its question; what serves until it is told to end is told
# so once it serves; a Redis server that a page names is none that can be reached.
run() { exec %(python)s -I -S %(command)s "$@"; }
[ -z "$HTX_REDIS_URL" ] || export HTX_REDIS_URL=redis://127.0.0.1:1/0
name=$1
shift
case $name in
  simulate)
    coproc run "$name" "$@"
    pid=$COPROC_PID
    exec 3<&"${COPROC[0]}"
    read -r line <&3 && echo "$line"
    kill -TERM "$pid"
    cat <&3
    wait "$pid" ;;
  cancel-all)
    [[ " $* " == *" --yes "* ]] || set -- "$@" --yes
    run "$name" "$@" ;;
  *) run "$name" "$@" ;;
esac
"""

_MAKE = """\
#!/bin/sh
exec %(make)s --dry-run --no-print-directory -C %(root)s "$@" > /dev/null
"""

_PYTHON = """\
#!/bin/sh
# tests/test_examples.py runs each of them to its end.
case $1 in
  examples/*) test -f %(root)s/"$1" ;;
  *) exec %(python)s "$@" ;;
esac
"""

_PIP = """\
#!/bin/sh
# The last word is a wheel, with or without extras.
for word; do :; done
test -e "${word%%%%[*}"
"""


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    (folder / name).chmod(0o755)


def set_the_stage(folder: Path) -> Path:
    """What pages take for granted, in `folder`: a list of contracts, a strategy, a wheel; where the
    commands are."""
    path = folder / "path"
    path.mkdir()
    known = {"python": shlex.quote(sys.executable)}
    known["command"] = shlex.join([str(warm_command.__file__), warm()])
    known |= {"root": shlex.quote(str(ROOT)), "make": "/usr/bin/make"}
    _write(path, "htx-async", _COMMAND % known)
    _write(path, "make", _MAKE % known)
    _write(path, "pip", _PIP % known)
    _write(path, "python", _PYTHON % known)
    (folder / "contracts.txt").write_text("BTC-USDT, ETH-USDT  # the desk's\n", encoding="utf-8")
    (folder / "strategy.py").touch()
    (folder / "dist").mkdir()
    (folder / "dist" / "htx_async-0-py3-none-any.whl").touch()
    return path


async def run_in_a_shell(script: str, folder: Path) -> tuple[int | None, str]:
    """How `script` ends in `folder`, and what it has printed until then."""
    contracts = ["BTC-USDT", "ETH-USDT"]
    async with SimulatedExchange(
        access_key=ACCESS, secret_key=SECRET, contracts=contracts
    ) as exchange:
        for code in contracts:
            exchange.place(code, "sell", "close", 2)
        path = set_the_stage(folder)
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-x", "-c", script),
            cwd=folder,
            env=environment(PATH=f"{path}:/usr/bin:/bin", HTX_BASE_URL=exchange.url),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            told, _ = await asyncio.wait_for(shell.communicate(), _PATIENCE)
        finally:
            if shell.returncode is None:
                shell.kill()
    return shell.returncode, told.decode()
