"""The transport of requests and answers over aiohttp."""
