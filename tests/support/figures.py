"""The limits that the tests count by, whatever stands in the package's table of endpoints.

That one is pinned in `test_endpoints`; a figure that is changed there changes no other test, but
for those that look at a child process.
"""

from htx_async.exchange.endpoints import BUDGETS, ENDPOINTS, Limit, Permission

SHIPPED, SHIPPED_BUDGETS = dict(ENDPOINTS), dict(BUDGETS)
"""As the package has them."""

FIVE = Limit(5, 1.0)
_OWN = {"cancelall": FIVE, "cancel": FIVE}

ENDPOINTS.update({name: SHIPPED[name]._replace(limit=limit) for name, limit in _OWN.items()})
BUDGETS.update(
    {
        Permission.TRADE: Limit(72, 3.0),
        Permission.READ: Limit(72, 3.0),
        Permission.NONE: Limit(240, 3.0),
    }
)
