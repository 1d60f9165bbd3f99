"""A command that takes each option once, unless it is one of which there may be several."""

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from htx_async.cli.exit_codes import USAGE, WRAPPER_FAILED
from htx_async.cli.values import choices_of, take_text

HINTS = {
    "--side": "--direction",
    "--cross": "--margin cross",
    "--isolated": "--margin isolated",
    "--both": "--margin both",
    "--contract": "the contract by itself",
    "--symbol": "the contract by itself",
}
"""What is meant by words that others have for it."""


class _ReadsText:
    """A command whose values are read by `values`, and that tells what was meant by an option of
    another name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as ever."""
        try:
            rest: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]  # as below
        except typer.BadParameter:
            raise
        except Exception as error:
            name = getattr(error, "option_name", "")
            if name in HINTS:
                # It is of no class that typer lets anybody name.
                vars(error)["message"] = f"No such option: {name}; say {HINTS[name]}"
                vars(error)["possibilities"] = []
            raise
        return rest

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, those that typer adds to a command that it has made, too."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the other base
        for parameter in parameters:
            take_text(parameter)
            _show_plainly(parameter)
        return parameters


class Root(_ReadsText, TyperGroup):
    """The command of commands."""


class _Once(_ReadsText):
    """Given twice, one value would win and the other be lost without a word: what the operator
    meant is asked for instead. A plain flag says the same however often it stands there."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as ever, then judge how often each option came; a usage error for too often."""
        given = list(args)
        rest: list[str] = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(args=given)  # type: ignore[attr-defined]  # as above
            many: Counter[Any] = Counter(order)
            for parameter, times in many.items():
                if times > 1 and not _may_come_again(parameter):
                    raise typer.BadParameter("given more than once", ctx=ctx, param=parameter)
        return rest


class Command(_Once, TyperCommand):
    """One command."""


class Group(_Once, TyperGroup):
    """A command with others below it, whose own options are for itself alone."""

    def invoke(self, ctx: Any) -> Any:
        """As ever; a usage error for options before a command that would not heed them."""
        # click 8.1 has it without the underscore, which 8.2 warns of.
        name = "_protected_args" if hasattr(ctx, "_protected_args") else "protected_args"
        if ctx.args or getattr(ctx, name):
            for parameter in self.get_params(ctx):
                source = ctx.get_parameter_source(parameter.name)
                if source is not None and source.name == "COMMANDLINE":
                    told = "it is for `simulate` alone, and not for a command after it"
                    raise typer.BadParameter(told, ctx=ctx, param=parameter)
        return super().invoke(ctx)


class Wrapper(Command):
    """A command that starts another one, which stands behind "--" and is taken as it is; of its
    own exit codes usage is 125, so that it cannot be taken for the other one's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What stands before "--"; `ctx.args` is what stands behind it."""
        own, mark, other = _split(args)
        try:
            super().parse_args(ctx, own)
            if not other and not ctx.resilient_parsing:
                missing = "its COMMAND" if mark else '"--" and its COMMAND'
                raise typer.BadParameter(f"{missing} is missing: guard ... -- COMMAND", ctx=ctx)
        except Exception as error:
            if getattr(error, "exit_code", None) == USAGE:
                # Of any kind of usage error, of older typers and of newer.
                error.exit_code = WRAPPER_FAILED  # type: ignore[attr-defined]  # see above
            raise
        ctx.args = other
        return other

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """With the command that is started."""
        return [*super().collect_usage_pieces(ctx), "-- COMMAND [ARG]..."]


def _show_plainly(parameter: Any) -> None:
    """Let help have one name for a value, the same by every typer: newer ones add Python's types,
    such as "CONTRACT <list[str]>", and braces."""
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
        usage = name if parameter.required else f"[{name}]"
        pieces = [f"{usage}..." if parameter.nargs == -1 else usage]
        parameter.get_usage_pieces = lambda ctx: list(pieces)
        parameter.display_type_rich = lambda ctx: None
    elif parameter.metavar is None and not parameter.is_flag:
        parameter.metavar = "|".join(choices_of(parameter)) or None


def _split(args: list[str]) -> tuple[list[str], bool, list[str]]:
    if "--" not in args:
        return args, False, []
    at = args.index("--")
    return args[:at], True, args[at + 1 :]


def _may_come_again(parameter: Any) -> bool:
    is_plain_flag = getattr(parameter, "is_flag", False) and not parameter.secondary_opts
    return is_plain_flag or getattr(parameter, "multiple", False) or parameter.nargs == -1
