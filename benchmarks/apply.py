"""What `apply` costs over `nlp.pipe`, side by side, with one process and with two.

    python benchmarks/apply.py PIPELINE CORPUS.jsonl
    python benchmarks/apply.py PIPELINE CORPUS.jsonl --rounds 5 --processes 2

Each round runs `nlp.pipe` over the texts in one process, as a user's loop does, which
counts the entities and throws the docs away; then `apply` with one process; then with
several. Every run is a process of its own with one thread of torch. Loading the
pipeline is not timed in the loop nor in `apply` with one process. It is part of the
time with several processes, so the corpus has to be long. Runs within a round are
compared; printed are the medians of the rounds as JSON. To be run where nothing else
runs.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import typer

LOOP = """
import json, sys, time
import spacy, torch
torch.set_num_threads(1)
nlp = spacy.load(sys.argv[1])
texts = [json.loads(line)["text"] for line in open(sys.argv[2], encoding="utf8")]
list(nlp.pipe(texts[:8]))
start, words, found = time.perf_counter(), 0, 0
for doc in nlp.pipe(texts):
    words += len(doc)
    found += len(doc.ents) + sum(map(len, doc.spans.values()))
seconds = time.perf_counter() - start
print(json.dumps({"words": words, "seconds": seconds}))
"""
APPLY = """
import json, sys
import torch
from pathlib import Path
from spacy_nuner.cli.apply import apply
if __name__ == "__main__":
    pipeline, source, output, n_process = sys.argv[1:]
    torch.set_num_threads(1)
    done = apply(pipeline, source, Path(output), n_process=int(n_process),
                 progress=False)
    print(json.dumps({"words": done.words, "seconds": done.seconds}))
"""


def main(
    pipeline: str = typer.Argument(help="A folder or an installed pipeline"),
    corpus: Path = typer.Argument(help="JSON Lines with texts, none of them broken"),
    rounds: int = typer.Option(3, help="How often each is run"),
    processes: int = typer.Option(2, help="How many processes beside one"),
) -> None:
    """Compare `apply` with `nlp.pipe`."""
    runs: list[dict[str, float]] = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            one, several = f"{folder}/1", f"{folder}/n"
            runs.append(
                {
                    "pipe": run(LOOP, pipeline, corpus),
                    "apply_1": run(APPLY, pipeline, corpus, one, 1),
                    f"apply_{processes}": run(
                        APPLY, pipeline, corpus, several, processes
                    ),
                }
            )
        typer.echo(f"round {number + 1}: {runs[-1]}", err=True)
    shares = {
        name: statistics.median(one[name] / one["pipe"] for one in runs)
        for name in runs[0]
    }
    speeds = {name: statistics.median(one[name] for one in runs) for name in runs[0]}
    typer.echo(json.dumps({"words_per_second": speeds, "of_pipe": shares}, indent=2))


def run(code: str, *arguments: object) -> float:
    """Run a script in a process of its own; give its words a second."""
    with tempfile.TemporaryDirectory() as folder:
        # Spawned processes import it, so it has to be a file.
        path = Path(folder) / "run.py"
        path.write_text(code, encoding="utf8")
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, str(path), *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        typer.echo(f"{found} ({time.perf_counter() - start:.0f} s in all)", err=True)
    return float(found["words"] / found["seconds"])


if __name__ == "__main__":
    typer.run(main)
