"""What it brings that a label waits for its first example.

    python benchmarks/waiting.py $DATA --backbone training/iii

`nuner_ner` is trained by `configs/ner.cfg` on a few sentences drawn at random, with all
labels of the set given: once as it is, once so that every sentence counts against the
labels that it lacks. Entity F1 on sentences of the dev file, or on others of the
training file where there is none. `--absent` gives the labels of other sets as well,
which have no example however many sentences there are: what waiting costs then.
"""

import random
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[1]
SETS = "mit-restaurant,mit-movie,wnut17,crossner-science,crossner-music"
HEADER = ["data set", "seed", "sentences", "labels without an example"]
HEADER += ["counted against", "waiting"]


def main(
    data: Path = typer.Argument(help="Folder of the data sets"),
    backbone: str = typer.Option(..., help="A backbone with a concept encoder"),
    sets: str = typer.Option(SETS, help="Data sets, between commas"),
    sentences: str = typer.Option("10,20", help="Sentences, between commas"),
    seeds: str = typer.Option("0,1", help="Of draws and trainings, between commas"),
    absent: str = typer.Option("", help="Sets whose labels are given too"),
    limit: int = typer.Option(300, help="Sentences to score on"),
) -> None:
    """Train with and without, and print a row for each pair."""
    import torch
    from tqdm import tqdm

    from spacy_nuner.corpus.labelled_docs import read_docs
    from spacy_nuner.fewshot.zero_shot import complete_labels
    from spacy_nuner.labelling.retrain import train_again
    from spacy_nuner.labelling.simulate import get_f1, make_config, take
    from spacy_nuner.pipeline import targets
    from spacy_nuner.pipeline.labels import Label, read_labels
    from spacy_nuner.printing import markdown_table

    torch.set_num_threads(1)

    def read_known(name: str) -> dict[str, Label]:
        path = ROOT / "assets" / "labels" / f"{name}.json"
        return read_labels(path) if path.is_file() else {}

    def read_part(name: str, part: str) -> list:
        files = sorted((data / name).glob(f"{part}.*"))
        return take(read_docs(files[0]), 0) if files else []

    # From the first sentence on a label without an example is taken for absent.
    ways = (0, targets.ENOUGH_WORDS)
    rows = []
    for name in sets.split(","):
        train, dev = read_part(name, "train"), read_part(name, "dev")
        if not dev:
            random.Random(9).shuffle(train)
            dev, train = train[:limit], train[limit:]
        dev = take(dev, limit)
        labels = complete_labels(train, read_known(name))
        for other in filter(None, absent.split(",")):
            labels = {**read_known(other), **labels}
        runs = [(s, n) for s in seeds.split(",") for n in sentences.split(",")]
        for seed, n in tqdm(runs, desc=name):
            docs = random.Random(100 * int(seed) + int(n)).sample(train, int(n))
            missing = set(labels) - {ent.label_ for doc in docs for ent in doc.ents}
            scores = []
            for way in ways if missing else ways[1:]:
                targets.ENOUGH_WORDS = way
                config = make_config(backbone, labels)
                nlp = train_again(config, docs, seed=int(seed))
                scores.append(100 * get_f1(nlp, dev))
            # Where none is missing both are the same.
            row = [name, seed, n, str(len(missing)), f"{scores[0]:.1f}"]
            rows.append([*row, f"{scores[-1]:.1f}"])
            typer.echo(" ".join(rows[-1]), err=True)
    typer.echo(markdown_table(HEADER, rows, words=1))


if __name__ == "__main__":
    typer.run(main)
