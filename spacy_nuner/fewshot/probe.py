"""The frozen probe: logistic regression on an encoder's token vectors."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Model, reduce_first
from torch import nn
from tqdm import tqdm

from ..corpus.labelled_docs import read_docs
from ..encoders.batching import batch_by_length
from ..encoders.layers import ALL
from ..errors import Errors, NunerError
from ..models.backbone import build_tok2vec_backbone, find_backbone, get_shim
from ..models.precision import Precision
from ..pipeline.decoding import MAX_TOKENS, join_cells
from ..printing import printable
from ..readers.docbin import copy_entities, copy_words
from .draws import draw_docs, gather_tokens

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

OUTSIDE = "O"
# Weight of half the squared norm against the mean loss of a token, one for every
# backbone and k. Of 0.001 to 0.3 it had the best mean over k = 1, 4, 16, 64 and both
# layer sets with all-MiniLM-L6-v2, on held-out parts of the training sets of mit-movie
# and mit-restaurant (3 draws each); at no k another one had more than 2.2 points on it.
L2 = 0.01


def embed_tokens(
    docs: Sequence[Doc],
    tokenizer: Any,
    encoder: nn.Module,
    *,
    hidden_layers: Sequence[int],
    precision: Precision = "auto",
    title: str | None = "Embedding",
) -> Floats:
    """Take the vectors of each token's first word piece from a frozen encoder.

    They are computed as a pipeline computes them: texts over the encoder's limit are
    cut into overlapping windows, and every token gets its vector.

    docs (Sequence[Doc]): The Docs.
    tokenizer (PreTrainedTokenizerFast): The encoder's tokenizer.
    encoder (nn.Module): The encoder; frozen by this.
    hidden_layers (Sequence[int]): Which layers, -1 being the last.
    precision (str): As of `spacy_nuner.Backbone.v1`.
    title (str | None): What the progress bar says; None for no bar.
    RETURNS (Floats): fp32 vectors of the tokens of all Docs, one after another.
        *Shape:* (n_tokens, n_layers, width)
    """
    model = build_tok2vec_backbone(
        "",
        reduce_first(),
        hidden_layers=list(hidden_layers),
        freeze_layers=ALL,
        precision=precision,
    )
    shim = get_shim(cast(Model, find_backbone(model)))
    shim.set_encoder(tokenizer, encoder)
    docs = [doc for doc in docs if len(doc)]
    starts = np.cumsum([0, *(len(doc) for doc in docs)])
    shape = (len(hidden_layers), shim.encoder.config.hidden_size)
    out = np.zeros((starts[-1], *shape), dtype="f4")
    lengths = [len(doc) for doc in docs]
    parts = list(batch_by_length(lengths, max_size=MAX_TOKENS))
    label = printable(title or "")
    for part in tqdm(
        parts, desc=label, unit="batch", leave=False, disable=title is None
    ):
        arrays = model.predict([docs[i] for i in part])
        for i, vectors in zip(part, arrays, strict=True):
            rows = model.ops.to_numpy(vectors).reshape(-1, *shape)
            out[starts[i] : starts[i + 1]] = rows
    return out


@dataclass(frozen=True)
class Probe:
    """A linear map from token vectors to labels, with the scaling folded into it.

    weights: *Shape:* (width, n_labels)
    bias: *Shape:* (n_labels,)
    """

    weights: Floats
    bias: Floats

    def predict(self, vectors: Floats) -> Ints:
        """Label tokens.

        vectors (Floats): *Shape:* (n_tokens, width)
        RETURNS (Ints): Index of the best label of each token. *Shape:* (n_tokens,)
        """
        best: Ints = self.score(vectors).argmax(axis=1)
        return best

    def score(self, vectors: Floats) -> Floats:
        """Compute logits.

        vectors (Floats): *Shape:* (n_tokens, width)
        RETURNS (Floats): *Shape:* (n_tokens, n_labels)
        """
        logits: Floats = vectors @ self.weights + self.bias
        return logits


def fit_probe(
    vectors: Floats, gold: Ints, n_labels: int, *, binary: bool = False
) -> Probe:
    """Fit the probe to the tokens of a draw, on standardised features.

    vectors (Floats): *Shape:* (n_tokens, width)
    gold (Ints): Index of each token's label, 0 for `O`. *Shape:* (n_tokens,)
    n_labels (int): The number of labels, `O` included.
    binary (bool): Fit a regression of its own for each label, which tells its tokens
        from all others (NuMind's blog, 2023), instead of one in which labels compete.
        Its logit is over 0 for tokens of the label; that of `O` is 0.
    RETURNS (Probe): The fitted probe.
    RAISES (NunerError): N006 if scikit-learn is not installed.
    """
    try:
        from sklearn.base import clone
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise NunerError(
            Errors.N006, package="scikit-learn", extra="fewshot"
        ) from error
    # Labels without a token in the draw keep -inf: they are never the best.
    weights = np.zeros((vectors.shape[1], n_labels), dtype="f4")
    bias = np.full(n_labels, -np.inf, dtype="f4")
    present = np.unique(gold)
    if len(present) == 1:
        bias[present] = 0
        return Probe(weights, bias)
    scaler = StandardScaler()
    # scikit-learn's C is against the sum of losses.
    model = LogisticRegression(C=1 / (L2 * len(gold)), max_iter=1000)
    # The products of a fit are small: threads only wait for each other, and on a busy
    # machine for minutes.
    with threadpool_limits(1):
        scaled = scaler.fit_transform(vectors)
        if binary:
            bias[0] = 0
            present = present[present != 0]
            fits = [clone(model).fit(scaled, gold == label) for label in present]
            coefs = np.vstack([fit.coef_ for fit in fits])
            intercepts = np.hstack([fit.intercept_ for fit in fits])
        else:
            model.fit(scaled, gold)
            coefs, intercepts = model.coef_, model.intercept_
    if len(present) == 2 and not binary:
        # With two labels scikit-learn has one row, the second against the first.
        coefs = np.vstack([np.zeros_like(coefs), coefs])
        intercepts = np.hstack([[0], intercepts])
    folded = coefs / scaler.scale_
    weights[:, present] = folded.T
    bias[present] = intercepts - folded @ scaler.mean_
    return Probe(weights, bias)


def fit_prototypes(vectors: Floats, gold: Ints, n_labels: int) -> Probe:
    """Find the mean vector of each label, the nearest of which labels a token.

    `O` is a label like others. Features are standardised, distances Euclidean: the
    nearest is the best of a linear map.

    vectors (Floats): *Shape:* (n_tokens, width)
    gold (Ints): Index of each token's label. *Shape:* (n_tokens,)
    n_labels (int): The number of labels, `O` included.
    RETURNS (Probe): That map.
    """
    mean, deviation = vectors.mean(axis=0), vectors.std(axis=0)
    deviation[deviation == 0] = 1
    weights = np.zeros((vectors.shape[1], n_labels), dtype="f4")
    bias = np.full(n_labels, -np.inf, dtype="f4")
    for label in np.unique(gold):
        prototype = (vectors[gold == label].mean(axis=0) - mean) / deviation
        # Of |z - p|^2 what depends on the label, for z = (x - mean) / deviation.
        weights[:, label] = prototype / deviation
        bias[label] = -prototype @ prototype / 2 - mean @ weights[:, label]
    return Probe(weights, bias)


class Gold:
    """The Docs that heads are scored on, prepared once for many scores."""

    def __init__(self, docs: Sequence[Doc], labels: Sequence[str]) -> None:
        """docs (Sequence[Doc]): The Docs, entities in `doc.ents`.

        Tokens that nobody annotated are outside, as in training.

        labels (Sequence[str]): Every label that may be predicted, `O` first.
        RAISES (NunerError): N614 if none of the Docs has an entity; what
            `need_sklearn` raises.
        """
        need_sklearn()
        self.labels = list(labels)
        self.tokens = encode_labels(docs, labels)
        # Labels that the Docs don't have can't be found in them.
        self.scored = sorted(set(self.tokens.tolist()) - {self.labels.index(OUTSIDE)})
        if not self.scored:
            raise NunerError(Errors.N614, count=len(docs))
        # spaCy's scorer skips what is not annotated.
        self.examples = [
            Example(copy_words(doc, doc.vocab), copy_entities(doc, doc.vocab))
            for doc in docs
        ]

    def score(self, predicted: Ints, marks: Bools | None = None) -> dict[str, Any]:
        """Score labels of tokens.

        predicted (Ints): Index of each token's label. *Shape:* (n_tokens,)
        marks (Bools | None): Whether a token has a label, where it may have several:
            what the F1 of tokens is of. *Shape:* (n_tokens, n_labels)
        RETURNS (dict[str, Any]): As `score_ents`.
        """
        docs = [example.predicted for example in self.examples]
        spans = decode_spans(docs, predicted, self.labels)
        return self._score([list(ents) for ents in spans], predicted, marks)

    def score_ents(self, docs: Sequence[Doc]) -> dict[str, Any]:
        """Score the entities of Docs, with their own boundaries.

        docs (Sequence[Doc]): The Docs in the same order, tokens alike.
        RETURNS (dict[str, Any]): `macro_token_f`, the mean of `token_f_per_label` over
            the labels without `O`; `ents_p`, `ents_r`, `ents_f` and `ents_per_type` as
            `spacy evaluate` has them, from 0 to 1; `confusion`, label of the
            annotation -> predicted label -> tokens, `O` included.
        """
        spans = [
            [Span(eg.predicted, ent.start, ent.end, label=ent.label_) for ent in ents]
            for eg, ents in zip(self.examples, (doc.ents for doc in docs), strict=True)
        ]
        return self._score(spans, encode_labels(docs, self.labels), None)

    def _score(
        self, spans: Sequence[list[Span]], predicted: Ints, marks: Bools | None
    ) -> dict[str, Any]:
        from sklearn.metrics import f1_score

        if marks is None:
            token_f = f1_score(
                *(self.tokens, predicted),
                **{"labels": self.scored, "average": None, "zero_division": 0},
            )
        else:
            pairs = [(self.tokens == i, marks[:, i]) for i in self.scored]
            token_f = np.asarray([f1_score(*pair, zero_division=0) for pair in pairs])
        for example, ents in zip(self.examples, spans, strict=True):
            example.predicted.ents = ents
        names = [self.labels[i] for i in self.scored]
        return {
            "macro_token_f": float(np.mean(token_f)),
            "token_f_per_label": dict(zip(names, token_f.tolist(), strict=True)),
            **get_ner_prf(self.examples),
            "confusion": self._count_confusions(predicted),
        }

    def _count_confusions(self, predicted: Ints) -> dict[str, dict[str, int]]:
        pairs, counts = np.unique(
            np.stack([self.tokens, predicted]), axis=1, return_counts=True
        )
        found: dict[str, dict[str, int]] = {}
        for gold, guess, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
            found.setdefault(self.labels[gold], {})[self.labels[guess]] = count
        return found


def need_sklearn() -> None:
    """Check what scores need, before anything is computed or paid for.

    RAISES (NunerError): N006 if scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        raise NunerError(Errors.N006, package="scikit-learn", extra="fewshot")


def find_labels(train: Sequence[Doc], test: Sequence[Doc]) -> list[str]:
    """List the labels of a data set.

    train (Sequence[Doc]): The Docs to learn from, entities in `doc.ents`.
    test (Sequence[Doc]): The Docs to score on.
    RETURNS (list[str]): The labels of both, `O` first.
    RAISES (NunerError): N623 if the two have no label in common, N636 if one is
        called as what is no entity.
    """
    learned, tested = (
        {ent.label_ for doc in docs for ent in doc.ents} for docs in (train, test)
    )
    if not learned & tested:
        raise NunerError(
            Errors.N623,
            train=", ".join(sorted(learned)),
            test=", ".join(sorted(tested)),
        )
    if OUTSIDE in learned | tested:
        raise NunerError(Errors.N636, label=OUTSIDE)
    return [OUTSIDE, *sorted(learned | tested)]


def encode_labels(docs: Sequence[Doc], labels: Sequence[str]) -> Ints:
    """Turn entities into IO labels.

    docs (Sequence[Doc]): The Docs.
    labels (Sequence[str]): Names of the labels.
    RETURNS (Ints): Index of the label of each token of all Docs, one after another.
        *Shape:* (n_tokens,)
    """
    index = {label: i for i, label in enumerate(labels)}
    return np.asarray(
        [index[token.ent_type_ or OUTSIDE] for doc in docs for token in doc], dtype="i8"
    )


def decode_spans(
    docs: Sequence[Doc], tokens: Ints, labels: Sequence[str]
) -> list[list[Span]]:
    """Make an entity of each stretch of tokens of one label, as the component does.

    docs (Sequence[Doc]): The Docs.
    tokens (Ints): Index of the label of each token of all Docs. *Shape:* (n_tokens,)
    labels (Sequence[str]): Names of the labels.
    RETURNS (list[list[Span]]): The entities of each Doc.
    """
    rows = np.flatnonzero(tokens != labels.index(OUTSIDE))
    certain = np.ones(len(rows), dtype="f4")
    found = join_cells(rows, tokens[rows], certain, [len(doc) for doc in docs])
    spans: list[list[Span]] = [[] for _ in docs]
    for i, start, end, label in zip(
        *(column.tolist() for column in found[:4]), strict=True
    ):
        spans[i].append(Span(docs[i], start, end, label=labels[label]))
    return spans


class SetProbe:
    """Probes an encoder on a labelled set, always with the same draws."""

    def __init__(
        self, train: Sequence[Doc], dev: Sequence[Doc], *, k: int, draws: int
    ) -> None:
        """train (Sequence[Doc]): The pool to draw from, entities in `doc.ents`.

        dev (Sequence[Doc]): What the probe is scored on.
        k (int): Mentions of each label; of one that has fewer, all are taken.
        draws (int): How many draws to take the mean of.
        RAISES (NunerError): N623 if the sets have no label in common.
        """
        self.gold = Gold(dev, find_labels(train, dev))
        drawn = [
            draw_docs(train, k, seed=seed, allow_fewer=True) for seed in range(draws)
        ]
        self.dev = dev
        self.pool, self.draws = gather_tokens(train, drawn)
        self.pool_gold = encode_labels(self.pool, self.gold.labels)

    @classmethod
    def from_files(
        cls, train: Path, dev: Path, *, lang: str, k: int, draws: int
    ) -> Self:
        """Read the sets, in any form that `read_docs` takes.

        train (Path): The file to draw from.
        dev (Path): The file to score on.
        lang (str): Language of the tokenizer for texts.
        k (int): Mentions of each label.
        draws (int): How many draws.
        RETURNS (SetProbe): The probe.
        RAISES (NunerError): What `read_docs` raises; N623.
        """
        docs = (read_docs(path, lang=lang) for path in (train, dev))
        return cls(*docs, k=k, draws=draws)

    def __call__(
        self, tokenizer: Any, encoder: nn.Module, hidden_layers: list[int]
    ) -> dict[str, float]:
        """Probe an encoder; see `pretrain.evaluation.Probe`.

        tokenizer (PreTrainedTokenizerFast): Its tokenizer.
        encoder (nn.Module): The encoder, in evaluation mode.
        hidden_layers (list[int]): The layers whose vectors are concatenated.
        RETURNS (dict[str, float]): "probe_token_f" (macro over labels) and
            "probe_ents_f" (micro), from 0 to 1, means over the draws.
        """
        # What embeds is frozen and moved; training goes on with the encoder as it is.
        encoder = copy.deepcopy(encoder)
        pool, dev = (
            embed_tokens(
                docs, tokenizer, encoder, hidden_layers=hidden_layers, title="probe"
            ).reshape(sum(map(len, docs)), -1)
            for docs in (self.pool, self.dev)
        )
        scores = []
        for tokens in self.draws:
            probe = fit_probe(
                pool[tokens], self.pool_gold[tokens], n_labels=len(self.gold.labels)
            )
            scores.append(self.gold.score(probe.predict(dev)))
        return {
            "probe_token_f": float(np.mean([s["macro_token_f"] for s in scores])),
            "probe_ents_f": float(np.mean([s["ents_f"] or 0 for s in scores])),
        }
