"""Every cell of a comparison: sets x backbones x heads x draws, in any processes."""

import contextlib
import functools
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from itertools import chain, pairwise, product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import spacy
from spacy.tokens import Doc, DocBin
from thinc.api import get_torch_default_device
from tqdm import tqdm

from ..encoders.layers import load_encoder
from ..errors import Errors, NunerError
from ..files import write_whole
from ..models.precision import choose_precision
from ..outputs import check_output, claimed
from ..parallel import Part, write_parts
from ..pipeline.labels import parse_labels
from .compare import Backbone, Dataset
from .draws import Draw
from .heads import (
    PROBES,
    TRAINED,
    VECTORS,
    Rates,
    Task,
    Training,
    check_heads,
    fit_head,
    make_training,
)
from .probe import (
    L2,
    Floats,
    Gold,
    embed_tokens,
    encode_labels,
    find_labels,
    fit_probe,
)
from .results import ALL, Cell, K, ignore_names

PACKAGES = ("spacy-nuner", "spacy", "torch", "transformers", "scikit-learn")
PARTS = ("test", "train", "dev")
META = "set.json"
# Share of a draw that is held out for the choice of rates, where it leaves less.
HELD_OUT = 0.1


@dataclass(frozen=True)
class Fits:
    """What is fitted to each draw.

    heads (Sequence[str]): Of `heads.HEADS`.
    encoders (Sequence[str]): "frozen", "tuned" or both; probes are frozen alone.
    layers (Sequence[str] | None): Layer sets that probes are fitted to; None for all
        that the backbones have.
    head_layers (str): The layer set that trained heads read.
    epochs (int | None): Passes of a training; None for what is usual.
    rate_draws (int): Draws that each pair of rates is tried on.
    dev_sentences (int): The most sentences that they are scored on.
    """

    heads: Sequence[str] = ("probe",)
    encoders: Sequence[str] = ("frozen",)
    layers: Sequence[str] | None = None
    head_layers: str = "both"
    epochs: int | None = None
    rate_draws: int = 1
    dev_sentences: int = 200


def run_cells(
    datasets: Sequence[Dataset],
    backbones: Sequence[Backbone],
    draws: Mapping[str, Sequence[Sequence[Draw]]],
    output: Path,
    *,
    fits: Fits | None = None,
    n_process: int = 1,
    gpu_id: int = -1,
) -> list[Cell]:
    """Fit every head to every draw on every backbone, except for finished cells.

    Vectors of a frozen backbone are computed once a data set. Rates of trained heads
    are chosen by entity F1 on the dev part; without one, on sentences of the training
    part that the draw does not have, and where it has nearly all, on a tenth of it,
    which the last training takes too. The test part is scored on once a cell.

    datasets (Sequence[Dataset]): The sets; draws refer to their training parts.
    backbones (Sequence[Backbone]): The encoders to compare.
    draws (Mapping[str, Sequence[Sequence[Draw]]]): Name of a set -> the draws of each
        protocol and k.
    output (Path): The folder of results. A cell is written as soon as it is finished;
        one that is there with the same settings is not computed again.
    fits (Fits | None): The heads; None for the probe.
    n_process (int): Processes, one thread each; with 1 it is this one.
    gpu_id (int): What the processes compute on; -1 is the CPU.
    RETURNS (list[Cell]): All the cells.
    RAISES (NunerError): N618 for an unknown head, N623 if a test set has none of the
        labels, N626 if there is nothing to choose rates on; N031 if another process
        writes results of a set there, and what else `claimed` raises.
    """
    fits = fits or Fits()
    check_heads(fits.heads, fits.encoders)
    labels = {}
    for one in datasets:
        found = find_labels(one.train, one.test)
        more = {ent.label_ for doc in one.dev for ent in doc.ents} - set(found)
        labels[one.name] = [*found, *sorted(more)]
    prepare = functools.partial(prepare_worker, gpu_id)

    def write(parts: Sequence[Part], title: str, *, shown: bool = True) -> None:
        hidden = not (parts and shown)
        with tqdm(total=len(parts), desc=title, unit="part", disable=hidden) as bar:
            write_parts(parts, n_process=n_process, bar=bar, prepare=prepare)

    with contextlib.ExitStack() as stack:
        folders: dict[str, Path] = {}
        for dataset in datasets:
            folder = check_output(output / dataset.name, folder=True)
            work = stack.enter_context(claimed(folder, "fewshot"))
            work.new.mkdir(parents=True, exist_ok=True)
            folders[dataset.name] = Path(tempfile.mkdtemp(dir=work.new))
        stack.callback(_open_set.cache_clear)
        jobs = [
            Job(cell, source, folders[dataset.name], output)
            for dataset in datasets
            for cell, source in _plan(dataset, backbones, draws[dataset.name], fits)
        ]
        trials = _plan_trials(jobs, datasets, fits)
        untried = [one for one in chain(*trials.values()) if not one.is_done()]
        missing = {
            job
            for job in jobs
            if (settled := _choose_rates(job, trials)) is None or not settled.is_done()
        }
        for dataset in datasets:
            chosen = [job for job in jobs if job.cell.dataset == dataset.name]
            if not missing.isdisjoint(chosen):
                used = {i for job in chosen for i in job.cell.settings["docs"]}
                for job in chosen:
                    used.update(i for one in trials[job.key] for i in one.dev or ())
                name = dataset.name
                _write_set(dataset, labels[name], used, fits, folders[name])
        # In one process each encoder has a bar of its own.
        write(_plan_vectors(jobs, missing), "vectors", shown=n_process != 1)
        write(untried, "rates on dev")
        settled_jobs = [job for job in (_choose_rates(x, trials) for x in jobs) if job]
        write([job for job in settled_jobs if not job.is_done()], "cells")
        cells = [job.cell.find_finished(output) for job in settled_jobs]
    return [cell for cell in cells if cell is not None]


