"""The `nuner_concepts` component: which tokens belong to which concepts."""

import shutil
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import srsly
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import logger, minibatch
from spacy.vocab import Vocab
from spacy_transformers.layers import TransformerListener
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..errors import Errors, NunerError, Warnings
from ..models.backbone import find_backbone
from ..models.concept_tagger import (
    has_linear_head,
    join_rows,
    remove_row,
    reset_output,
    resize_output,
)
from ..models.windows import batch_by_length
from .decoding import (
    MAX_TOKENS,
    THRESHOLD,
    drop_edge_spaces,
    drop_weak,
    get_active,
    get_cell_probabilities,
    get_spaces,
    join_cells,
    set_ents,
    set_spans,
)
from .label_vectors import ConceptPrior, load_prior, start_from_names
from .scorer import score_concepts
from .targets import cross_entropy, get_labels, get_targets


def check_limits(
    name: str, threshold: float | Mapping[str, float] | None, temperature: float
) -> None:
    """Refuse numbers with which nothing or everything would be found, in silence.

    name (str): Of the component.
    threshold (float | Mapping[str, float] | None): A probability, for all or for each.
    temperature (float): What logits are divided by.
    RAISES (NunerError): N510 for a threshold that is no probability, such as a
        percentage, and for a temperature that is not above 0.
    """
    each = threshold.values() if isinstance(threshold, Mapping) else [threshold]
    if not all(one is None or 0 <= one <= 1 for one in each):
        expected = "a probability from 0 to 1, or one for each label"
        raise NunerError(
            Errors.N510, name=name, key="threshold", found=threshold, expected=expected
        )
    if not temperature > 0:
        raise NunerError(
            Errors.N510,
            name=name,
            key="temperature",
            found=temperature,
            expected="a number above 0",
        )


def find_listener(model: Model) -> Any:
    """Look for a listener in a model.

    model (Model): The model of a component.
    RETURNS (TransformerListener | None): The first one, None if it has a backbone of
        its own.
    """
    nodes = (node for node in model.walk() if isinstance(node, TransformerListener))
    return next(nodes, None)


def find_shared_name(model: Model, name: str, nlp: Language) -> str | None:
    """Tell which backbone a component listens to.

    model (Model): The model of the component.
    name (str): The name of the component.
    nlp (Language): The pipeline that it is in.
    RETURNS (str | None): The name of the last matching backbone before the component;
        None if there is none of ours.
    """
    listener = find_listener(model)
    found = None
    # Disabled ones count: `spacy train` disables frozen and sourced components while
    # it initializes the others.
    for other, pipe in nlp.components:
        if other == name:
            break
        backbone = find_backbone(getattr(pipe, "model", None))
        upstream = getattr(listener, "upstream_name", "*")
        if backbone is not None and upstream in ("*", other):
            found = str(backbone.attrs["name"])
    return found


# Not of the component, which has to go through pickle.
_STARTING = threading.Lock()


class StartingPipe(TrainablePipe):
    """A component whose concepts start from what a concept encoder knows of names.

    In `cfg` it has `labels`, `names`, `descriptions`, `backbone` and `start`.
    """

    cfg: dict[str, Any]
    _prior: ConceptPrior | None = None

    @property
    def _is_initialized(self) -> bool:
        return bool(self.model.get_ref("output_layer").layers[0].has_param("W"))

    def _get_prior(self) -> ConceptPrior | None:
        if self._prior is None:
            self._prior = load_prior(self.cfg, name=self.name)
        return self._prior if self.cfg["start"] == "names" else None

    def _get_start(self) -> ConceptPrior | None:
        # What names give are rows of a layer on the vectors themselves.
        return self._get_prior() if has_linear_head(self.model) else None

    def _initialize_from_names(self) -> None:
        """Set up a component that was never trained, at its first text or example."""
        # A thread that comes while another one is at it waits for the weights.
        with _STARTING:
            if self.cfg["labels"] and not self._is_initialized:
                self._start()

    def _start(self) -> None:
        listener = find_listener(self.model)
        if listener is not None and not listener.has_dim("nO"):
            raise NunerError(Errors.N504, name=self.name)
        prior = self._get_start()
        if prior is None:
            backbone = self.cfg["backbone"] or "the backbone"
            raise NunerError(Errors.N503, name=self.name, backbone=backbone)
        labels = self.cfg["labels"]
        sample = Doc(self.vocab, words=["text"])
        empty = self.model.ops.alloc2f(1, len(labels))
        self.model.initialize(X=[sample], Y=[empty])
        start_from_names(self.model, labels, prior, self.cfg)


