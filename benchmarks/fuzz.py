"""The tests of random input, for as long as there is time.

    python benchmarks/fuzz.py --minutes 10 --output metrics/fuzz

Tests marked `fuzz` are run again and again, each time from another seed and with some
times the inputs of an ordinary run. `seeds.jsonl` has a line a seed: how it ended
and how long it took. What a seed with failures printed is `seed-N.log`, the smallest
input that fails among it. A round that hangs is ended after --limit seconds, with the
stacks of its threads in its log. Ends with code 1 if a seed failed.

    SPACY_NUNER_FUZZ=5 python -m pytest -n 0 -m fuzz --hypothesis-seed N

runs one again. What is found becomes a test of its own, next to what was mended.
"""

import json
import os
import re
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parents[1]


def main(
    output: Path = typer.Option(..., help="Folder of the seeds and what they printed"),
    minutes: float = typer.Option(10, help="No round begins later"),
    first: int = typer.Option(1, help="The first seed"),
    times: int = typer.Option(5, help="Inputs of a test, times those of usual", min=2),
    limit: int = typer.Option(900, help="Seconds after which a round hangs"),
    only: str = typer.Option("", help="Tests whose names match, as for pytest's -k"),
) -> None:
    """Run seed after seed."""
    output.mkdir(parents=True, exist_ok=True)
    end, failed = time.monotonic() + 60 * minutes, 0
    with (output / "seeds.jsonl").open("a", encoding="utf8") as log:
        for seed in count(first):
            if time.monotonic() > end:
                break
            found = run(seed, times, limit, only, output / f"seed-{seed}.log")
            failed += not found["passed"]
            log.write(json.dumps(found) + "\n")
            log.flush()
            typer.echo(json.dumps(found))
    if failed:
        raise typer.Exit(1)


def run(seed: int, times: int, limit: int, only: str, log: Path) -> dict[str, Any]:
    """One round; its log stays if something failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "fuzz"]
    command += ["--hypothesis-seed", str(seed), "-k", only, "tests"]
    # Before the round is ended, where it is.
    command += ["-o", f"faulthandler_timeout={max(limit - 30, 1)}"]
    started = time.monotonic()
    with log.open("w", encoding="utf8") as file:
        try:
            code = subprocess.run(
                command,
                cwd=ROOT,
                env=os.environ | {"SPACY_NUNER_FUZZ": str(times)},
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=limit,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
    text = log.read_text("utf8", errors="replace")
    failures = re.findall(r"^FAILED (\S+)", text, re.MULTILINE)
    if code == 0:
        log.unlink()
    return {
        "seed": seed,
        "passed": code == 0,
        "ended": "hung" if code is None else f"code {code}",
        "failures": failures,
        "seconds": round(time.monotonic() - started),
        "times": times,
    }


if __name__ == "__main__":
    typer.run(main)