def prepare_worker(gpu_id: int = -1) -> None:
    """Prepare a process that fits heads: its device.

    gpu_id (int): The GPU; -1 is the CPU.
    """
    from spacy.cli._util import setup_gpu

    setup_gpu(gpu_id, silent=True)


def _plan(
    dataset: Dataset,
    backbones: Sequence[Backbone],
    groups: Sequence[Sequence[Draw]],
    fits: Fits,
) -> list[tuple[Cell, str]]:
    """The cells of a set, without scores and rates, and their encoders."""
    precision = choose_precision("auto", get_torch_default_device())
    # Of a head that has no rates to choose, the dev part changes nothing.
    data = {key: value for key, value in dataset.hashes.items() if key != "dev"}
    planned = []
    for backbone, (head, weights), group in product(
        backbones, product(fits.heads, fits.encoders), groups
    ):
        if head in PROBES and weights == "tuned":
            continue
        sets: Sequence[str] = [fits.head_layers]
        if head in PROBES:
            sets = fits.layers or list(backbone.layers)
        for layers, (number, draw) in product(sets, enumerate(group)):
            settings = {
                "encoder": backbone.identity,
                "hidden_layers": backbone.layers[layers],
                "data": data,
                "seed": draw.seed,
                "docs": draw.docs,
                "precision": precision,
            }
            standing = head == "probe" and draw.protocol == "mentions"
            if not standing:
                settings |= {"words": draw.words, "attempts": draw.attempts}
            if head in PROBES:
                settings |= {"labels": "IO", "l2": L2}
            else:
                training = make_training(fits.epochs, draw)
                settings |= {
                    "data": dataset.hashes,
                    "weights": weights,
                    "steps": training.count_steps(len(draw.docs)),
                    "training": asdict(training),
                    "names": {
                        label: known.to_setting()
                        for label, known in dataset.meanings.items()
                    },
                }
            if head == "nuner_ner":
                settings["encoder"] = backbone.naming_identity
                settings["architecture"] = "spacy_nuner.EntityTagger.v1"
            name = f"{draw.protocol}-{head}-{weights}"
            # Probes have a folder for each layer set.
            name = f"{name}-{layers}" if head in PROBES else name
            cell = Cell(
                dataset=dataset.name,
                backbone=backbone.name,
                layers=layers if standing else name,
                k=ALL if draw.is_all else draw.k,
                draw=number,
                sentences=len(draw.docs),
                tokens=sum(len(dataset.train[i]) for i in draw.docs),
                mentions=draw.mentions,
                settings=settings,
                protocol="probe" if standing else draw.protocol,
                head=head,
            )
            planned.append((cell, backbone.source))
    return planned


