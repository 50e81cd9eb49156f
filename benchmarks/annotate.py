"""How well `annotate` uses what a server allows, and how fast `sample` is.

    python benchmarks/annotate.py ceiling             300 ms an answer, 200 requests/s
    python benchmarks/annotate.py ceiling --rpm 0     the same, limit not known before
    python benchmarks/annotate.py faults              20,000 sentences, 1% of each fault
    python benchmarks/annotate.py sample SOURCE.jsonl

The server runs in a process of its own on loopback. Figures are printed as JSON.
"""

import asyncio
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

app = typer.Typer(add_completion=False)


@app.command()
def ceiling(
    seconds: float = typer.Option(60.0, help="How long to ask"),
    rpm: float = typer.Option(12_000, help="Limit told to annotate, 0 for none"),
    concurrency: int = typer.Option(100, help="Most requests at once"),
    latency: float = typer.Option(0.3, help="Seconds before an answer"),
    allowed: float = typer.Option(200.0, help="Requests a second that are served"),
) -> None:
    """Ask a server that answers slowly and refuses what goes over its limit."""
    settings = {"latency": latency, "ceiling": allowed}
    told = _run(int(seconds * allowed), settings, rpm=rpm, concurrency=concurrency)
    # The last request is sent one latency before the end, and the server lets a quarter
    # of a second's worth through at once at the start.
    possible = allowed * (told["seconds"] - latency + 0.25)
    _print(told | {"share_of_ceiling": round(told["answers"] / possible, 4)})


@app.command()
def faults(
    sentences: int = typer.Option(20_000, help="Sentences to ask about"),
    share: float = typer.Option(0.01, help="Share of requests with each fault"),
    concurrency: int = typer.Option(64, help="Most requests at once"),
) -> None:
    """Ask a server that does everything wrong now and then."""
    settings = {"faults": share, "slow": 5.0, "latency": 0.05}
    told = _run(sentences, settings, rpm=0, concurrency=concurrency, timeout=2.0)
    server = told["server"]
    told["each_answered_once"] = server["answered"] == server["answers"] == sentences
    told["requests_agree"] = told["requests"] == server["requests"]
    _print(told)


@app.command()
def sample(
    source: Path = typer.Argument(help="JSON Lines with text"),
    times: int = typer.Option(4, help="How often it is read"),
    n: int = typer.Option(20_000, help="Sentences to draw"),
) -> None:
    """Draw sentences from a file that is repeated."""
    from spacy_nuner.annotate.sample import (
        SampleReport,
        draw_sample,
        load_splitter,
        read_documents,
    )

    report = SampleReport()
    nlp = load_splitter("rule", "en")
    repeated = itertools.chain.from_iterable(
        read_documents(str(source), skips=report.skips) for _ in range(times)
    )
    start, busy = time.perf_counter(), time.process_time()
    draw_sample(repeated, nlp, n=n, report=report)
    busy = time.process_time() - busy
    found = report.sentences + report.outside
    _print(
        {
            "sentences": found,
            "sentences_per_second": round(found / (time.perf_counter() - start)),
            "sentences_per_cpu_second": round(found / busy),
            "peak_mib": _peak_mib(),
        }
    )


def _run(
    count: int, server: dict, *, rpm: float, concurrency: int, timeout: float = 30.0
) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sentences.jsonl"
        with path.open("w", encoding="utf8") as file:
            for number, text in enumerate(_texts(count)):
                file.write(json.dumps({"id": str(number), "text": text}) + "\n")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.annotate.server", json.dumps(server)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        url = process.stdout.readline().strip()
        try:
            told = _ask(path, url, rpm, concurrency, timeout)
        finally:
            process.stdin.close()
        told["server"] = json.loads(process.stdout.readline())
        process.wait()
        return told


def _texts(count: int):
    """Distinct sentences of real length."""
    files = sorted((ROOT / "assets" / "annotations").glob("*.jsonl"))
    lines = [line for path in files for line in path.read_text("utf8").splitlines()]
    texts = [json.loads(line)["text"] for line in lines]
    for number in range(count):
        yield f"{texts[number % len(texts)]} ({number // len(texts)})"


def _ask(path: Path, url: str, rpm: float, concurrency: int, timeout: float) -> dict:
    from spacy_nuner.annotate.accounting import Limits, Report, RunLog
    from spacy_nuner.annotate.client import Endpoint, Pace
    from spacy_nuner.annotate.collect import Run
    from spacy_nuner.annotate.prompts import Settings, load_prompt
    from spacy_nuner.annotate.store import Store

    report, pace = Report(), Pace(concurrency, rpm=rpm or None)
    store = Store(path.with_name("store.sqlite"))
    settings = Settings(load_prompt("paper"), "m", {})
    memory: list[float] = []

    async def run() -> tuple[float, float]:
        endpoint = Endpoint(url, pace=pace, report=report, timeout=timeout)
        asking = Run(
            *(store, settings, endpoint, pace),
            report=report,
            limits=Limits(),
            log=RunLog(None),
        )
        start, busy = time.perf_counter(), time.process_time()
        await asking.all(path)
        await endpoint.close()
        return time.perf_counter() - start, time.process_time() - busy

    watching = threading.Event()
    threading.Thread(target=_watch, args=(memory, watching), daemon=True).start()
    seconds, busy = asyncio.run(run())
    watching.set()
    store.close()
    quarter = max(1, len(memory) // 4)
    return {
        "answers": report.answers,
        "failures": dict(report.failures),
        "requests": report.requests,
        "statuses": {str(code): n for code, n in report.statuses.items()},
        "seconds": round(seconds, 2),
        "answers_per_second": round(report.answers / seconds, 1),
        "cpu_share_of_a_core": round(busy / seconds, 3),
        # After the first quarter, when all connections are open.
        "mib_after_a_quarter": round(memory[quarter - 1], 1),
        "mib_at_the_end": round(memory[-1], 1),
    }


def _watch(memory: list[float], stop: threading.Event) -> None:
    while not stop.wait(0.5):
        memory.append(_mib_now())
    memory.append(_mib_now())


def _mib_now() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return _peak_mib()
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB elsewhere.
    return round(peak / (2**20 if sys.platform == "darwin" else 1024), 1)


def _print(told: dict) -> None:
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    app()
