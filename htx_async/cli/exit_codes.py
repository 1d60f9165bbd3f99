"""What a script learns from the command: one number, the one that most needs a person."""

from htx_async.enums import Outcome

INTERNAL = 1
USAGE = 2
INTERRUPTED = 130

NOT_CLEAR = 110
"""Added by a guard to the code that its cancel would have by itself."""

WRAPPER_FAILED, NOT_RUN, NOT_FOUND = 125, 126, 127
"""A guard's own failure; a command that cannot be run; one that is not there (`man timeout`)."""

OF_SIGNAL = 128
"""Added to the number of a signal that ends a process."""

_NOT_CLEAR = {Outcome.REFUSED: 3, Outcome.PARTIAL: 4, Outcome.UNKNOWN: 5, Outcome.NOT_SENT: 6}
UNKNOWN = _NOT_CLEAR[Outcome.UNKNOWN]
NOT_SENT = _NOT_CLEAR[Outcome.NOT_SENT]


def exit_code(outcome: Outcome, *, interrupted: bool, unconfirmed: bool = False) -> int:
    """The code for the outcome that most needs a person; only unknown outweighs an interrupt.

    `unconfirmed`: some contract is clear by the exchange's word only, where its lists were asked
    for. A clear exit means clear, so that is as good as unknown.
    """
    if outcome is Outcome.UNKNOWN or unconfirmed:
        return UNKNOWN
    return INTERRUPTED if interrupted else _NOT_CLEAR.get(outcome, 0)


HELP = """\b
Exit codes; over several contracts the first of 5, 4, 3, 6 wins:
    0  clear: the exchange took all; with --confirm, its lists show none left
    1  internal error: look at the exchange now
    2  usage, no keys, or no yes to the question; nothing was sent
    3  refused; nothing was cancelled
    4  partial: orders may still be open; with --confirm, some are
    5  unknown, or not confirmed by --confirm: look at the exchange now
    6  not sent; every order is as it was
  130  interrupted, and nothing is unknown
"""

HELP_OPEN = """\b
Exit codes:
    0  everything could be read, also when there are no orders
    1  internal error
    2  usage, keys missing, or a list that could not be printed
    5  some contract could not be read: stderr says which and why
  130  interrupted
"""

HELP_GUARD = """\b
Exit codes:
  the command's own, 128 + n where signal n ended it: its orders are gone
  113  refused; nothing was cancelled
  114  partial: orders may still be open
  115  unknown: look at the exchange now
  116  not sent; every order is as it was
  125  the guard's own failure; stderr says whether the command began
  126  the command cannot be run
  127  the command is not there
  128 + n  signal n came before the command began
"""