@dataclass(frozen=True, eq=False)
class Job:
    """A cell that is computed: a `Part` for `write_parts`.

    cell (Cell): The cell, without scores.
    source (str): The folder of its encoder.
    folder (Path): Where the set and its vectors lie.
    output (Path): The folder of results.
    """

    cell: Cell
    source: str
    folder: Path
    output: Path
    size: int = 1

    @property
    def needs_rates(self) -> bool:
        """RETURNS (bool): Whether rates have to be chosen for it."""
        settings = self.cell.settings
        return (
            self.cell.head in TRAINED
            and "rates" not in settings
            and bool(TRAINED[self.cell.head].get_rates(self.is_tuned))
        )

    @property
    def key(self) -> tuple[str, str, str, K]:
        """RETURNS (tuple[str, str, str, K]): What its rates are chosen for."""
        cell = self.cell
        return cell.dataset, cell.backbone, cell.layers, cell.k

    @property
    def is_tuned(self) -> bool:
        """RETURNS (bool): Whether its encoder learns."""
        return bool(self.cell.settings.get("weights") == "tuned")

    def is_done(self) -> bool:
        """RETURNS (bool): Whether the cell is there, with these settings."""
        return self.cell.find_finished(self.output) is not None

    def write(self) -> None:
        """Fit the head, score it, write the cell."""
        start = time.perf_counter()
        opened = _open_set(self.folder)
        docs = self.cell.settings["docs"]
        if self.cell.head in PROBES:
            scores = self._fit_probe(opened, docs)
        else:
            scores = self.train(opened, docs, opened.docs["test"], opened.gold)
        seconds = round(time.perf_counter() - start, 2)
        cell = replace(
            self.cell, scores=scores, seconds=seconds, versions=find_versions()
        )
        cell.to_disk(self.output)

    def _fit_probe(self, opened: "OpenSet", docs: Sequence[int]) -> dict[str, Any]:
        layers = self.cell.settings["hidden_layers"]
        rows = [opened.rows[i] for i in docs]
        train, test = (
            opened.read_vectors(part, self.cell.backbone, layers)
            for part in ("train", "test")
        )
        tokens = np.concatenate([np.arange(start, end) for start, end in rows])
        gold = encode_labels([opened.pool[i] for i in docs], opened.labels)
        binary = self.cell.head == "binary-probe"
        probe = fit_probe(train[tokens], gold, len(opened.labels), binary=binary)
        logits = probe.score(np.asarray(test))
        return opened.gold.score(logits.argmax(axis=1), logits > 0 if binary else None)

    def train(
        self,
        opened: "OpenSet",
        docs: Sequence[int],
        scored: Sequence[Doc],
        gold: Gold,
    ) -> dict[str, Any]:
        """Train the head and score it.

        opened (OpenSet): The set.
        docs (Sequence[int]): Indices of the sentences that it learns from.
        scored (Sequence[Doc]): The sentences that it is scored on.
        gold (Gold): The same.
        RETURNS (dict[str, Any]): As `Gold.score_ents`.
        """
        settings = self.cell.settings
        if not self.is_tuned:
            opened.attach_vectors(self.cell.backbone, settings["hidden_layers"])
        task = Task(
            docs=[opened.pool[i] for i in docs],
            labels=opened.labels,
            backbone=self.source,
            hidden_layers=settings["hidden_layers"],
            tuned=self.is_tuned,
            rates=tuple(settings.get("rates", (0.0, 0.0))),
            steps=settings["steps"],
            seed=settings["seed"],
            training=Training(**settings["training"]),
            meanings=opened.meanings,
        )
        return gold.score_ents(fit_head(self.cell.head, task)(scored))


