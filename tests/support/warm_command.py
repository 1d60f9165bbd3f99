"""`htx-async` for tests that run dozens of commands: the real one, in a process that is forked from
one that has loaded it already, with the arguments, streams, folder and environment of who asks.

`python -m tests.support.warm_command --serve SOCKET` loads it, says so on stdout, and serves;
`python -I -S tests/support/warm_command.py SOCKET ARGS...` is the command, with its end, and passes
signals on.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_STREAMS = (0, 1, 2)
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def ask(path: str, arguments: list[str]) -> int:
    """Be the command."""
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    for number in _PASSED_ON:
        signal.signal(number, lambda number, frame: None)
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        about = json.dumps([arguments, dict(os.environ), os.getcwd()]).encode()
        socket.send_fds(server, [b"%016d" % len(about)], list(_STREAMS))
        server.sendall(about)
        child = server.makefile("rb")
        pid = int(child.readline())
        # One that comes in this moment, too, wakes the wait for the child's end.
        while server not in select.select([server, woken], [], [])[0]:
            for came in woken.recv(64):
                with suppress(ProcessLookupError):
                    os.kill(pid, came)
        code = int(child.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def serve(path: str) -> None:
    """Load the command once, and fork it for each who asks, until killed."""
    import htx_async.cli.commands  # noqa: PLC0415 - the client is to load nothing
    from htx_async import HtxSession  # noqa: PLC0415 - as above
    from htx_async.__main__ import main  # noqa: PLC0415 - as above
    from htx_async.cli import cancel_all, doctor, open_orders  # noqa: PLC0415 - as above

    loaded = (htx_async.cli.commands, HtxSession, cancel_all, doctor, open_orders)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        print("ready", len(loaded), flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            client, _ = door.accept()
            with client:
                if os.fork() == 0:
                    door.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os._exit(_watch(client, main))


def _watch(client: socket.socket, main: Callable[[], None]) -> int:
    length, streams, *_ = socket.recv_fds(client, 16, len(_STREAMS))
    about = client.recv(int(length), socket.MSG_WAITALL)
    pid = os.fork()
    if pid == 0:
        client.close()
        _become(json.loads(about), streams)
        main()
        sys.exit(0)
    for stream in streams:
        os.close(stream)
    client.sendall(b"%d\n" % pid)
    child = os.pidfd_open(pid)
    ready, _, _ = select.select([child, client.fileno()], [], [])
    if child not in ready:
        # Who asked was killed.
        os.kill(pid, signal.SIGKILL)
        return 1
    _, status = os.waitpid(pid, 0)
    client.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    return 0


def _become(about: tuple[list[str], dict[str, str], str], streams: list[int]) -> None:
    arguments, environment, folder = about
    for number, stream in zip(_STREAMS, streams, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    # Those of this process were made for what it had itself; one asks them how wide a terminal is.
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        errors = "backslashreplace" if name == "stderr" else "strict"
        opened = os.fdopen(number, mode, 1, errors=errors, closefd=False)
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [str(sys.modules["htx_async.__main__"].__file__), *arguments]


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    sys.exit(ask(sys.argv[1], sys.argv[2:]))
