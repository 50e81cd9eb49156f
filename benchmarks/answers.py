"""How long large answers take to read, and what memory large responses take.

    python benchmarks/answers.py --output metrics/answers.json

Answers of a megabyte, of shapes that have been slow, are read as lines and as JSON
against a sentence; the median of the rounds is given in seconds. Then `annotate` asks a
server on loopback that answers with 50 MB, or with a few hundred kilobytes of gzip that
unpack to 300 MB; the memory is the peak of its process, in MB, beside that of a plain
answer.
"""

import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import typer

from spacy_nuner.readers.answers import parse_answer, read_entities

SIZE = 1_000_000
TEXT = "Ana Lima flew from Lisbon to Porto with AT&T in May."
SHAPES = {
    "words without a separator": "word ",
    "one word without a blank": "word",
    "separators alone": "<> ",
    "separators and a letter": "a <> ",
    "bars": "a | ",
    "lines of words": "Ana Lima went there.\n",
    "lines of three letters": "abc\n",
    "good lines": "Ana Lima <> person <> A traveller.\n",
    "marks": "**",
    "quotes": '"',
    "brackets": "[",
    "braces": "{",
    "digits": "7",
    "numbers of sentences": "[1]\n",
    "fences": "```\n",
    "tags of thoughts": "<think>",
    "pairs of tags": "<think>x</think>",
    "rows of JSON": '{"text": "Ana Lima", "concept": "person"},',
    "escapes of HTML": "&amp;",
    "soft hyphens": "\u00ad",
}
COMPLETION = {"finish_reason": "stop", "message": {"content": "Lisbon <> city <> x"}}
# `annotate` prints its report; the peak of its memory in kB is added. Linux only.
CHILD = """
import sys
from spacy_nuner.__main__ import main
sys.argv = ["spacy-nuner", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
# Of this process alone; what getrusage tells is at least that of its parent.
with open("/proc/self/status") as status:
    print("peak", next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def main(
    output: Path = typer.Option(..., help="The results, a JSON file"),
    rounds: int = typer.Option(3, help="How often each answer is read"),
) -> None:
    """Measure reading and memory."""
    seconds = {
        name: [read(shape) for _ in range(rounds)] for name, shape in SHAPES.items()
    }
    results = {
        "seconds": {name: statistics.median(each) for name, each in seconds.items()},
        "memory": {name: measure_memory(*sent) for name, sent in make_bodies().items()},
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf8")
    typer.echo(output.read_text(encoding="utf8"))


def read(shape: str) -> float:
    """Read a megabyte of a shape as lines and as JSON; seconds of the slower."""
    answer = (shape * (SIZE // len(shape) + 1))[:SIZE]
    took = []
    for reader in (parse_answer, read_entities):
        begin = time.perf_counter()
        reader(answer, text=TEXT)
        took.append(time.perf_counter() - begin)
    return max(took)


def make_bodies() -> dict[str, tuple[bytes, str]]:
    """What a server sends, and how it is packed."""
    plain = json.dumps({"choices": [COMPLETION]}).encode()
    large = plain.replace(b"Lisbon <>", b"Lisbon " + b"x" * 50_000_000 + b" <>")
    return {
        "plain": (plain, "identity"),
        "50 MB": (large, "identity"),
        "gzip of 300 MB": (gzip.compress(b" " * 300_000_000 + plain), "gzip"),
    }


def measure_memory(body: bytes, encoding: str) -> int:
    """Annotate a sentence with a server that sends this; peak memory in MB."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-encoding", encoding)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # The client hangs up where it has read enough.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        sentences = Path(folder) / "sentences.jsonl"
        sentences.write_text(json.dumps({"id": "1", "text": TEXT}) + "\n")
        url = f"http://127.0.0.1:{server.server_port}/v1"
        command = ["annotate", str(sentences), str(Path(folder) / "store.sqlite")]
        command += ["--model", "m", "--base-url", url, "--retries", "0"]
        run = subprocess.run(
            [sys.executable, "-c", CHILD, *command],
            capture_output=True,
            text=True,
            check=True,
        )
    server.shutdown()
    return int(run.stdout.split("peak ")[-1]) // 1024


if __name__ == "__main__":
    typer.run(main)
