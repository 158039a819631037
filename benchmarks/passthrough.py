"""The bare minimum in aiohttp: a server that hands every request to the upstream by ClientSession, and nothing else.

It checks no key, reads no body, counts nothing. What it costs is what the two libraries cost, so a gateway that is
cheaper than this one has saved more on the way than its own work takes.
"""

import argparse
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

try:
    import uvloop
except ImportError:  # it runs without, at about a quarter more
    uvloop = None  # type: ignore[assignment]

NOT_FORWARDED = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "te", "trailer", "upgrade"}
UPSTREAM = web.AppKey("UPSTREAM", str)
SESSION = web.AppKey("SESSION", aiohttp.ClientSession)


async def relay(request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED}
    body = await request.read()
    url = request.app[UPSTREAM] + request.raw_path
    async with request.app[SESSION].request(request.method, url, data=body, headers=headers) as answer:
        response = web.StreamResponse(status=answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in NOT_FORWARDED:
                response.headers.add(name, value)
        if answer.content_length is not None:
            response.content_length = answer.content_length
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    # No decompression: the bytes go on as they come, together with the upstream's Content-Encoding.
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as client:
        app[SESSION] = client
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True, help="the upstream's port on 127.0.0.1")
    options = parser.parse_args()
    if uvloop is not None:
        uvloop.install()
    app = web.Application(client_max_size=64 * 2**20)
    app[UPSTREAM] = f"http://127.0.0.1:{options.upstream}"
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", relay)
    web.run_app(app, host="127.0.0.1", port=options.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
