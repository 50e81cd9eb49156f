"""The `nuner_concepts` component: which tokens belong to which concepts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..errors import NunerError
from ..models.backbone import find_backbone
from ..models.tagger import resize_output, set_rows
from .decode import drop_edge_spaces, find_spans, get_active, get_probabilities
from .gold import get_labels, get_targets
from .prior import ConceptPrior, find_prior, readable_name
from .scorer import score_concepts


class NunerConcepts(TrainablePipe):
    """Mark the spans of concepts, each with a score.

    For each token and concept the model has a logit; neighbouring tokens over the
    threshold are a span. Concepts are independent of each other and may overlap,
    unless `exclusive` is set, which makes the component a named entity recogniser.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], list[Floats2d]],
        name: str = "nuner_concepts",
        *,
        backbone: str | None = None,
        concepts: Sequence[str] | Mapping[str, str | None] = (),
        names: Mapping[str, str] | None = None,
        start: Literal["names", "zero"] = "names",
        spans_key: str = "concepts",
        threshold: float | dict[str, float] = 0.5,
        exclusive: bool = False,
        set_ents: bool = False,
        overwrite_ents: bool = False,
        scorer: Callable[..., dict[str, Any]] | None = score_concepts,
    ) -> None:
        """See the factory for the settings."""
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {
            "labels": [],
            "descriptions": {},
            "names": dict(names or {}),
            "backbone": backbone,
            "start": start,
            "spans_key": spans_key,
            "threshold": threshold,
            "exclusive": exclusive,
            "set_ents": set_ents,
            "overwrite_ents": overwrite_ents,
        }
        self._prior: ConceptPrior | None = None
        own = find_backbone(model)
        if own is not None and backbone is not None:
            own.attrs["name"] = backbone
        elif own is not None:
            self.cfg["backbone"] = own.attrs["name"]
        described = concepts if isinstance(concepts, Mapping) else {}
        for label in concepts:
            self.add_label(label, described.get(label))

    @property
    def key(self) -> str:
        """RETURNS (str): Where in `doc.spans` the spans are set."""
        return str(self.cfg["spans_key"])

    @property
    def gold_key(self) -> str | None:
        """RETURNS (str | None): Where the annotation to learn from lies in
        `doc.spans`; None for `doc.ents`, which is so if the component sets them.
        """
        return None if self.cfg["set_ents"] else self.key

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): The concepts."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """RETURNS (list[str]): What `spacy init labels` writes for `initialize`."""
        return list(self.labels)

    @property
    def is_resizable(self) -> bool:
        """RETURNS (bool): Concepts can be added at any time."""
        return True

    def add_label(self, label: str, description: str | None = None) -> int:
        """Add a concept; what was learned of the others stays.

        label (str): The label of its spans, read as a name ("Restaurant_Name" as
            "restaurant name") unless the setting `names` has one for it.
        description (str | None): What it means, for the concept encoder.
        RETURNS (int): 1, or 0 if it was there already.
        """
        if not isinstance(label, str):
            raise NunerError("N501", found=type(label).__name__)
        if label in self.cfg["labels"]:
            return 0
        self.cfg["labels"].append(label)
        self.cfg["descriptions"][label] = description
        self.vocab.strings.add(label)
        resize_output(self.model, len(self.labels))
        if self._is_initialized:
            self._start_from_names([label])
        return 1

    @property
    def _is_initialized(self) -> bool:
        return bool(self.model.get_ref("output_layer").layers[0].has_param("W"))

    def _initialize_from_names(self) -> None:
        """Set up a component that was never trained, at its first text."""
        if find_backbone(self.model) is None:
            raise NunerError("N504", name=self.name)
        sample = Doc(self.vocab, words=["text"])
        empty = self.model.ops.alloc2f(1, len(self.labels))
        self.model.initialize(X=[sample], Y=[empty])
        if not self._start_from_names(self.labels):
            backbone = self.cfg["backbone"]
            raise NunerError("N503", name=self.name, backbone=backbone)

    def _start_from_names(self, labels: Sequence[str]) -> bool:
        """Give concepts the weights that the concept encoder has for their names."""
        if self.cfg["start"] != "names" or self.cfg["backbone"] is None:
            return False
        if self._prior is None:
            folder = find_prior(self.cfg["backbone"])
            if folder is None:
                return False
            self._prior = ConceptPrior(folder)
        names = self.cfg["names"]
        weights, biases = self._prior.get_weights(
            [names.get(label) or readable_name(label) for label in labels],
            [self.cfg["descriptions"].get(label) for label in labels],
        )
        rows = [self.labels.index(label) for label in labels]
        set_rows(self.model, rows, weights, biases)
        return True

    def predict(self, docs: Iterable[Doc]) -> list[Floats2d]:
        """Score the tokens of docs, without changing the docs.

        docs (Iterable[Doc]): The docs.
        RETURNS (list[Floats2d]): Logits. *Shape:* (n_tokens, n_concepts) for each doc
        """
        docs = list(docs)
        if self.labels and not self._is_initialized:
            self._initialize_from_names()
        if not self.labels or not any(len(doc) for doc in docs):
            return [self.model.ops.alloc2f(len(doc), len(self.labels)) for doc in docs]
        return self.model.predict(docs)

    def set_annotations(self, docs: Iterable[Doc], logits: Sequence[Floats2d]) -> None:
        """Set spans and scores, and entities where asked for.

        docs (Iterable[Doc]): The docs to change.
        logits (Sequence[Floats2d]): What `predict` returned for them.
        """
        docs = list(docs)
        exclusive = self.cfg["exclusive"]
        lengths = [len(doc) for doc in docs]
        flat = self._flatten(logits)
        probabilities = get_probabilities(flat, exclusive=exclusive)
        active = get_active(flat, self._thresholds(), exclusive=exclusive)
        spaces = np.asarray(
            [token.is_space for doc in docs for token in doc], dtype=bool
        )
        active = drop_edge_spaces(active, spaces, lengths)
        found = find_spans(active, probabilities, lengths)
        bounds = np.searchsorted(found.docs, np.arange(len(docs) + 1))
        for doc, first, last in zip(docs, bounds, bounds[1:], strict=False):
            rows = slice(first, last)
            spans = [
                Span(doc, int(start), int(end), label=self.labels[concept])
                for start, end, concept in zip(
                    found.starts[rows],
                    found.ends[rows],
                    found.concepts[rows],
                    strict=True,
                )
            ]
            scores = found.scores[rows]
            doc.spans[self.key] = SpanGroup(
                doc, name=self.key, spans=spans, attrs={"scores": scores}
            )
            if self.cfg["set_ents"]:
                self._set_ents(doc, spans, scores)

    def _flatten(self, logits: Sequence[Floats2d]) -> Any:
        arrays = [self.model.ops.to_numpy(array) for array in logits if len(array)]
        if not arrays:
            return np.zeros((0, len(self.labels)), dtype="f")
        return np.concatenate(arrays)

    def _thresholds(self) -> Any:
        threshold = self.cfg["threshold"]
        if isinstance(threshold, dict):
            return np.asarray([threshold.get(label, 0.5) for label in self.labels])
        return np.full(len(self.labels), threshold)

    def _set_ents(self, doc: Doc, spans: Sequence[Span], scores: Any) -> None:
        """Fill `doc.ents`, best score first, none over another."""
        chosen = [] if self.cfg["overwrite_ents"] else list(doc.ents)
        taken = {i for ent in chosen for i in range(ent.start, ent.end)}
        for i in np.argsort(-scores, kind="stable"):
            tokens = range(spans[i].start, spans[i].end)
            if taken.isdisjoint(tokens):
                taken.update(tokens)
                chosen.append(spans[i])
        doc.set_ents(chosen, default="outside")

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch of examples.

        examples (Iterable[Example]): The examples.
        drop (float): The dropout rate.
        sgd (Optimizer | None): Changes the weights if given.
        losses (dict[str, float] | None): The loss is added under the pipe's name.
        RETURNS (dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "NunerConcepts.update")
        if not self.labels or not any(len(eg.predicted) for eg in examples):
            return losses
        set_dropout_rate(self.model, drop)
        logits, backprop = self.model.begin_update([eg.predicted for eg in examples])
        loss, d_logits = self.get_loss(examples, logits)
        backprop(d_logits)
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(
        self, examples: Sequence[Example], scores: Sequence[Floats2d]
    ) -> tuple[float, list[Floats2d]]:
        """Compare logits with the annotation.

        examples (Sequence[Example]): The examples.
        scores (Sequence[Floats2d]): Logits. *Shape:* (n_tokens, n_concepts) each
        RETURNS (tuple[float, list[Floats2d]]): The cross-entropy, averaged over the
            tokens that are annotated, and its gradient.
        """
        targets, known = get_targets(examples, self.labels, spans_key=self.gold_key)
        exclusive = self.cfg["exclusive"]
        p = get_probabilities(self._flatten(scores), exclusive=exclusive)
        if exclusive:
            # A token may carry two annotated labels only by mistake; share it out.
            targets = targets / np.maximum(targets.sum(axis=1, keepdims=True), 1.0)
        count = max(int(known.sum()), 1)
        gradient = (p - targets) * known[:, np.newaxis] / count
        loss = _cross_entropy(p, targets, exclusive=exclusive)[known].sum() / count
        ops = self.model.ops
        ends = np.cumsum([len(array) for array in scores])[:-1]
        parts: list[Any] = np.split(gradient.astype("f"), ends)
        return float(loss), [ops.asarray2f(part) for part in parts]

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Collect the labels and set up the model.

        get_examples (Callable): Returns representative examples.
        nlp (Language | None): The pipeline.
        labels (Sequence[str] | None): The labels, as `spacy init labels` writes them;
            else they are collected from the examples.
        RAISES (NunerError): N502 if there are no labels.
        """
        validate_get_examples(get_examples, "NunerConcepts.initialize")
        if labels is None:
            labels = get_labels(get_examples(), spans_key=self.gold_key)
        for label in labels:
            self.add_label(label)
        if not self.labels:
            where = "doc.ents" if self.gold_key is None else f'doc.spans["{self.key}"]'
            raise NunerError("N502", name=self.name, where=where)
        sample = [eg.x for eg in islice(get_examples(), 10)]
        n_labels = len(self.labels)
        empty = [self.model.ops.alloc2f(len(doc), n_labels) for doc in sample]
        self.model.initialize(X=sample, Y=empty)
        if self.cfg["backbone"] is None and nlp is not None:
            shared = (find_backbone(getattr(p, "model", None)) for _, p in nlp.pipeline)
            found = next((backbone for backbone in shared if backbone), None)
            self.cfg["backbone"] = found.attrs["name"] if found else None
        self._start_from_names(self.labels)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score the predictions.

        examples (Iterable[Example]): Predictions and annotations.
        RETURNS (dict[str, Any]): The scores; see `score_concepts`.
        """
        if self.scorer is None:
            return {}
        settings = {"spans_key": self.key, "set_ents": self.cfg["set_ents"]}
        return self.scorer(examples, **{**kwargs, **settings})


def _cross_entropy(p: Any, targets: Any, *, exclusive: bool) -> Any:
    """Loss of each token. *Shape:* (n_tokens,)"""
    tiny = 1e-9
    found = targets * np.log(p + tiny)
    if not exclusive:
        return -(found + (1 - targets) * np.log(1 - p + tiny)).sum(axis=1)
    none = (1 - targets.sum(axis=1)) * np.log(1 - p.sum(axis=1).clip(max=1.0) + tiny)
    return -(found.sum(axis=1) + none)
