"""
A transport for C{AsyncClient}: C{asyncio}, and nothing but the standard library.

C{httpx}, C{aiohttp} or Twisted take its place in as many lines (docs/client.rst).
"""

from __future__ import annotations

import asyncio
import http.client
from urllib.parse import urlsplit

from sandbox_billing.client import Answer, AsyncClient, Call, ConnectionLost


def send(call: Call) -> Answer:
    """One request on a connection of its own: no redirects, and never twice."""
    where = urlsplit(call.url)
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    connection = kind(where.netloc, timeout=call.timeout)
    try:
        target = where._replace(scheme="", netloc="").geturl()
        connection.request(call.method, target, call.content() or None, dict(call.headers))
        response = connection.getresponse()
        body = b""
        while piece := response.read1(65536):
            if call.sink is not None and 200 <= response.status < 300:
                call.sink(piece)
            else:
                body += piece
        if response.length:
            raise ConnectionLost(text="the answer broke off; look whether it was done")
        return Answer(status=response.status, headers=dict(response.getheaders()), body=body)
    except http.client.HTTPException as problem:
        raise ConnectionLost(text=f"no answer ({problem!r}); look whether it was done") from problem
    finally:
        connection.close()


async def transport(call: Call) -> Answer:
    """In a thread, so that others go on."""
    return await asyncio.to_thread(send, call)


async def main(url: str, token: str) -> list[str]:
    """The names of all sandboxes, and two of them asked for at once."""
    client = AsyncClient(url, token=token, transport=transport, sleep=asyncio.sleep)
    ids = [one.id async for one in client.list()]
    both = await asyncio.gather(*(client.get(one) for one in ids[:2]))
    return [one.name or one.id for one in both]
