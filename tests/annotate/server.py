"""An OpenAI-compatible server on loopback, with faults that can be switched on.

It speaks `/v1/chat/completions`, `/v1/responses`, `/v1/completions`, `/v1/files`,
`/v1/batches` and `/tokenize`, and counts what it is asked, so that tests can compare a
run's report with the other side's.
"""

import asyncio
import hashlib
import json
import random
import re
import socket
import sys
import threading
import time
from collections import Counter

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

# One percent of each, all at once.
FAULTS = (
    "429",
    "429 retry-after",
    "500",
    "503",
    "slow",
    "cut",
    "not json",
    "half",
    "wrong type",
    "wrong shape",
)
_NUMBERED = re.compile(r"^\[(\d+)\] (.*)$", re.MULTILINE)


class _CuttableProtocol(H11Protocol):
    """Keeps the transports, so that a connection can be cut without a response."""

    transports: dict = {}

    def connection_made(self, transport):
        super().connection_made(transport)
        self.transports[transport.get_extra_info("peername")] = transport


def annotate(text):
    """A made-up answer in the paper's format: capitalised words are names."""
    words = dict.fromkeys(re.findall(r"\b[A-Z]\w+", text)) or {text.split()[0]: None}
    return "\n".join(f"{word} <> name <> Words written large." for word in words)


def entities(text):
    keys = ("text", "concept", "description")
    lines = annotate(text).split("\n")
    return [dict(zip(keys, line.split(" <> "), strict=True)) for line in lines]


