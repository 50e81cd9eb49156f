"""The `nuner_concepts` component: which tokens belong to which concepts."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import srsly
from spacy.attrs import IS_SPACE
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import logger
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..errors import NunerError, message
from ..models.backbone import find_backbone
from ..models.tagger import has_linear_head, reset_output, resize_output, set_rows
from .decode import (
    drop_edge_spaces,
    get_active,
    get_cell_probabilities,
    join_cells,
)
from .gold import get_labels, get_targets
from .loss import cross_entropy
from .prior import ConceptPrior, find_prior, readable_name
from .scorer import score_concepts
from .upstream import find_listener, find_shared_name


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
        temperature: float = 1.0,
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
        settings = {
            "names": dict(names or {}),
            "start": start,
            "spans_key": spans_key,
            "threshold": threshold,
            "temperature": temperature,
            "exclusive": exclusive,
            "set_ents": set_ents,
            "overwrite_ents": overwrite_ents,
        }
        self.cfg: dict[str, Any] = {
            "labels": [],
            "descriptions": {},
            "backbone": backbone,
            **settings,
            # What the config said, so that a setting changed by
            # `spacy.load(..., config=...)` can be told from one that was saved.
            "configured": settings,
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
        prior = self._get_prior() if self._is_initialized else None
        self.cfg["labels"].append(label)
        self.cfg["descriptions"][label] = description
        self.vocab.strings.add(label)
        resize_output(self.model, len(self.labels))
        if prior is not None:
            self._start_from_names([label], prior)
        return 1

    @property
    def _is_initialized(self) -> bool:
        return bool(self.model.get_ref("output_layer").layers[0].has_param("W"))

    def _initialize_from_names(self) -> None:
        """Set up a component that was never trained, at its first text."""
        listener = find_listener(self.model)
        if listener is not None and not listener.has_dim("nO"):
            raise NunerError("N504", name=self.name)
        prior = self._get_prior()
        if prior is None or not has_linear_head(self.model):
            backbone = self.cfg["backbone"] or "the backbone"
            raise NunerError("N503", name=self.name, backbone=backbone)
        sample = Doc(self.vocab, words=["text"])
        empty = self.model.ops.alloc2f(1, len(self.labels))
        self.model.initialize(X=[sample], Y=[empty])
        self._start_from_names(self.labels, prior)

    def _get_prior(self) -> ConceptPrior | None:
        """Load the concept encoder, if there is one and it is wanted."""
        if self.cfg["start"] != "names" or self.cfg["backbone"] is None:
            return None
        if self._prior is None:
            try:
                folder = find_prior(self.cfg["backbone"])
            except NunerError as error:
                # A saved pipeline works without the backbone it was made from.
                warnings.warn(
                    message("W501", name=self.name, reason=error), stacklevel=3
                )
                return None
            self._prior = ConceptPrior(folder) if folder else None
        return self._prior

    def _start_from_names(self, labels: Sequence[str], prior: ConceptPrior) -> None:
        """Give concepts the weights that the concept encoder has for their names."""
        names = self.cfg["names"]
        weights, biases = prior.get_weights(
            [names.get(label) or readable_name(label) for label in labels],
            [self.cfg["descriptions"].get(label) for label in labels],
        )
        rows = [self.labels.index(label) for label in labels]
        set_rows(self.model, rows, weights, biases)

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
        flat = self._flatten(logits) / self.cfg["temperature"]
        active = get_active(flat, self.thresholds, exclusive=exclusive)
        nothing = np.zeros(0, dtype=bool)
        spaces = [doc.to_array([IS_SPACE]).astype(bool) for doc in docs]
        active = drop_edge_spaces(active, np.concatenate([nothing, *spaces]), lengths)
        cells = np.nonzero(active)
        probabilities = get_cell_probabilities(flat, *cells, exclusive=exclusive)
        found = join_cells(*cells, probabilities, lengths)
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

    @property
    def thresholds(self) -> Any:
        """RETURNS (ndarray): The threshold of each concept. *Shape:* (n_concepts,)"""
        threshold = self.cfg["threshold"]
        if isinstance(threshold, dict):
            unknown = sorted(set(threshold) - set(self.labels))
            if unknown:
                warnings.warn(
                    message("W502", name=self.name, labels=", ".join(unknown)),
                    stacklevel=2,
                )
            return np.asarray([threshold.get(label, 0.5) for label in self.labels])
        return np.full(len(self.labels), threshold)

    def set_calibration(
        self, *, temperature: float, threshold: float | dict[str, float]
    ) -> None:
        """Set what `spacy nuner calibrate` found.

        temperature (float): What logits are divided by.
        threshold (float | dict[str, float]): The probability over which a token
            belongs to a concept, for all or for each.
        """
        self.cfg["temperature"] = temperature
        self.cfg["threshold"] = threshold

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
        loss, gradient = cross_entropy(
            self._flatten(scores), targets, known, exclusive=self.cfg["exclusive"]
        )
        ops = self.model.ops
        ends = np.cumsum([len(array) for array in scores])[:-1]
        parts: list[Any] = np.split(gradient.astype("f"), ends)
        return loss, [ops.asarray2f(part) for part in parts]

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
            self.cfg["backbone"] = find_shared_name(self.model, self.name, nlp)
        prior = self._get_prior() if has_linear_head(self.model) else None
        if prior is not None:
            self._start_from_names(self.labels, prior)
        told = "their names" if prior else "zero"
        logger.info("%s: %d labels start from %s", self.name, len(self.labels), told)

    def from_bytes(
        self, bytes_data: bytes, *, exclude: Iterable[str] = ()
    ) -> "NunerConcepts":
        """Load the component from a bytestring.

        bytes_data (bytes): What `to_bytes` made.
        exclude (Iterable[str]): Names of parts to leave out.
        RETURNS (NunerConcepts): Itself.
        """
        given = dict(self.cfg)
        if "cfg" not in exclude:
            saved = srsly.json_loads(srsly.msgpack_loads(bytes_data)["cfg"])
            reset_output(self.model, len(saved["labels"]))
        super().from_bytes(bytes_data, exclude=exclude)
        self._keep_what_was_set(given)
        return self

    def from_disk(
        self, path: str | Path, *, exclude: Iterable[str] = ()
    ) -> "NunerConcepts":
        """Load the component from a folder.

        path (str | Path): What `to_disk` made.
        exclude (Iterable[str]): Names of parts to leave out.
        RETURNS (NunerConcepts): Itself.
        """
        given = dict(self.cfg)
        if "cfg" not in exclude:
            saved = srsly.read_json(Path(path) / "cfg")
            reset_output(self.model, len(saved["labels"]))
        super().from_disk(path, exclude=exclude)
        self._keep_what_was_set(given)
        return self

    def _keep_what_was_set(self, given: Mapping[str, Any]) -> None:
        """Let settings that differ from the saved config win over saved ones."""
        before = self.cfg["configured"]
        # Numbers that went through JSON differ in the last digit.
        now = srsly.json_loads(srsly.json_dumps(given["configured"]))
        for key, value in given["configured"].items():
            if now[key] != before.get(key, now[key]):
                self.cfg[key] = value
        self.cfg["configured"] = given["configured"]

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score the predictions.

        examples (Iterable[Example]): Predictions and annotations.
        RETURNS (dict[str, Any]): The scores; see `score_concepts`.
        """
        if self.scorer is None:
            return {}
        settings = {"spans_key": self.key, "set_ents": self.cfg["set_ents"]}
        return self.scorer(examples, **{**kwargs, **settings})
