"""A command that takes each option once, unless it is one of which there may be several."""

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from htx_async.cli.values import take_text


class _ReadsText:
    """A command whose values are read by `values`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, those that typer adds to a command that it has made, too."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the other base
        for parameter in parameters:
            take_text(parameter)
        return parameters


class Root(_ReadsText, TyperGroup):
    """The command of commands."""


class Command(_ReadsText, TyperCommand):
    """Given twice, one value would win and the other be lost without a word: what the operator
    meant is asked for instead. A plain flag says the same however often it stands there."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as ever, then judge how often each option came; a usage error for too often."""
        given = list(args)
        rest: list[str] = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(args=given)
            many: Counter[Any] = Counter(order)
            for parameter, times in many.items():
                if times > 1 and not _may_come_again(parameter):
                    raise typer.BadParameter("given more than once", ctx=ctx, param=parameter)
        return rest


def _may_come_again(parameter: Any) -> bool:
    is_plain_flag = getattr(parameter, "is_flag", False) and not parameter.secondary_opts
    return is_plain_flag or getattr(parameter, "multiple", False) or parameter.nargs == -1