@dataclass(frozen=True, eq=False)
class Trial:
    """A training that is scored on dev, to choose rates: a `Part` for `write_parts`.

    job (Job): The cell that it is of, with the rates that are tried.
    docs (list[int]): The sentences that it learns from.
    dev (list[int] | None): Those of the training part that it is scored on; None for
        the dev part.
    most (int): The most sentences of the dev part.
    """

    job: Job
    docs: list[int]
    dev: list[int] | None
    most: int
    size: int = 1

    @property
    def path(self) -> Path:
        """RETURNS (Path): Its file, in the folder of the cell."""
        cell = self.job.cell
        name = "-".join(f"{rate:g}" for rate in cell.settings["rates"])
        folder = self.job.output / cell.dataset / cell.backbone / cell.layers
        return folder / f"k{cell.k}" / "rates" / f"{name}-draw{cell.draw}.json"

    @property
    def settings(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): What its score depends on, as JSON has it."""
        found = {"learned": self.docs, "dev": self.dev, "most": self.most}
        copied: dict[str, Any] = json.loads(
            json.dumps({**self.job.cell.settings, **found})
        )
        return copied

    def read(self) -> float | None:
        """RETURNS (float | None): Its entity F1 on dev; None if it is to be made."""
        try:
            content = json.loads(self.path.read_text(encoding="utf8"))
            done = ignore_names(content["settings"]) == ignore_names(self.settings)
            return float(content["ents_f"] or 0.0) if done else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def is_done(self) -> bool:
        """RETURNS (bool): Whether its file is there."""
        return self.read() is not None

    def write(self) -> None:
        """Train, score on dev, write the file."""
        start = time.perf_counter()
        opened = _open_set(self.job.folder)
        if self.dev is None:
            docs = opened.docs["dev"]
        else:
            docs = [opened.pool[i] for i in self.dev]
        gold = Gold(docs, opened.labels)
        scores = self.job.train(opened, self.docs, docs, gold)
        content = {
            "settings": self.settings,
            "ents_f": scores["ents_f"],
            "seconds": round(time.perf_counter() - start, 2),
        }
        write_whole(self.path, json.dumps(content, indent=1))


def _plan_trials(
    jobs: Sequence[Job], datasets: Sequence[Dataset], fits: Fits
) -> dict[tuple[str, str, str, K], list[Trial]]:
    """The trials that choose rates: every pair of rates on the first draws."""
    sets = {dataset.name: dataset for dataset in datasets}
    trials: dict[tuple[str, str, str, K], list[Trial]] = {}
    for job in jobs:
        found = trials.setdefault(job.key, [])
        if not job.needs_rates or job.cell.draw >= fits.rate_draws:
            continue
        docs: list[int] = job.cell.settings["docs"]
        learned, dev = docs, None
        if not sets[job.cell.dataset].dev:
            learned, dev = hold_out(sets[job.cell.dataset], docs, fits.dev_sentences)
        training = Training(**job.cell.settings["training"])
        steps = training.count_steps(len(learned))
        for rates in TRAINED[job.cell.head].get_rates(job.is_tuned):
            settings = {**job.cell.settings, "rates": list(rates), "steps": steps}
            tried = replace(job, cell=replace(job.cell, settings=settings))
            found.append(Trial(tried, learned, dev, fits.dev_sentences))
    return trials


def choose_dev(dev: Sequence[Doc], most: int) -> list[Doc]:
    """Choose the sentences of a dev part that rates are judged on.

    dev (Sequence[Doc]): The part.
    most (int): How many at most.
    RETURNS (list[Doc]): Random ones, always the same.
    """
    chosen = random.Random(0).sample(dev, min(len(dev), most))
    if any(doc.ents for doc in chosen):
        return chosen
    # Where few have an entity, chance leaves them out.
    full = [doc for doc in dev if doc.ents][: _count_full(most)]
    return [*full, *chosen[len(full) :]]


def _count_full(most: int) -> int:
    """How many sentences with entities there are among those that are scored on."""
    return max(most // 10, 1)


def hold_out(
    dataset: Dataset, docs: Sequence[int], most: int
) -> tuple[list[int], list[int]]:
    """Choose sentences to learn from and to choose rates on, where no part is for it.

    These are of what the draw leaves; where that has fewer with entities than a tenth
    of the draw, they are that tenth.
    """
    generator = random.Random(0)
    full = {i for i, doc in enumerate(dataset.train) if doc.ents}
    left = sorted(set(range(len(dataset.train))) - set(docs))
    count = max(int(HELD_OUT * len(docs)), 1)
    is_tenth = len(full.intersection(left)) < count
    if is_tenth:
        left, most = sorted(docs), min(most, count)
        # One at least is left to learn from.
        first = min(full.intersection(docs), default=None)
        left = [i for i in left if i != first]
    # Some with entities first: where few have one, chance would leave them out.
    found = [i for i in left if i in full]
    some = generator.sample(found, min(len(found), _count_full(most)))
    rest = sorted(set(left) - set(some))
    dev = sorted(some + generator.sample(rest, min(len(rest), most - len(some))))
    if not some:
        raise NunerError(
            Errors.N626, name=dataset.name, count=len(dataset.train), full=len(full)
        )
    return sorted(set(docs) - set(dev)) if is_tenth else list(docs), dev


def _choose_rates(
    job: Job, trials: Mapping[tuple[str, str, str, K], Sequence[Trial]]
) -> Job | None:
    """Give a job the rates that are best on dev; None if some are not tried yet."""
    if not job.needs_rates:
        return job
    scores: dict[Rates, list[float]] = {}
    for trial in trials[job.key]:
        score = trial.read()
        if score is None:
            return None
        scores.setdefault(tuple(trial.job.cell.settings["rates"]), []).append(score)
    # Of those that are level, the first.
    best = max(scores, key=lambda rates: mean(scores[rates]))
    settings = {**job.cell.settings, "rates": list(best)}
    settings["dev_f"] = {
        "/".join(f"{rate:g}" for rate in rates): mean(found)
        for rates, found in scores.items()
    }
    return replace(job, cell=replace(job.cell, settings=settings))


@dataclass(frozen=True, eq=False)
class Vectors:
    """The vectors of a set by one encoder: a `Part` for `write_parts`.

    backbone (str): What the encoder is called.
    source (str): Its folder.
    layers (list[int]): All layers that some cell reads.
    folder (Path): Where the set lies.
    """

    backbone: str
    source: str
    layers: list[int]
    folder: Path
    size: int = 1

    def is_done(self) -> bool:
        """RETURNS (bool): Whether they are there: they are not kept for a later run."""
        return False

    def write(self) -> None:
        """Compute the vectors of each part and write them as an array."""
        opened = _open_set(self.folder)
        tokenizer, encoder = load_encoder(self.source)
        for part, docs in opened.docs.items():
            # Bars of several processes would write over each other.
            alone = multiprocessing.parent_process() is None
            vectors = embed_tokens(
                docs,
                tokenizer,
                encoder,
                hidden_layers=self.layers,
                title=f"{self.backbone}: {part}" if alone else None,
            )
            name = f"{self.backbone}.{part}"
            np.save(self.folder / f"{name}.npy", vectors)
            (self.folder / f"{name}.json").write_text(json.dumps(self.layers))


def _plan_vectors(jobs: Sequence[Job], missing: Iterable[Job]) -> list[Vectors]:
    """The vectors that missing cells need.

    They are of everything that is planned: vectors in bf16 depend on what else is in a
    batch, and are to be the same whichever cells are finished.
    """
    frozen = [job for job in jobs if not job.is_tuned]
    lacking = {
        (job.cell.dataset, job.cell.backbone) for job in missing if not job.is_tuned
    }
    layers: dict[tuple[str, str], set[int]] = {}
    first: dict[tuple[str, str], Job] = {}
    for job in frozen:
        pair = (job.cell.dataset, job.cell.backbone)
        first.setdefault(pair, job)
        layers.setdefault(pair, set()).update(job.cell.settings["hidden_layers"])
    return [
        Vectors(
            job.cell.backbone,
            job.source,
            sorted(layers[pair], reverse=True),
            job.folder,
        )
        for pair, job in first.items()
        if pair in lacking
    ]


def _write_set(
    dataset: Dataset,
    labels: Sequence[str],
    used: Iterable[int],
    fits: Fits,
    folder: Path,
) -> None:
    """Write what cells read of a set: sentences that some draw has, and the tests."""
    indices = sorted(used)
    dev = choose_dev(dataset.dev, fits.dev_sentences)
    pool = [dataset.train[i] for i in indices]
    for part, docs in zip(PARTS, (dataset.test, pool, dev), strict=True):
        DocBin(docs=docs).to_disk(folder / f"{part}.spacy")
    meta = {
        "labels": list(labels),
        "pool": indices,
        "meanings": {
            label: known.to_setting() for label, known in dataset.meanings.items()
        },
    }
    (folder / META).write_text(json.dumps(meta), encoding="utf8")


class OpenSet:
    """A set as cells read it.

    labels (list[str]): Every label that may be predicted, `O` first.
    docs (dict[str, list[Doc]]): "test", "train" (what is used of it) and "dev".
    pool (dict[int, Doc]): Index in the training part -> Doc.
    rows (dict[int, tuple[int, int]]): Index -> its first row in the array of vectors,
        and the row behind its last.
    meanings (dict[str, Label]): What labels are called.
    """

    def __init__(self, folder: Path) -> None:
        """folder (Path): Where `_write_set` wrote it."""
        self.folder = folder
        meta = json.loads((folder / META).read_text(encoding="utf8"))
        self.labels: list[str] = meta["labels"]
        self.meanings = parse_labels(meta["meanings"], source="set")
        vocab = spacy.blank("xx").vocab
        self.docs = {
            part: list(DocBin().from_disk(folder / f"{part}.spacy").get_docs(vocab))
            for part in PARTS
        }
        self.pool = dict(zip(meta["pool"], self.docs["train"], strict=True))
        ends = np.cumsum([0, *map(len, self.docs["train"])]).tolist()
        self.rows = dict(zip(meta["pool"], pairwise(ends), strict=True))
        self._attached: tuple[str, list[int]] | None = None

    @cached_property
    def gold(self) -> Gold:
        """RETURNS (Gold): Its test part."""
        return Gold(self.docs["test"], self.labels)

    def read_vectors(self, part: str, backbone: str, layers: Sequence[int]) -> Floats:
        """Read vectors that were computed before; those of all layers are no copy.

        part (str): "test", "train" or "dev".
        backbone (str): What the encoder is called.
        layers (Sequence[int]): The layers that are concatenated.
        RETURNS (Floats): *Shape:* (n_tokens, width times layers)
        """
        path = self.folder / f"{backbone}.{part}.npy"
        vectors = np.load(path, mmap_mode="r")
        known = json.loads(path.with_suffix(".json").read_text())
        if list(layers) != known:
            vectors = vectors[:, [known.index(layer) for layer in layers]]
        # There may be none.
        width = vectors.shape[1] * vectors.shape[2]
        flat: Floats = np.asarray(vectors).reshape(len(vectors), width)
        return flat

    def attach_vectors(self, backbone: str, layers: Sequence[int]) -> None:
        """Give all Docs their vectors, where `build_stored_vectors` finds them.

        backbone (str): What the encoder is called.
        layers (Sequence[int]): The layers that are concatenated.
        """
        if self._attached == (backbone, list(layers)):
            return
        for part, docs in self.docs.items():
            vectors = self.read_vectors(part, backbone, layers)
            start = 0
            for doc in docs:
                doc.user_data[VECTORS] = vectors[start : start + len(doc)]
                start += len(doc)
        self._attached = (backbone, list(layers))


@lru_cache(maxsize=1)
def _open_set(folder: Path) -> OpenSet:
    return OpenSet(folder)


def find_versions(*more: str) -> dict[str, str]:
    """Look up what a cell depends on.

    more (str): Packages besides the usual ones.
    RETURNS (dict[str, str]): Packages and their versions.
    """
    return {name: version(name) for name in (*PACKAGES, *more)}
