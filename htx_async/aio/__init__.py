"""What asyncio lacks: work that ends, waits that end in time, walls around foreign code. It knows
nothing of the exchange."""