# Name of the part, for `exclude` as well.
CONCEPT_ENCODER = "concept_encoder"
# A component that can't read names, or listens to what is not set up: it is yet to be
# trained.
WAITING = ("N503", "N504")


class SavedPipe(StartingPipe):
    """A component that may bring its concept encoder along when it is saved.

    In `cfg` it also has `keep_concept_encoder` and `configured`, the settings as the
    config gave them.
    """

    def _finish_start(self) -> None:
        """Set up concepts that were named and not yet looked for, so that what is saved
        does not need the backbone; one that waits for `initialize` is saved as it is.
        """
        try:
            self._initialize_from_names()
        except NunerError as error:
            if error.code not in WAITING:
                raise

    def _get_prior_to_save(self, exclude: Iterable[str]) -> ConceptPrior | None:
        if not self.cfg["keep_concept_encoder"] or CONCEPT_ENCODER in exclude:
            return None
        prior = self._get_prior()
        if prior is None:
            backbone, start = self.cfg["backbone"], self.cfg["start"]
            told = Warnings.W504.format(name=self.name, backbone=backbone, start=start)
            warnings.warn(told, stacklevel=4)
        return prior

    @contextmanager
    def _loading(self, read_cfg: Any, exclude: Iterable[str]) -> Iterator[None]:
        """Make room for as many concepts as were saved; keep what was set."""
        given = dict(self.cfg)
        if "cfg" not in exclude:
            reset_output(self.model, len(read_cfg()["labels"]))
        yield
        keep_what_was_set(self.cfg, given)

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Save the component as a bytestring.

        exclude (Iterable[str]): Names of parts to leave out: "cfg", "vocab", "model",
            "concept_encoder".
        RETURNS (bytes): For `from_bytes`.
        """
        self._finish_start()
        data: bytes = super().to_bytes(exclude=exclude)
        prior = self._get_prior_to_save(exclude)
        if prior is None:
            return data
        parts = srsly.msgpack_loads(data)
        return srsly.msgpack_dumps({**parts, CONCEPT_ENCODER: prior.to_bytes()})

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> Self:
        """Load the component from a bytestring.

        bytes_data (bytes): What `to_bytes` made.
        exclude (Iterable[str]): Names of parts to leave out.
        RETURNS (Self): Itself.
        """
        parts = srsly.msgpack_loads(bytes_data)
        with self._loading(lambda: srsly.json_loads(parts["cfg"]), exclude):
            super().from_bytes(bytes_data, exclude=exclude)
        if CONCEPT_ENCODER not in exclude:
            files = parts.get(CONCEPT_ENCODER)
            self._prior = ConceptPrior.from_bytes(files) if files else None
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the component as a folder.

        path (str | Path): The folder.
        exclude (Iterable[str]): Names of parts to leave out: "cfg", "vocab", "model",
            "concept_encoder".
        """
        self._finish_start()
        super().to_disk(path, exclude=exclude)
        prior, folder = self._get_prior_to_save(exclude), Path(path) / CONCEPT_ENCODER
        if prior is not None:
            prior.to_disk(folder)
        elif folder.is_dir():
            # Of a pipeline that stood here before.
            shutil.rmtree(folder)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> Self:
        """Load the component from a folder.

        path (str | Path): What `to_disk` made.
        exclude (Iterable[str]): Names of parts to leave out.
        RETURNS (Self): Itself.
        """
        with self._loading(lambda: srsly.read_json(Path(path) / "cfg"), exclude):
            super().from_disk(path, exclude=exclude)
        if CONCEPT_ENCODER not in exclude:
            folder = Path(path) / CONCEPT_ENCODER
            self._prior = ConceptPrior(folder) if folder.is_dir() else None
        return self


