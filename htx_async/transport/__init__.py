"""Bytes: requests out, complete replies in. The only door to aiohttp."""
