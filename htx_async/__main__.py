"""The console script `htx-async`, also `python -m htx_async`."""

import gc
import sys

_EXTRA = ("typer", "rich")

_COLLECT_AFTER = 100_000
"""Objects between two collections: while modules are loaded each collection finds nothing, and all
of them together cost a tenth of the start."""


def main() -> None:
    """Run the command line; without the extra that it needs, say how to install it and exit 2.

    Ctrl-C while it is loaded is one line and exit code 130.
    """
    try:
        gc.set_threshold(_COLLECT_AFTER)
        # Loaded here so that a missing extra is a sentence, not a traceback.
        from htx_async.cli import run  # noqa: PLC0415 - see above

        run()
    except KeyboardInterrupt:
        _interrupted()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(
            f'htx-async needs {error.name}, which is not installed: pip install "htx-async[cli]"\n'
        )
        sys.exit(2)


def _interrupted() -> None:
    # Whatever was being loaded when Ctrl-C came, this is loaded only now.
    import signal  # noqa: PLC0415 - see above
    from contextlib import suppress  # noqa: PLC0415 - see above

    # Of one more the interpreter would die, before or after it has told this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write("Interrupted; nothing was sent.\n")
    sys.exit(130)


if __name__ == "__main__":
    main()
