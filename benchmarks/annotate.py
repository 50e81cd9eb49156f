"""How well `annotate` uses what a server allows, and how fast `sample` is.

    python benchmarks/annotate.py ceiling             300 ms an answer, 200 requests/s
    python benchmarks/annotate.py ceiling --rpm 0     the same, limit not known before
    python benchmarks/annotate.py faults              20,000 sentences, 1% of each fault
    python benchmarks/annotate.py sample SOURCE.jsonl

The server runs in a process of its own on loopback. Figures are printed as JSON.
"""

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

import typer

from spacy_nuner.annotate.accounting import Limits
from spacy_nuner.annotate.client import Connection
from spacy_nuner.annotate.prompts import Settings, load_prompt
from spacy_nuner.cli.annotate import annotate

ROOT = Path(__file__).resolve().parents[1]

app = typer.Typer(add_completion=False)


@app.command()
def ceiling(
    seconds: float = typer.Option(60.0, help="How long to ask"),
    rpm: float = typer.Option(12_000, help="Limit that annotate knows, 0 for none"),
    concurrency: int = typer.Option(100, help="Most requests at once"),
    latency: float = typer.Option(0.3, help="Seconds before an answer"),
    allowed: float = typer.Option(200.0, help="Requests a second that are served"),
) -> None:
    """Ask a server that answers slowly and refuses what goes over its limit."""
    figures = run(
        int(seconds * allowed),
        {"latency": latency, "ceiling": allowed},
        rpm=rpm or None,
        concurrency=concurrency,
    )
    # The last request is sent one latency before the end, and the server lets a quarter
    # of a second's worth through at once at the start.
    possible = allowed * (figures["seconds"] - latency + 0.25)
    show(figures | {"share_of_ceiling": round(figures["answers"] / possible, 4)})


@app.command()
def faults(
    sentences: int = typer.Option(20_000, help="Sentences to ask about"),
    share: float = typer.Option(0.01, help="Share of requests with each fault"),
    concurrency: int = typer.Option(64, help="Most requests at once"),
) -> None:
    """Ask a server that does everything wrong now and then."""
    faulty = {"faults": share, "slow": 5.0, "latency": 0.05}
    figures = run(sentences, faulty, concurrency=concurrency, timeout=2.0)
    server = figures["server"]
    figures["each_answered_once"] = server["answered"] == server["answers"] == sentences
    figures["requests_agree"] = figures["requests"] == server["requests"]
    show(figures)


@app.command()
def sample(
    source: Path = typer.Argument(help="JSON Lines with text"),
    times: int = typer.Option(4, help="How often it is read"),
    n: int = typer.Option(20_000, help="Sentences to draw"),
) -> None:
    """Draw sentences from a file that is repeated."""
    from spacy_nuner.annotate import sample as sampling

    report, drawn = sampling.SampleReport(), sampling.DistinctSample(n)
    nlp = sampling.load_splitter("rule", "en")
    repeated = itertools.chain.from_iterable(
        sampling.read_documents(str(source), tally=report.tally) for _ in range(times)
    )
    start, busy = time.perf_counter(), time.process_time()
    sampling.draw_sample(repeated, nlp, drawn, report)
    busy = time.process_time() - busy
    found = report.sentences + report.outside
    seconds = round(found / (time.perf_counter() - start))
    cpu_second = round(found / busy)
    show({"sentences": found, "per_second": seconds, "per_cpu_second": cpu_second})


def run(count: int, server: dict[str, Any], **connection: Any) -> dict[str, Any]:
    """Ask about some sentences; give the figures of both sides."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sentences.jsonl"
        path.write_text("\n".join(rows(count)), encoding="utf8")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.annotate.server", json.dumps(server)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        stdin, stdout = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        url = stdout.readline().strip()
        # Imported before the clock starts.
        import_module("openai")
        start, busy = time.perf_counter(), time.process_time()
        try:
            store = path.with_name("store.sqlite")
            settings = Settings(load_prompt("paper"), "m", {})
            connected = Connection(base_url=url, **connection)
            report = annotate(path, store, settings, connected, Limits())
        finally:
            seconds, busy = time.perf_counter() - start, time.process_time() - busy
            stdin.close()
            counts = json.loads(stdout.readline())
            process.wait()
    return {
        "answers": report.answers,
        "failures": report.failures,
        "requests": report.requests,
        "statuses": report.statuses,
        "seconds": round(seconds, 2),
        "answers_per_second": round(report.answers / seconds, 1),
        "cpu_share_of_a_core": round(busy / seconds, 3),
        "server": counts,
    }


def rows(count: int) -> Iterator[str]:
    """Distinct sentences of real length, as lines of JSON."""
    files = sorted((ROOT / "assets" / "annotations").glob("*.jsonl"))
    lines = [line for path in files for line in path.read_text("utf8").splitlines()]
    texts = [json.loads(line)["text"] for line in lines]
    for number in range(count):
        text = f"{texts[number % len(texts)]} ({number // len(texts)})"
        yield json.dumps({"id": str(number), "text": text})


def show(figures: dict[str, Any]) -> None:
    peak: float = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB elsewhere.
    peak /= 2**20 if sys.platform == "darwin" else 1024
    print(json.dumps(figures | {"peak_mib": round(peak, 1)}, indent=2))


if __name__ == "__main__":
    app()
