"""What a script learns from the command: one number, the one that most needs a person."""

from htx_async.terms import Outcome

INTERNAL = 1
USAGE = 2
INTERRUPTED = 130

_NOT_CLEAR = {Outcome.REFUSED: 3, Outcome.PARTIAL: 4, Outcome.UNKNOWN: 5, Outcome.NOT_SENT: 6}
NOT_SENT = _NOT_CLEAR[Outcome.NOT_SENT]


def exit_code(outcome: Outcome, *, interrupted: bool) -> int:
    """The code for the outcome that most needs a person; only unknown outweighs an interrupt."""
    if interrupted and outcome is not Outcome.UNKNOWN:
        return INTERRUPTED
    return _NOT_CLEAR.get(outcome, 0)


HELP = """\b
Exit codes; over several contracts the first of 5, 4, 3, 6 wins:
    0  clear: the exchange took every cancel
    1  internal error: look at the exchange now
    2  usage, keys missing, or not confirmed; nothing was sent
    3  refused; nothing was cancelled
    4  partial: orders may still be open
    5  unknown: look at the exchange now
    6  not sent; every order is as it was
  130  interrupted, and nothing is unknown
"""
