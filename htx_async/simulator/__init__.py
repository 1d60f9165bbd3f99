"""A verified fake of the exchange, for tests: `async with SimulatedExchange() as exchange: ...`

It serves real HTTP on loopback and behaves as the public documentation and public captures say
the exchange does; where they are silent, the docstring says what was assumed. Nothing else of the
package loads it.
"""

from htx_async.simulator.exchange import SimulatedExchange
from htx_async.simulator.messages import Reply, Request
from htx_async.simulator.orders import Order
from htx_async.simulator.settings import InvalidSetting
from htx_async.simulator.traffic import Arrival

__all__ = ["Arrival", "InvalidSetting", "Order", "Reply", "Request", "SimulatedExchange"]
