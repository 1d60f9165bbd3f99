"""The start of the command, before any of it runs: what Ctrl-C comes to while it is loaded."""

import signal
import sys
from contextlib import suppress
from types import TracebackType

INTERRUPTED = 130
"""The exit code that shells give to Ctrl-C."""


class Loading:
    """A block that loads what the command needs: Ctrl-C in it is one line and an exit code.

    Where the package is loaded by another program, Ctrl-C is that program's business.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, KeyboardInterrupt) and is_command():
            # Of one more the interpreter would die, before or after it has told this one.
            with suppress(ValueError):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            with suppress(OSError, ValueError, AttributeError):
                sys.stderr.write("Interrupted; nothing was sent.\n")
            sys.exit(INTERRUPTED)


def is_command() -> bool:
    """Whether this process is `htx-async`, also as `python -m htx_async`."""
    name = sys.argv[0].replace("\\", "/").rpartition("/")[2] if sys.argv else ""
    flags = zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    return name.startswith("htx-async") or ("-m", "htx_async") in flags
