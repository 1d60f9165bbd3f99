"""The console script `htx-async`, also `python -m htx_async`."""

import sys

from htx_async.starting import Loading

_EXTRA = ("typer", "rich")


def main() -> None:
    """Run the command line; without the extra that it needs, say how to install it and exit 2."""
    try:
        with Loading():
            # Loaded here so that a missing extra is a sentence, not a traceback.
            from htx_async.cli import run  # noqa: PLC0415 - see above

            run()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(
            f'htx-async needs {error.name}, which is not installed: pip install "htx-async[cli]"\n'
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
