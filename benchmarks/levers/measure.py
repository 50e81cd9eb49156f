"""What a lever is judged by, on parts of the sets that no test file belongs to."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packed import Layers, pack, run_frozen
from spacy.tokens import Doc

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.encoders.layers import special_pieces
from spacy_nuner.fewshot.draws import draw_docs, gather_tokens
from spacy_nuner.fewshot.probe import Gold, encode_labels, find_labels, fit_probe
from spacy_nuner.models.windows import get_pieces
from spacy_nuner.pipeline.decoding import (
    FoundSpans,
    find_strong_spans,
    get_probabilities,
)

ROOT = Path(__file__).resolve().parents[2]
LABELS = ROOT / "benchmarks" / "labels"
# The MIT sets have no development file: a part of train is held out.
PROBED = {
    "mit-movie": None,
    "mit-restaurant": None,
    "bionlp2004": "dev.conll",
    "wnut17": "dev.conll",
    "crossner-ai": "dev.conll",
    "crossner-science": "dev.conll",
}
# Those of benchmarks/zero.py.
NAMED = json.loads(
    (ROOT / "benchmarks" / "development-sets.json").read_text(encoding="utf8")
)
DRAWS = 3
POOL, HELD, ZERO = 3000, 250, 120
LONGEST = 254
ROWS_AT_ONCE = 64


@dataclass
class Embedded:
    """Docs, what the frozen layers make of them, and each token's first piece."""

    docs: list[Doc]
    frozen: list[torch.Tensor]
    starts: list[np.ndarray]

    @torch.inference_mode()
    def run(self, layers: Layers) -> np.ndarray:
        """Middle layer and last layer. *Shape:* (tokens, 2, width)"""
        found: dict[int, np.ndarray] = {}
        order = np.argsort([len(states) for states in self.frozen])
        for part in np.array_split(order, -(-len(order) // ROWS_AT_ONCE)):
            packed = pack([self.frozen[i] for i in part], 4)
            both = torch.stack(layers.both(packed), dim=1).float().numpy()
            for place, end in zip(packed.order, packed.ends, strict=True):
                doc = part[place]
                start = end - len(self.frozen[doc])
                found[doc] = both[start + self.starts[doc]]
        return np.concatenate([found[i] for i in range(len(self.docs))])


def embed(docs: Sequence[Doc], tokenizer: Any, encoder: Any, layer: int) -> Embedded:
    """Run the frozen layers once for all levers."""
    before, after = special_pieces(tokenizer)
    pieces = get_pieces(tokenizer, docs)
    rows = [[*before, *one.ids[:LONGEST].tolist(), *after] for one in pieces]
    frozen = run_frozen(encoder, rows, layer, tokenizer.pad_token_id)
    starts = [np.minimum(one.starts, LONGEST - 1) + len(before) for one in pieces]
    return Embedded(list(docs), frozen, starts)


class Probed:
    """A set for the frozen probe."""

    def __init__(
        self,
        name: str,
        data: Path,
        embed_docs: Callable[[list[Doc]], Embedded],
        ks: Sequence[int],
    ) -> None:
        docs = read_docs(data / name / "train.conll")
        file = PROBED[name]
        if file is None:
            pool, held = split(docs, POOL, HELD)
        else:
            pool = sample(docs, POOL, 0)
            held = sample(read_docs(data / name / file), HELD, 1)
        self.gold = Gold(held, find_labels(pool, held))
        self.held = embed_docs(held)
        draws = {
            k: [draw_docs(pool, k, seed=i, allow_fewer=True) for i in range(DRAWS)]
            for k in ks
        }
        flat = [draw for of_k in draws.values() for draw in of_k]
        drawn, places = gather_tokens(pool, flat)
        self.pool = embed_docs(drawn)
        self.pool_gold = encode_labels(drawn, self.gold.labels)
        self.draws = [
            (k, places[i * DRAWS : (i + 1) * DRAWS]) for i, k in enumerate(ks)
        ]

    def score(self, layers: Layers) -> dict[str, float]:
        """Macro token F1 in points by k, last layer ("last") and both ("both")."""
        pool, held = self.pool.run(layers), self.held.run(layers)
        found = {}
        for form, columns in (("last", [1]), ("both", [1, 0])):
            here = held[:, columns].reshape(len(held), -1)
            for k, draws in self.draws:
                scores = []
                for tokens in draws:
                    there = pool[tokens][:, columns].reshape(len(tokens), -1)
                    probe = fit_probe(
                        there, self.pool_gold[tokens], n_labels=len(self.gold.labels)
                    )
                    scores.append(self.gold.score(probe.predict(here)))
                macro = np.mean([score["macro_token_f"] for score in scores])
                found[f"{form} k={k}"] = 100 * float(macro)
        return found


class Named:
    """A set that is tagged by the names of its labels."""

    def __init__(
        self, name: str, path: Path, embed_docs: Callable[[list[Doc]], Embedded]
    ) -> None:
        self.docs = embed_docs(sample(read_docs(path), ZERO, 0))
        said = json.loads((LABELS / f"{name}.json").read_text(encoding="utf8"))
        self.labels = list(said)
        self.names = [x if isinstance(x, str) else x["name"] for x in said.values()]

    def score(self, logits: np.ndarray, thresholds: Iterable[float]) -> list[float]:
        """Entity F1 in points at each threshold. *Shape of logits:* (tokens, labels)"""
        lengths = [len(doc) for doc in self.docs.docs]
        gold = {
            (i, ent.start, ent.end, self.labels.index(ent.label_))
            for i, doc in enumerate(self.docs.docs)
            for ent in doc.ents
        }
        probabilities = get_probabilities(logits, exclusive=False)
        scores = []
        for threshold in thresholds:
            limits = np.full(len(self.labels), threshold)
            spans = find_strong_spans(probabilities, limits, lengths)
            found = set(best_first(spans))
            scores.append(200 * len(gold & found) / max(len(gold) + len(found), 1))
        return scores


def best_first(spans: FoundSpans) -> Iterator[tuple[int, int, int, int]]:
    """Of spans that overlap the one with the best score: the default of `set_ents`."""
    taken = set()
    for i in np.argsort(-spans.scores, kind="stable"):
        doc, start, end, concept = (int(column[i]) for column in spans[:4])
        tokens = {(doc, token) for token in range(start, end)}
        if taken.isdisjoint(tokens):
            taken |= tokens
            yield doc, start, end, concept


def sample(docs: Sequence[Doc], count: int, seed: int) -> list[Doc]:
    """Some Docs by chance, in their order."""
    docs = [doc for doc in docs if 0 < len(doc) < 200]
    order = np.random.default_rng(seed).permutation(len(docs))[:count]
    return [docs[i] for i in sorted(order)]


def split(docs: Sequence[Doc], pool: int, held: int) -> tuple[list[Doc], list[Doc]]:
    """Two parts that share no Doc."""
    docs = sample(docs, pool + held, 0)
    order = np.random.default_rng(1).permutation(len(docs))
    return [docs[i] for i in order[:pool]], [docs[i] for i in order[pool:]]
