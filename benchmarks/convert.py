"""How fast `convert` is at scale, what memory it takes, and that processes agree.

    python benchmarks/convert.py DATA/nuner-sample/data.jsonl
    python benchmarks/convert.py DATA/nuner-sample/nuner-sample-1k.csv
    python benchmarks/convert.py SOURCE --records 100000 --processes 1 --processes 2

The records of SOURCE are repeated with other ids. Figures are printed as JSON. Memory
is the largest sum over the processes at one moment: PSS counts once what several have
in common, RSS counts it in each.
"""

import csv
import hashlib
import itertools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import typer

KINDS = ("Pss", "Rss")


def main(
    source: Path = typer.Argument(help="Records, JSON Lines or CSV, to repeat"),
    records: int = typer.Option(1_000_000, help="How many records to convert"),
    processes: list[int] = typer.Option([2], help="Numbers of processes to run with"),
    read: bool = typer.Option(True, help="Read the corpus back too"),
    folder: Path | None = typer.Option(None, help="Where to work; /tmp if not given"),
) -> None:
    """Convert a large file once with each number of processes."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name) / f"records{source.suffix}"
        repeat(source, path, records)
        runs = [run(path, Path(name) / "corpus", n, read=read) for n in processes]
    hashes = {found["sha256"] for found in runs}
    result = {"records": records, "runs": runs, "equal_output": len(hashes) == 1}
    typer.echo(json.dumps(result, indent=2))
    if len(hashes) > 1:
        raise typer.Exit(1)


def repeat(source: Path, path: Path, count: int) -> None:
    """Write the records of a file over and over, each with an id of its own."""
    with (
        source.open(encoding="utf8", newline="") as file,
        path.open("w", encoding="utf8", newline="") as output,
    ):
        if source.suffix == ".csv":
            reader = csv.reader(file)
            writer = csv.writer(output)
            writer.writerow(["id", *next(reader)])
            rows = itertools.cycle(list(reader))
            for number in range(count):
                writer.writerow([number, *next(rows)])
            return
        objects = itertools.cycle([json.loads(line) for line in file if line.strip()])
        for number in range(count):
            data = {**next(objects), "id": str(number)}
            output.write(json.dumps(data, ensure_ascii=False) + "\n")


def run(path: Path, corpus: Path, n_process: int, *, read: bool) -> dict:
    """Convert once, as a user does, and take the corpus's hash."""
    command = [sys.executable, "-m", "spacy", "nuner", "convert"]
    command += [str(path), str(corpus)]
    started, busy = time.perf_counter(), cpu_seconds()
    child = subprocess.Popen(
        [*command, "--n-process", str(n_process)], stdout=sys.stderr
    )
    peaks = watch(child)
    seconds = time.perf_counter() - started
    if child.returncode:
        raise typer.Exit(1)
    report = json.loads((corpus / "report.json").read_text("utf8"))
    rows = report["records"]["read"]
    found = {
        "processes": n_process,
        "seconds": round(seconds, 1),
        "records_per_second": round(rows / seconds),
        # What the machine would do if nothing else ran on it.
        "cpu_microseconds_per_record": round(1e6 * (cpu_seconds() - busy) / rows),
        **peaks,
        "shards": len(report["shards"]),
        "megabytes": round(sum(p.stat().st_size for p in corpus.iterdir()) / 1e6, 1),
        "sha256": hash_folder(corpus),
    }
    if read:
        found["read_per_second"] = read_back(corpus)
    shutil.rmtree(corpus)
    return found


def watch(child: subprocess.Popen) -> dict:
    """Wait for the end of a process and tell the largest memory of it and its own."""
    peaks = dict.fromkeys(KINDS, 0.0)
    single = 0.0
    while child.poll() is None:
        found = [mib for pid in family(child.pid) if (mib := memory(pid))]
        for kind in KINDS:
            peaks[kind] = max(peaks[kind], sum(mib[kind] for mib in found))
        single = max([single, *(mib["Pss"] for mib in found)])
        time.sleep(0.5)
    return {
        "mib_total_pss": round(peaks["Pss"]),
        "mib_total_rss": round(peaks["Rss"]),
        "mib_largest_process_pss": round(single),
    }


def cpu_seconds() -> float:
    """Processor time of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def family(pid: int) -> Iterator[int]:
    """The process and all that came from it."""
    yield pid
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = tasks.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def memory(pid: int) -> dict[str, float]:
    """MiB of a process by kind; nothing if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return {}
    fields = {line.split(":")[0]: line.split() for line in lines}
    return {kind: int(fields[kind][1]) / 1024 for kind in KINDS if kind in fields}


def hash_folder(folder: Path) -> str:
    """One hash of all names and contents, as the shards stand."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def read_back(corpus: Path) -> int:
    """How many docs of the corpus are read in a second, annotations and all."""
    from spacy_nuner.readers.docbin import read_corpus

    started = time.perf_counter()
    spans = docs = 0
    for doc in read_corpus(corpus):
        docs += 1
        spans += sum(span.end_char > span.start_char for span in doc.spans["concepts"])
    return round(docs / (time.perf_counter() - started))


if __name__ == "__main__":
    typer.run(main)