class Server:
    """The server's state, its ASGI application and the thread that runs it.

    latency: seconds before an answer. ceiling: requests a second, 429 above.
    faults: share of requests that get each of FAULTS. reply: a function from the
    request's body to the message's content (or a whole choice), for special answers.
    """

    def __init__(
        self,
        *,
        latency=0.0,
        ceiling=None,
        faults=0.0,
        seed=0,
        retry_after="0.05",
        slow=30.0,
        key=None,
        reply=None,
        usage=True,
        tokenizer=False,
        polls=1,
    ):
        self.latency, self.ceiling, self.faults = latency, ceiling, faults
        self.retry_after, self.slow, self.key = retry_after, slow, key
        self.reply, self.usage, self.tokenizer = reply, usage, tokenizer
        self.polls = polls
        self.random = random.Random(seed)
        self.requests = 0
        self.under_way = self.most_under_way = 0
        self.statuses = Counter()
        self.faulty = Counter()
        self.seen = Counter()
        self.answered = Counter()
        self.bodies = []
        self.files, self.batches = {}, {}
        self.batch_faults = {}
        self.fail_batches = []
        # Batches that were made, and whether none is there afterwards.
        self.made, self.forgets = 0, False
        # A step, such as "POST /v1/files", whose work is done but never responded to.
        self.hold_after = None
        self.held = threading.Event()
        # A step whose work is done and whose response is lost on the way, once.
        self.lost_after = None
        # A step that is refused.
        self.broken = None
        # A quarter of a second's worth may come at once.
        self._burst = (ceiling or 0) / 4
        self._budget, self._refilled = self._burst, time.monotonic()

    # The application

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self._route(scope, body, send)
        finally:
            self.under_way -= 1

    async def _route(self, scope, body, send):
        path = scope["path"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if self.broken and f"{scope['method']} {path}".startswith(self.broken):
            await self._json(send, 400, {"error": {"message": "injected: broken"}})
        elif self.key is not None and given != self.key:
            # Some servers repeat the key in what they say.
            await self._json(send, 401, {"error": {"message": f"bad key {given}"}})
        elif path in ("/v1/chat/completions", "/v1/responses", "/v1/completions"):
            await self._chat(scope, json.loads(body), send)
        elif path == "/tokenize" and self.tokenizer:
            count = len(json.loads(body)["prompt"].split())
            await self._json(send, 200, {"count": count})
        elif path == "/v1/files":
            file = self._upload(body, headers)
            await self._hold(scope)
            await self._json(send, 200, file)
        elif path.startswith("/v1/files/"):
            await self._hold(scope)
            content = self.files.get(path.split("/")[3])
            if content is None:
                await self._json(send, 404, {"error": {"message": "no such file"}})
            else:
                await self._send(send, 200, content, b"application/octet-stream")
        elif path.startswith("/v1/batches"):
            batch = self._batch(scope, path, body)
            await self._hold(scope)
            status = 404 if batch is None else 200
            if self.lost_after == f"{scope['method']} {path}":
                self.lost_after, status, batch = None, 502, None
            await self._json(send, status, batch or {"error": {"message": "no batch"}})
        else:
            await self._json(send, 404, {"error": {"message": "no such path"}})

    async def _chat(self, scope, body, send):
        self.requests += 1
        self.bodies.append(body)
        texts = asked(body)
        self.seen.update(texts)
        if self.ceiling and not self._within_ceiling():
            await self._json(send, 429, {"error": {"message": "too fast"}})
            return
        draw = self.random.random()
        if self.faults and draw < self.faults * len(FAULTS):
            await self._fault(FAULTS[int(draw / self.faults)], scope, body, send)
            return
        if self.latency:
            await asyncio.sleep(self.latency)
        self.answered.update(texts)
        await self._json(send, 200, self.completion(body))

    def _within_ceiling(self):
        now = time.monotonic()
        refill = (now - self._refilled) * self.ceiling
        self._budget = min(self._burst, self._budget + refill)
        self._refilled = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True

    def completion(self, body):
        choice = {"message": {"role": "assistant"}, "finish_reason": "stop"}
        content = self._content(body)
        if "input" in body:
            return self._response(content)
        if "prompt" in body:
            return {"choices": [{"text": content, "finish_reason": "stop"}]}
        if isinstance(content, dict):
            choice["message"] |= content.pop("message", {})
            choice |= content
        else:
            choice["message"]["content"] = content
        data = {"object": "chat.completion", "model": "served", "choices": [choice]}
        if self.usage:
            data["usage"] = {"prompt_tokens": 100, "completion_tokens": 50}
        return data

    def _content(self, body):
        texts = asked(body)
        structured = "response_format" in body or "format" in body.get("text", {})
        if self.reply is not None:
            return self.reply(body)
        if structured and len(texts) > 1:
            rows = enumerate(texts, start=1)
            data = [{"number": n, "entities": entities(text)} for n, text in rows]
            return json.dumps({"texts": data})
        if structured:
            return json.dumps({"entities": entities(texts[0])})
        if len(texts) > 1:
            rows = enumerate(texts, start=1)
            return "\n".join(f"[{n}]\n{annotate(text)}" for n, text in rows)
        return annotate(texts[0])

    def _response(self, content):
        part = {"type": "output_text", "text": content, "annotations": []}
        thought = {"type": "summary_text", "text": "Lisbon <> thought <> no answer"}
        data = {
            "id": "resp_1",
            "object": "response",
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "model": "served",
            "output": [
                {"type": "reasoning", "id": "rs_1", "summary": [thought]},
                {"type": "message", "role": "assistant", "content": [part]},
            ],
        }
        if self.usage:
            data["usage"] = {"input_tokens": 100, "output_tokens": 50}
        return data | content if isinstance(content, dict) else data

    async def _fault(self, fault, scope, body, send):
        self.faulty[fault] += 1
        error = {"error": {"message": f"injected: {fault}"}}
        whole = json.dumps(self.completion(body)).encode()
        if fault == "429 retry-after":
            header = (b"retry-after", self.retry_after.encode())
            await self._json(send, 429, error, header)
        elif fault.isdigit():
            await self._json(send, int(fault), error)
        elif fault == "slow":
            await asyncio.sleep(self.slow)
        elif fault == "cut":
            _CuttableProtocol.transports[scope["client"]].abort()
        elif fault == "half":
            start = _start(200, len(whole), b"application/json")
            await send(start)
            half = whole[: len(whole) // 2]
            event = {"type": "http.response.body", "body": half, "more_body": True}
            await send(event)
            await asyncio.sleep(0.01)
            _CuttableProtocol.transports[scope["client"]].abort()
        elif fault == "not json":
            await self._send(send, 200, whole[:-20], b"application/json")
        elif fault == "wrong type":
            page = b"<html>Be right back</html>"
            await self._send(send, 200, page, b"text/html")
        else:
            await self._json(send, 200, {"object": "chat.completion", "choices": []})

    async def _json(self, send, status, data, *headers):
        await self._send(
            send, status, json.dumps(data).encode(), b"application/json", *headers
        )

    async def _send(self, send, status, content, kind, *headers):
        self.statuses[status] += 1
        await send(_start(status, len(content), kind, *headers))
        await send({"type": "http.response.body", "body": content})

    # Files and batches

    async def _hold(self, scope):
        step = f"{scope['method']} {scope['path']}"
        if self.hold_after is not None and step.startswith(self.hold_after):
            self.held.set()
            await asyncio.sleep(60)

    def _upload(self, body, headers):
        boundary = headers["content-type"].partition("boundary=")[2].encode()
        parts = body.split(b"--" + boundary)
        name = f"file-{len(self.files)}"
        for part in parts:
            head, _, content = part.partition(b"\r\n\r\n")
            if b'name="file"' in head:
                self.files[name] = content.removesuffix(b"\r\n")
        file = {"id": name, "bytes": len(self.files[name]), "created_at": 0}
        return file | {"object": "file", "filename": "x", "purpose": "batch"}

    def _batch(self, scope, path, body):
        if scope["method"] == "POST":
            self.made += 1
            asked_for = json.loads(body)
            name = f"batch_{len(self.batches)}"
            lines = self.files[asked_for["input_file_id"]].splitlines()
            self.batches[name] = {
                "id": name,
                "object": "batch",
                "created_at": int(time.time()),
                "status": "validating",
                "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
                "polls": 0,
                **asked_for,
            }
            return self.batches[name]
        if path == "/v1/batches":
            newest = list(self.batches.values())[::-1]
            return {"object": "list", "data": newest, "has_more": False}
        batch = self.batches.get(path.split("/")[3])
        if batch is None or self.forgets:
            return None
        batch["polls"] += 1
        if batch["polls"] > self.polls and batch["status"] == "validating":
            self._finish(batch)
        return batch

    def _finish(self, batch):
        if self.fail_batches:
            batch["status"] = "failed"
            batch["errors"] = {"data": [{"message": self.fail_batches.pop()}]}
            return
        good, bad = [], []
        for line in self.files[batch["input_file_id"]].splitlines():
            request = json.loads(line)
            row = {"custom_id": request["custom_id"], "error": None}
            texts = asked(request["body"])
            self.seen.update(texts)
            fault = next((self.batch_faults.pop(t, None) for t in texts), None)
            if fault == "cancelled":
                # By a person, before this one had its turn.
                batch["cancelled"] = True
            elif fault == "expired":
                bad.append(row | {"error": {"code": "batch_expired", "message": "24h"}})
            elif fault == "missing":
                continue
            elif fault is not None:
                body = {"error": {"message": fault}}
                bad.append(row | {"response": {"status_code": 400, "body": body}})
            else:
                self.answered.update(texts)
                body = self.completion(request["body"])
                good.append(row | {"response": {"status_code": 200, "body": body}})
        self.random.shuffle(good)
        for field, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                name = f"file-{len(self.files)}"
                self.files[name] = b"\n".join(json.dumps(r).encode() for r in rows)
                batch[field] = name
        batch["status"] = "expired" if bad else "completed"
        if batch.pop("cancelled", False):
            batch["status"] = "cancelled"

    # The thread

    def __enter__(self):
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        config = uvicorn.Config(
            self,
            http=_CuttableProtocol,
            lifespan="off",
            log_level="critical",
            timeout_graceful_shutdown=0,
            timeout_keep_alive=60,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._uvicorn.run, args=([self._socket],), daemon=True
        )
        self._thread.start()
        while not self._uvicorn.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self._uvicorn.should_exit = True
        self._thread.join(10)
        self._socket.close()


def asked(body):
    """The sentences of a request."""
    message = body.get("input", body.get("prompt"))
    message = body["messages"][-1]["content"] if message is None else message
    slot = message.rpartition("Input: ")[2]
    if slot.startswith("several texts,"):
        return [text for _, text in _NUMBERED.findall(slot)]
    return [slot]


def _start(status, length, kind, *headers):
    fixed = [(b"content-type", kind), (b"content-length", str(length).encode())]
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [*fixed, *headers],
    }


def fingerprint(text):
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    # For the benchmark: settings as JSON in, the address and at the end the counts out.
    with Server(**json.loads(sys.argv[1])) as running:
        print(running.url, flush=True)
        sys.stdin.readline()
        counts = ("requests", "statuses", "faulty", "most_under_way")
        reported = {name: getattr(running, name) for name in counts}
        reported["answered"] = len(running.answered)
        reported["answers"] = running.answered.total()
        print(json.dumps(reported), flush=True)
