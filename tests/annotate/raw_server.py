"""A server on loopback that sends bytes as they are, HTTP or not."""

import asyncio
import inspect
import json
import re
import threading
from collections import Counter

CONTENT = "Ana <> person <> A name."
CHOICE = {"message": {"content": CONTENT}, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 100, "completion_tokens": 9}


def http(status, body=b"", *headers, length=True):
    """A response; `body` may be JSON, text or bytes."""
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
        headers = ("content-type: application/json", *headers)
    body = body.encode() if isinstance(body, str) else body
    if length:
        headers = (*headers, f"content-length: {len(body)}")
    head = "\r\n".join([f"HTTP/1.1 {status} Reason", *headers, "connection: close"])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def completion(choice=CHOICE, **fields):
    return {"choices": [choice], "usage": USAGE, "model": "m"} | fields


def drip(begin, piece, seconds=0.2):
    """A response that goes on and on, a piece at a time."""

    async def respond(path, writer):
        writer.write(begin)
        for _ in range(100):
            await asyncio.sleep(seconds)
            writer.write(piece)
            await writer.drain()

    return respond


def flood(begin, piece):
    """A response that never ends, as fast as it is read."""

    async def respond(path, writer):
        writer.write(begin)
        while True:
            writer.write(piece)
            await writer.drain()
            FLOODED[path] += len(piece)

    return respond


# Bytes by path.
FLOODED = Counter()


class RawServer:
    """Answers a request to `/MODE/v1/...` with the mode's bytes.

    modes: bytes by mode, or a coroutine function of the request's path and the writer.
    requests: how many requests came by mode.
    """

    def __init__(self, modes):
        self.modes = modes
        self.requests = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def url(self, mode):
        return f"http://127.0.0.1:{self._port}/{mode}/v1"

    async def _start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            path = head.split()[1].decode()
            mode = path.split("/")[1]
            # Servers are asked for a tokenizer too, which none of these has.
            asks = not path.endswith("/tokenize")
            self.requests[mode] += asks
            response = self.modes[mode] if asks else http(404)
            if inspect.iscoroutinefunction(response):
                await response(path, writer)
            else:
                writer.write(response)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def __enter__(self):
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_):
        async def stop():
            self._server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