def keep_what_was_set(cfg: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Let settings that differ from the saved config win over saved ones.

    cfg (dict[str, Any]): What was saved; changed in place.
    given (Mapping[str, Any]): What the config of the loaded pipeline says.
    """
    before = cfg["configured"]
    # Numbers that went through JSON differ in the last digit.
    now = srsly.json_loads(srsly.json_dumps(given["configured"]))
    for key, value in given["configured"].items():
        if now[key] != before.get(key, now[key]):
            cfg[key] = value
    cfg["configured"] = given["configured"]


class NunerConcepts(SavedPipe):
    """Mark the spans of concepts, each with a score.

    For each token and concept the model has a logit; neighbouring tokens are a span
    if their mean probability is over the threshold. Concepts are independent of each
    other and may overlap, unless `exclusive` is set, which makes the component a named
    entity recogniser.
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
        threshold: float | dict[str, float] | None = None,
        temperature: float = 1.0,
        exclusive: bool = False,
        set_ents: bool = False,
        overwrite_ents: bool = False,
        rank_ents: Literal["score", "coverage"] = "score",
        keep_concept_encoder: bool = False,
        scorer: Callable[..., dict[str, Any]] | None = score_concepts,
    ) -> None:
        """See the factory for the settings."""
        check_limits(name, threshold, temperature)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        settings = {
            "backbone": backbone,
            "names": dict(names or {}),
            "start": start,
            "spans_key": spans_key,
            "threshold": threshold,
            "temperature": temperature,
            "exclusive": exclusive,
            "set_ents": set_ents,
            "overwrite_ents": overwrite_ents,
            "rank_ents": rank_ents,
            "keep_concept_encoder": keep_concept_encoder,
        }
        self.cfg: dict[str, Any] = {
            "labels": [],
            "descriptions": {},
            # Concepts that no step of training has changed since they started.
            "untrained": [],
            **settings,
            # What the config said, so that a setting changed by
            # `spacy.load(..., config=...)` can be told from one that was saved.
            "configured": settings,
        }
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
    def label_data(self) -> dict[str, str | None]:
        """RETURNS (dict[str, str | None]): What `spacy init labels` writes for
        `initialize`: the concepts and what they mean.
        """
        return {label: self.cfg["descriptions"].get(label) for label in self.labels}

    @property
    def is_resizable(self) -> bool:
        """RETURNS (bool): Concepts can be added at any time."""
        return True

    def add_label(self, label: str, description: str | None = None) -> int:
        """Add a concept, or describe one; what was learned of the others stays.

        label (str): The label of its spans, read as a name ("Restaurant_Name" as
            "restaurant name") unless the setting `names` has one for it.
        description (str | None): What it means, for the concept encoder. A concept
            that is there already and was never trained is encoded again; one that was
            trained keeps its weights, with warning W503.
        RETURNS (int): 1, or 0 if it was there already.
        RAISES (NunerError): N501 if the label is no text, or an empty one.
        """
        if not isinstance(label, str):
            raise NunerError(Errors.N501, found=type(label).__name__)
        if not label.strip():
            raise NunerError(Errors.N501, found=repr(label))
        if label in self.cfg["labels"]:
            if description not in (None, self.cfg["descriptions"].get(label)):
                self._describe(label, description)
            return 0
        prior = self._get_start() if self._is_initialized else None
        self.cfg["labels"].append(label)
        self.cfg["untrained"].append(label)
        self.cfg["descriptions"][label] = description
        self.vocab.strings.add(label)
        resize_output(self.model, len(self.labels))
        if prior is not None:
            start_from_names(self.model, [label], prior, self.cfg)
        return 1

    def _describe(self, label: str, description: str | None) -> None:
        self.cfg["descriptions"][label] = description
        if label not in self.cfg["untrained"]:
            told = Warnings.W503.format(name=self.name, label=label)
            warnings.warn(told, stacklevel=3)
        elif self._is_initialized:
            prior = self._get_start()
            if prior is not None:
                start_from_names(self.model, [label], prior, self.cfg)

    def remove_label(self, label: str) -> None:
        """Remove a concept, with its weights, description and threshold.

        label (str): The concept; the others stay as they are.
        RAISES (NunerError): N506 if there is no such concept.
        """
        if label not in self.cfg["labels"]:
            known = ", ".join(self.labels) or "none"
            raise NunerError(Errors.N506, name=self.name, label=label, labels=known)
        remove_row(self.model, self.cfg["labels"].index(label))
        for key in ("labels", "untrained"):
            self.cfg[key] = [other for other in self.cfg[key] if other != label]
        for key in ("descriptions", "names", "threshold"):
            if isinstance(self.cfg[key], dict):
                # A new one: the config may hold the old one too.
                self.cfg[key] = {k: v for k, v in self.cfg[key].items() if k != label}

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Apply the component to a stream of docs.

        stream (Iterable[Doc]): The docs.
        batch_size (int): How many docs are taken from the stream at once; those of
            like length are scored together, so that many are faster than few.
        YIELDS (Doc): The docs, in order.
        """
        handle_error = self.get_error_handler()
        for batch in minibatch(stream, size=batch_size):
            docs = list(batch)
            failed: set[int] = set()
            lengths = [len(doc) for doc in docs]
            for part in batch_by_length(lengths, max_size=MAX_TOKENS):
                chosen = [docs[i] for i in part]
                try:
                    self.set_annotations(chosen, self.predict(chosen))
                except Exception as error:
                    handle_error(self.name, self, chosen, error)
                    failed.update(part)
            yield from (doc for i, doc in enumerate(docs) if i not in failed)

    def predict(self, docs: Iterable[Doc]) -> list[Floats2d]:
        """Score the tokens of docs, without changing the docs.

        docs (Iterable[Doc]): The docs.
        RETURNS (list[Floats2d]): Logits. *Shape:* (n_tokens, n_concepts) for each doc
        """
        docs = list(docs)
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
        settings: Any = {key: self.cfg[key] for key in ("exclusive", "temperature")}
        lengths = [len(doc) for doc in docs]
        flat = join_rows(self.model.ops, logits, len(self.labels))
        thresholds = self.thresholds
        active = get_active(flat, thresholds, **settings)
        active = drop_edge_spaces(active, get_spaces(docs), lengths)
        # Ten times as fast as nonzero of a table.
        cells = np.divmod(np.flatnonzero(active), max(active.shape[1], 1))
        probabilities = get_cell_probabilities(flat, *cells, **settings)
        found = join_cells(*cells, probabilities, lengths)
        if not self.cfg["exclusive"]:
            found = drop_weak(found, thresholds)
        written = set_spans(docs, found, self.labels, key=self.key)
        if self.cfg["set_ents"]:
            overwrite = self.cfg["overwrite_ents"]
            for doc, (spans, scores) in zip(docs, written, strict=True):
                if self.cfg["rank_ents"] == "coverage":
                    scores = scores * [len(span) for span in spans]
                set_ents(doc, spans, scores, overwrite=overwrite)

    @property
    def thresholds(self) -> Any:
        """RETURNS (ndarray): The threshold of each concept. *Shape:* (n_concepts,)"""
        threshold = self.cfg["threshold"]
        if isinstance(threshold, dict):
            unknown = sorted(set(threshold) - set(self.labels))
            if unknown:
                warnings.warn(
                    Warnings.W502.format(name=self.name, labels=", ".join(unknown)),
                    stacklevel=2,
                )
        elif threshold is not None:
            return np.full(len(self.labels), threshold)
        each = {**dict.fromkeys(self.labels, THRESHOLD), **(threshold or {})}
        return np.asarray([each[label] for label in self.labels], dtype="f8")

    def set_calibration(
        self, *, temperature: float, threshold: float | dict[str, float] | None
    ) -> None:
        """Set what `spacy nuner calibrate` found.

        temperature (float): What logits are divided by.
        threshold (float | dict[str, float] | None): The probability over which a span
            belongs to a concept, for all or for each; None for the usual one.
        RAISES (NunerError): N510 for what is no probability or not above 0.
        """
        check_limits(self.name, threshold, temperature)
        self.cfg["temperature"] = temperature
        self.cfg["threshold"] = threshold

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
        self._initialize_from_names()
        if not self.labels or not any(len(eg.predicted) for eg in examples):
            return losses
        set_dropout_rate(self.model, drop)
        logits, backprop = self.model.begin_update([eg.predicted for eg in examples])
        loss, d_logits = self.get_loss(examples, logits)
        backprop(d_logits)
        self.cfg["untrained"] = []
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
        ops = self.model.ops
        flat = join_rows(ops, scores, len(self.labels))
        loss, gradient = cross_entropy(
            flat, targets, known, exclusive=self.cfg["exclusive"]
        )
        ends = np.cumsum([len(array) for array in scores])[:-1]
        parts: list[Any] = np.split(gradient.astype("f"), ends)
        return loss, [ops.asarray2f(part) for part in parts]

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | Mapping[str, str | None] | None = None,
    ) -> None:
        """Collect the labels and set up the model.

        get_examples (Callable): Returns representative examples.
        nlp (Language | None): The pipeline.
        labels (Sequence[str] | Mapping[str, str | None] | None): The labels, or labels
            and descriptions, as `spacy init labels` writes them; else they are
            collected from the examples, with the descriptions of
            `doc.spans[spans_key].attrs["descriptions"]`. A description of the config
            stands above these.
        RAISES (NunerError): N502 if there are no labels.
        """
        validate_get_examples(get_examples, "NunerConcepts.initialize")
        if labels is None:
            labels = get_labels(
                get_examples(), spans_key=self.gold_key, described_key=self.key
            )
        described = labels if isinstance(labels, Mapping) else {}
        descriptions = self.cfg["descriptions"]
        for label in labels:
            self.add_label(label)
            descriptions[label] = descriptions.get(label) or described.get(label)
        if not self.labels:
            where = "doc.ents" if self.gold_key is None else f'doc.spans["{self.key}"]'
            raise NunerError(Errors.N502, name=self.name, where=where)
        sample = [eg.x for eg in islice(get_examples(), 10)]
        n_labels = len(self.labels)
        empty = [self.model.ops.alloc2f(len(doc), n_labels) for doc in sample]
        self.model.initialize(X=sample, Y=empty)
        if self.cfg["backbone"] is None and nlp is not None:
            self.cfg["backbone"] = find_shared_name(self.model, self.name, nlp)
        prior = self._get_start()
        if prior is not None:
            start_from_names(self.model, self.labels, prior, self.cfg)
        self.cfg["untrained"] = list(self.labels)
        told = "their names" if prior else "zero"
        logger.info("%s: %d labels start from %s", self.name, len(self.labels), told)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score the predictions.

        examples (Iterable[Example]): Predictions and annotations.
        RETURNS (dict[str, Any]): The scores; see `score_concepts`.
        """
        if self.scorer is None:
            return {}
        settings = {"spans_key": self.key, "set_ents": self.cfg["set_ents"]}
        return self.scorer(examples, **{**kwargs, **settings})
