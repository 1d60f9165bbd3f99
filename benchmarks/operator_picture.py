"""The picture of `htx-async cancel-all` of docs/operators.md: what a terminal really got.

The command runs on a pseudo-terminal of 88 columns against a simulated exchange that loses an
answer, refuses an order and has one that triggered. Run: `python -m benchmarks.operator_picture`.
"""

import asyncio
import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from htx_async.simulator import SimulatedExchange
from tests.support.command import Terminal, exchange_of_the_command, plain, screen

_WIDTH = 88
_PICTURE = Path(__file__).parent / "pictures" / "operator.svg"
_LATENCY = 0.12

_CONTRACTS = tuple(
    f"{coin}-USDT"
    for coin in (
        *("BTC", "ETH", "XRP", "SOL", "DOGE", "ADA"),
        *("TRX", "LINK", "DOT", "UNI", "LTC", "NEAR"),
    )
)

_TITLE = "htx-async cancel-all"

# Without rich's own template, which loads its font from another host.
_FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>htx-async cancel-all</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
 font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def arm(exchange: SimulatedExchange) -> None:
    """Three orders on each contract, and the three faults."""
    for contract in _CONTRACTS:
        exchange.place(contract, "sell", "close", 3)
    refused = exchange.open_orders("ADA-USDT")[1].order_id
    triggered = exchange.open_orders("LINK-USDT")[1].order_id
    exchange.lose_after_work(contract_code="ETH-USDT")
    exchange.reject_order(refused, 1048, "Insufficient close amount available.")
    exchange.reject_order(triggered, 1063)


async def shot() -> list[str]:
    """The lines on the terminal once the command has ended."""
    async with exchange_of_the_command(latency=_LATENCY) as exchange:
        arm(exchange)
        terminal = Terminal(_WIDTH)
        options = ("--base-url", exchange.url, "--direction", "sell")
        command = ("cancel-all", *options, *_CONTRACTS)
        process = await terminal.started("-m", "htx_async", *command, HTX_GENERATION="auto")
        await terminal.shows("[y/N] ")
        terminal.type("y\r")
        result = await terminal.ended(process)
        terminal.close()
    assert result.code == 4, result
    assert not exchange.open_orders("ETH-USDT")
    typed = f"$ htx-async {' '.join(command)}"
    folded = [typed[at : at + _WIDTH] for at in range(0, len(typed), _WIDTH)]
    return [*folded, *screen(result.out)]


def drawn(lines: list[str]) -> str:
    """The lines as SVG."""
    console = Console(
        file=io.StringIO(), record=True, width=_WIDTH, force_terminal=True, color_system="256"
    )
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    return console.export_svg(title=_TITLE, code_format=_FORMAT, unique_id="operator")


def main() -> int:
    """Take the picture; 0 when it is in its place."""
    lines = asyncio.run(shot())
    _PICTURE.parent.mkdir(exist_ok=True)
    _PICTURE.write_text(drawn(lines), encoding="utf-8")
    sys.stdout.write("\n".join(map(plain, lines)) + f"\n{_PICTURE.name} was written.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
