"""The frozen probe: multinomial logistic regression on an encoder's token vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..errors import NunerError
from .datasets import copy_words

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

OUTSIDE = "O"
# Weight of the squared norm against the mean loss of a token, one for every backbone
# and k. Of 0.001 to 0.3 it had the best mean over k = 1, 4, 16, 64 and both layer sets
# with all-MiniLM-L6-v2, on held-out parts of the training sets of mit-movie and
# mit-restaurant (3 draws each); at no k another one had more than 2.2 points on it.
L2 = 0.01


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
        best: Ints = (vectors @ self.weights + self.bias).argmax(axis=1)
        return best


def fit_probe(vectors: Floats, gold: Ints, n_labels: int) -> Probe:
    """Fit the probe to the tokens of a draw, on standardised features.

    vectors (Floats): *Shape:* (n_tokens, width)
    gold (Ints): Index of each token's label. *Shape:* (n_tokens,)
    n_labels (int): The number of labels, `O` included.
    RETURNS (Probe): The fitted probe.
    RAISES (NunerError): N006 if scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise NunerError("N006", package="scikit-learn", extra="fewshot") from error
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
        model.fit(scaler.fit_transform(vectors), gold)
    coefs, intercepts = model.coef_, model.intercept_
    if len(present) == 2:
        # With two labels scikit-learn has one row, the second against the first.
        coefs = np.vstack([np.zeros_like(coefs), coefs])
        intercepts = np.hstack([[0], intercepts])
    folded = coefs / scaler.scale_
    weights[:, present] = folded.T
    bias[present] = intercepts - folded @ scaler.mean_
    return Probe(weights, bias)


class Gold:
    """The Docs that probes are scored on, prepared once for many scores."""

    def __init__(self, docs: Sequence[Doc], labels: Sequence[str]) -> None:
        """docs (Sequence[Doc]): The Docs, entities in `doc.ents`.
        labels (Sequence[str]): Every label that may be predicted, `O` first.
        """
        self.labels = list(labels)
        self.tokens = encode_labels(docs, labels)
        # Labels that the Docs don't have can't be found in them.
        self.scored = sorted(set(self.tokens.tolist()) - {self.labels.index(OUTSIDE)})
        self.examples = [Example(copy_words(doc, doc.vocab), doc) for doc in docs]

    def score(self, predicted: Ints) -> dict[str, Any]:
        """Score a prediction.

        predicted (Ints): Index of each token's label. *Shape:* (n_tokens,)
        RETURNS (Dict[str, Any]): `macro_token_f`, the mean of `token_f_per_label` over
            the labels without `O`; `ents_p`, `ents_r`, `ents_f` and `ents_per_type` as
            `spacy evaluate` has them. From 0 to 1.
        """
        from sklearn.metrics import f1_score

        token_f = f1_score(
            self.tokens, predicted, labels=self.scored, average=None, zero_division=0
        )
        start = 0
        for example in self.examples:
            doc = example.predicted
            doc.ents = decode_spans(
                doc, predicted[start : start + len(doc)], self.labels
            )
            start += len(doc)
        names = [self.labels[i] for i in self.scored]
        return {
            "macro_token_f": float(np.mean(token_f)),
            "token_f_per_label": dict(zip(names, token_f.tolist(), strict=True)),
            **get_ner_prf(self.examples),
        }


def find_labels(train: Sequence[Doc], test: Sequence[Doc]) -> list[str]:
    """List the labels of a data set.

    train (Sequence[Doc]): The Docs to learn from, entities in `doc.ents`.
    test (Sequence[Doc]): The Docs to score on.
    RETURNS (List[str]): The labels of both, `O` first.
    RAISES (NunerError): N623 if the two have no label in common.
    """
    learned, tested = (
        {ent.label_ for doc in docs for ent in doc.ents} for docs in (train, test)
    )
    if not learned & tested:
        facts = {"train": ", ".join(sorted(learned)), "test": ", ".join(sorted(tested))}
        raise NunerError("N623", **facts)
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


def decode_spans(doc: Doc, tokens: Ints, labels: Sequence[str]) -> list[Span]:
    """Make an entity of each stretch of tokens of one label.

    doc (Doc): The Doc.
    tokens (Ints): Index of each token's label. *Shape:* (n_tokens,)
    labels (Sequence[str]): Names of the labels.
    RETURNS (List[Span]): The entities.
    """
    bounds = [0, *(np.flatnonzero(np.diff(tokens)) + 1).tolist(), len(doc)]
    return [
        Span(doc, start, end, label=labels[tokens[start]])
        for start, end in zip(bounds, bounds[1:], strict=False)
        if start < end and labels[tokens[start]] != OUTSIDE
    ]
