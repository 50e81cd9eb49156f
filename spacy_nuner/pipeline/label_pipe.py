"""What `nuner_concepts` and `nuner_ner` have in common: labels, weights, training."""

import json
import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from spacy import util
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from spacy_transformers import Transformer
from spacy_transformers.layers import TransformerListener
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..encoders.batching import batch_by_length
from ..encoders.safety import explaining_damage
from ..errors import Errors, NunerError, Warnings
from ..models.backbone import check_width, find_backbone
from ..models.concept_tagger import (
    check_output,
    has_boundary,
    has_linear_head,
    join_rows,
    remove_row,
    reset_output,
    resize_output,
    set_unknown,
)
from ..printing import printable
from .decoding import (
    MAX_TOKENS,
    Bools,
    Floats,
    FoundSpans,
    decode,
    get_line_starts,
    get_spaces,
)
from .label_vectors import LabelVectors, find_label_vectors, remove_label_vectors
from .labels import Label, LabelSettings, load_label, parse_labels
from .targets import (
    cross_entropy,
    find_learned,
    get_labels,
    get_loss_mask,
    get_targets,
    has_line_inside,
)

# Parts of a saved component, for `exclude` as well ("labels"). The labels are not
# written by srsly, which rounds numbers: thresholds lie between probabilities that may
# be next to each other.
LABELS_FILE = "labels.json"
CONCEPT_ENCODER = "concept_encoder"
# Of a component that is yet to be trained: it can't read names, or listens to a
# transformer that is not set up.
UNTRAINED = ("N001", "N002", "N012", "N013", "N503", "N504")
# Not an attribute of the component, which has to go through pickle.
_STARTING = threading.Lock()


class LabelPipe(TrainablePipe):
    """A component with labels that start from their names and learn from examples.

    What is saved is state: labels, what is known of them, weights. Settings come from
    the config alone.
    """

    # Whether a token has one label at most.
    exclusive: ClassVar[bool]
    # Set by the components, in `doc.spans`: where spans are written, and where the
    # descriptions of labels are looked for in examples.
    spans_key: str
    described_key: str

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], list[Floats2d]],
        name: str,
        *,
        backbone: str | None = None,
        labels: LabelSettings | Sequence[str] = (),
        overwrite: bool = False,
        keep_concept_encoder: bool = False,
        scorer: Callable[..., dict[str, Any]] | None = None,
    ) -> None:
        """See the factories for the settings."""
        self.vocab = vocab
        self.model = model
        self._has_boundary = has_boundary(model)
        self.name = name
        self.scorer = scorer
        self.overwrite = overwrite
        self.keep_concept_encoder = keep_concept_encoder
        own = find_backbone(model)
        if own is not None and backbone is not None:
            own.attrs["name"] = backbone
        elif own is not None:
            backbone = own.attrs["name"]
        self._configured_backbone = self.backbone = backbone
        self._vectors: LabelVectors | None = None
        # The digest of those that labels started from: another backbone may be found
        # under the name later.
        self._started_from: str | None = None
        # Whether the weights of all labels are what they shall start from, or learned.
        self._started = False
        # Labels that are in the loss although they were not trained yet: they had an
        # example, or have no start that an example would be waited for.
        self._learned: set[str] = set()
        self._labels: dict[str, Label] = {}
        # Labels that have a gradient, until a step is taken.
        self._to_be_trained: set[str] = set()
        # Whether labels of examples are added, and those that are left out all the
        # same: they were removed, or a warning named them.
        self._adds_labels = True
        self._left_out: set[str] = set()
        # Whether a span of an example went on in another line.
        self._crosses_lines = False
        # What logits were divided by since labels started.
        self.temperature = 1.0
        self._warned_unannotated = False
        for label, known in parse_labels(labels, source=f"'{name}'").items():
            self.add_label(label, known.description, name=known.name)

    @property
    def gold_key(self) -> str | None:
        """RETURNS (str | None): Where the annotation to learn from lies in
        `doc.spans`; None for `doc.ents`.
        """
        return None if self.exclusive else self.spans_key

    @property
    def thresholds(self) -> Floats | None:
        """RETURNS (Floats | None): The probability over which a span belongs to each
        label, *Shape:* (n_labels,), or None if there is one label a token at most.
        """
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): The labels."""
        return tuple(self._labels)

    @property
    def label_data(self) -> dict[str, Any]:
        """RETURNS (dict): What `spacy init labels` writes for `initialize`: label ->
        description, or label -> {"name", "description"}.
        """
        return {label: known.to_setting() for label, known in self._labels.items()}

    @property
    def is_resizable(self) -> bool:
        """RETURNS (bool): Labels can be added at any time."""
        return True

    def add_label(
        self, label: str, description: str | None = None, *, name: str | None = None
    ) -> int:
        """Add a label, or describe one; what was learned of the others stays.

        label (str): The label of its spans.
        description (str | None): What it means, for the concept encoder.
        name (str | None): The words for the concept encoder; None for the label read
            as words ("Restaurant_Name" as "restaurant name").
        RETURNS (int): 1, or 0 if it was there already. One that was never trained is
            encoded again where name or description are new; one that was trained keeps
            its weights, with warning W503.
        RAISES (NunerError): N501 if the label is no text, or an empty one, N511 if name
            or description is none, N053 if UTF-8 can't hold one; what the concept
            encoder raises, after which nothing has changed.
        """
        given = {"name": name or None, "description": description or None}
        (new,) = parse_labels({label: given}, source=f"'{self.name}'").values()
        old = self._labels.get(label)
        if old is not None:
            new = Label(name or old.name, description or old.description, old.trained)
            if new == old:
                return 0
        if new.trained:
            message = Warnings.W503.format(name=self.name, label=label)
            warnings.warn(message, stacklevel=2)
        vectors = self._get_vectors() if self._started and not new.trained else None
        self._labels[label] = new
        if old is None:
            self.vocab.strings.add(label)
            resize_output(self.model, len(self._labels))
        if vectors is not None:
            try:
                self._start_labels(vectors, [label])
            except BaseException:
                self._restore(label, old)
                raise
        elif self._started and old is None:
            self._learned.add(label)
            if not self.exclusive:
                set_unknown(self.model, len(self._labels) - 1)
        return int(old is None)

    def _restore(self, label: str, old: Label | None) -> None:
        """Undo `add_label`."""
        if old is not None:
            self._labels[label] = old
        else:
            remove_row(self.model, self.labels.index(label))
            del self._labels[label]

    def remove_label(self, label: str) -> None:
        """Remove a label with its weights and what is known of it.

        label (str): The label; the others stay as they are.
        RAISES (NunerError): N506 if there is no such label.
        """
        if label not in self._labels:
            known = ", ".join(self.labels) or "none"
            raise NunerError(Errors.N506, name=self.name, label=label, labels=known)
        remove_row(self.model, self.labels.index(label))
        del self._labels[label]
        self._learned.discard(label)
        self._to_be_trained.discard(label)
        self._left_out.add(label)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Apply the component to a stream of docs.

        stream (Iterable[Doc]): The docs.
        batch_size (int): How many docs are taken from the stream at once; those of
            like length are scored together, so that many are faster than few.
        YIELDS (Doc): The docs, in order.
        """
        handle_error = self.get_error_handler()
        for batch in util.minibatch(stream, size=batch_size):
            docs = list(batch)
            failed: set[int] = set()
            for part in batch_by_length(
                [len(doc) for doc in docs], max_size=MAX_TOKENS
            ):
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
        RETURNS (list[Floats2d]): Logits, for `join_logits`. *Shape:* (n_tokens,
            n_labels) for each doc, or (n_tokens, n_labels + 1) of an entity tagger
        RAISES (NunerError): N516 if the component listens to a `transformer` that did
            not run, N519 if tokens changed since, N521 if it is another transformer.
        """
        docs = list(docs)
        self._check_listener(docs)
        self._ensure_started()
        self._check_tokens(docs)
        if not self._labels or not any(len(doc) for doc in docs):
            width = self._count_columns()
            return [self.model.ops.alloc2f(len(doc), width) for doc in docs]
        return self.model.predict(docs)

    def predict_with_vectors(
        self, docs: Iterable[Doc]
    ) -> tuple[list[Floats2d], list[Floats2d]]:
        """Score the tokens of docs and give the vectors that they are scored by.

        docs (Iterable[Doc]): The docs, of which each has a token.
        RETURNS (tuple[list[Floats2d], list[Floats2d]]): The logits, as `predict` gives
            them, and the backbone's vectors, *Shape:* (n_tokens, width) for each doc.
        RAISES (NunerError): As `predict`.
        """
        docs = list(docs)
        self._check_listener(docs)
        self._ensure_started()
        self._check_tokens(docs)
        tok2vec, head = self.model.layers
        vectors = tok2vec.predict(docs)
        return head.predict(vectors), vectors

    def join_logits(self, logits: Sequence[Floats2d]) -> tuple[Floats, Floats | None]:
        """Join what `predict` returned for docs, on the processor.

        logits (Sequence[Floats2d]): What it returned.
        RETURNS (tuple[Floats, Floats | None]): The logits of the labels, *Shape:*
            (n_tokens, n_labels), and those of an entity beginning where the token
            before has the same label, *Shape:* (n_tokens,); None if the model has none.
        RAISES (NunerError): N518 if they are of a model with other columns.
        """
        self._check_columns(logits)
        flat = join_rows(self.model.ops, logits, self._count_columns())
        n_labels = len(self._labels)
        return flat[:, :n_labels], flat[:, n_labels] if self._has_boundary else None

    def _check_columns(self, logits: Sequence[Floats2d]) -> None:
        expected = self._count_columns()
        for array in logits:
            if len(array) and array.shape[1] != expected:
                found = array.shape[1]
                raise NunerError(
                    Errors.N518, name=self.name, found=found, expected=expected
                )

    def _count_columns(self) -> int:
        return len(self._labels) + self._has_boundary

    def find_spans(self, docs: Sequence[Doc], logits: Sequence[Floats2d]) -> FoundSpans:
        """Find the spans in logits.

        docs (Sequence[Doc]): The docs.
        logits (Sequence[Floats2d]): What `predict` returned for them.
        RETURNS (FoundSpans): The spans of all docs.
        """
        flat, boundary = self.join_logits(logits)
        return decode(
            flat,
            [len(doc) for doc in docs],
            get_spaces(docs),
            thresholds=self.thresholds,
            begins=self.get_begins(docs, boundary),
        )

    def get_begins(self, docs: Sequence[Doc], boundary: Floats | None) -> Bools | None:
        """Find the tokens with which a span begins whatever is before them.

        docs (Sequence[Doc]): The docs.
        boundary (Floats | None): As `join_logits` gives it.
        RETURNS (Bools | None): What the model takes for a beginning, and the first of a
            line, which the encoder sees by itself; but not where an annotated span went
            on in another line. None for nowhere. *Shape:* (n_tokens,)
        """
        begins = None if boundary is None else boundary > 0
        if self._crosses_lines:
            return begins
        starts = get_line_starts(docs)
        return starts if begins is None else starts | begins

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch of examples.

        A label that started from its name and has had no example yet gets no gradient:
        that a few sentences lack it says little. Only `initialize`, on 5,000 annotated
        words without one, takes it for absent.

        examples (Iterable[Example]): The examples.
        drop (float): Nothing here drops out: an encoder that is tuned has the rate of
            its own config.
        sgd (Optimizer | None): Changes the weights if given.
        losses (dict[str, float] | None): The loss is added under the pipe's name.
        RETURNS (dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        self._take_labels(examples)
        if not self._crosses_lines:
            self._crosses_lines = has_line_inside(examples, spans_key=self.gold_key)
        self._ensure_started()
        self._check_annotated(examples)
        if not self._labels or not any(len(eg.predicted) for eg in examples):
            return losses
        set_dropout_rate(self.model, drop)
        logits, backprop = self.model.begin_update([eg.predicted for eg in examples])
        loss, d_logits = self.get_loss(examples, logits)
        backprop(d_logits)
        learning = {
            label
            for (label, known), learns in zip(
                self._labels.items(), self._get_mask(), strict=True
            )
            if learns and not known.trained
        }
        # Not asked of a GPU once all are trained.
        if learning and any(gradient.any() for gradient in d_logits):
            self._to_be_trained |= learning
        # False, as spaCy's components take it.
        if sgd:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Change the weights by the gradients of all updates since the last time.

        sgd (Optimizer): Changes them.
        """
        super().finish_update(sgd)
        for label in self._to_be_trained & self._labels.keys():
            self._labels[label].trained = True
        self._to_be_trained = set()

    def _check_annotated(self, examples: Sequence[Example]) -> None:
        """Warn once of a batch that there is nothing to learn from."""
        key, references = self.gold_key, [eg.reference for eg in examples]
        if self._warned_unannotated or any(
            doc.has_annotation("ENT_IOB") if key is None else key in doc.spans
            for doc in references
        ):
            return
        self._warned_unannotated = True
        groups = {f'doc.spans["{name}"]' for doc in references for name in doc.spans}
        found = sorted(groups) + ["doc.ents"] * any(doc.ents for doc in references)
        where = "doc.ents" if key is None else f'doc.spans["{key}"]'
        text = Warnings.W511.format(
            name=self.name, where=where, found=", ".join(found) or "nothing"
        )
        warnings.warn(text, stacklevel=3)

    def _take_labels(self, examples: Iterable[Example]) -> None:
        """Add labels of examples that the component does not have.

        Where labels were given to `initialize` it learns these alone, and spans of
        others as none of them. A warning names each once. Labels that were removed stay
        away.
        """
        found = get_labels(
            examples, spans_key=self.gold_key, described_key=self.described_key
        )
        self._learned.update(found.keys() & self._labels.keys())
        new = sorted(set(found) - set(self._labels) - self._left_out)
        if not new:
            return
        if self._adds_labels:
            for label in new:
                self.add_label(label, found[label])
                self._learned.add(label)
        self._left_out.update(new)
        message = Warnings.W508 if self._adds_labels else Warnings.W509
        text = message.format(name=self.name, labels=", ".join(new))
        warnings.warn(text, stacklevel=3)

    def get_loss(
        self, examples: Sequence[Example], scores: Sequence[Floats2d]
    ) -> tuple[float, list[Floats2d]]:
        """Compare logits with the annotation.

        examples (Sequence[Example]): The examples.
        scores (Sequence[Floats2d]): Logits, as `predict` returns them.
        RETURNS (tuple[float, list[Floats2d]]): The cross-entropy, averaged over the
            tokens that are annotated, and its gradient.
        """
        gold = get_targets(examples, self.labels, spans_key=self.gold_key)
        flat, boundary = self.join_logits(scores)
        learns = self._get_mask() | gold.labels.any(axis=0)
        mask = get_loss_mask(
            gold.known, gold.labels, get_spaces([eg.predicted for eg in examples])
        )
        loss, part = cross_entropy(
            flat[:, learns],
            gold.labels[:, learns],
            mask,
            exclusive=self.exclusive,
        )
        gradient = np.zeros(flat.shape, dtype=part.dtype)
        gradient[:, learns] = part
        if boundary is not None:
            more, column = cross_entropy(
                boundary[:, np.newaxis], gold.begins, gold.asked, exclusive=False
            )
            # Averaged over the same tokens: the sum is the loss of the joint model, of
            # labels and of boundaries between tokens of one.
            share = int(gold.asked.sum()) / max(int(mask.sum()), 1)
            loss += share * more
            gradient = np.concatenate((gradient, share * column), axis=1)
        ends = np.cumsum([len(array) for array in scores])[:-1]
        parts: list[Any] = np.split(gradient.astype("f"), ends)
        return loss, [self.model.ops.asarray2f(part) for part in parts]

    def _get_mask(self) -> Bools:
        """Which labels the training may change. *Shape:* (n_labels,)"""
        mask = [
            x.trained or label in self._learned for label, x in self._labels.items()
        ]
        return np.asarray(mask, dtype=bool)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: LabelSettings | None = None,
        start: Literal["names", "zero"] = "names",
    ) -> None:
        """Collect the labels and set up the model.

        get_examples (Callable): Returns representative examples.
        nlp (Language | None): The pipeline.
        labels (LabelSettings | None): The labels, as `spacy init labels` writes them;
            else they are collected from the examples, with the descriptions of
            `doc.spans[KEY].attrs["descriptions"]`, KEY being "concepts" or the
            `spans_key` of the component. What the config says of a label comes first.
        start (str): Where the weights start: "names" is what the backbone's concept
            encoder makes of the words for each label, where it has one; "zero" knows
            nothing.
        RAISES (NunerError): N502 if there are no labels, N504 or N520 if there is no
            transformer for it to listen to.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        given: Any = labels
        if labels is None:
            given = get_labels(
                get_examples(),
                spans_key=self.gold_key,
                described_key=self.described_key,
            )
        source = f"initialize.components.{self.name}.labels"
        parsed = parse_labels(given, source=source)
        if not parsed and not self._labels:
            where = f'doc.spans["{self.gold_key}"]' if self.gold_key else "doc.ents"
            raise NunerError(Errors.N502, name=self.name, where=where)
        self._check_upstream(nlp)
        # With other data than can be learned from, what was learned would stand.
        self._started = False
        self._crosses_lines, self.temperature = False, 1.0
        self._adds_labels, self._left_out = labels is None, set()
        for label, new in parsed.items():
            self.add_label(label)
            known = self._labels[label]
            known.name = known.name or new.name
            known.description = known.description or new.description
        sample = [eg.x for eg in islice(get_examples(), 10) if len(eg.x)]
        # Of docs without a token no width can be told.
        sample = sample or [Doc(self.vocab, words=["text"])]
        empty = [self.model.ops.alloc2f(len(doc), len(self._labels)) for doc in sample]
        self.model.initialize(X=sample, Y=empty)
        if self._configured_backbone is None and nlp is not None:
            # The transformer may be another one than when it was last set up.
            shared = self._find_shared_backbone(nlp)
            if shared != self.backbone:
                self.backbone, self._vectors = shared, None
        self._started_from = None
        vectors = self._get_vectors() if start == "names" else None
        if vectors is not None:
            self._start_labels(vectors, self.labels)
            self._started_from = vectors.digest
        for known in self._labels.values():
            known.trained = False
        self._to_be_trained = set()
        self._learned = set(self._labels)
        if vectors is not None:
            self._learned = find_learned(
                get_examples(), self._labels, spans_key=self.gold_key
            )
        self._started = True
        self._check_labels()
        words = "their names" if vectors else "zero"
        util.logger.info(
            "%s: %d labels start from %s",
            printable(self.name),
            len(self._labels),
            words,
        )
        if waiting := [label for label in self._labels if label not in self._learned]:
            util.logger.info(
                "%s: no example of %s, known by name until there is one",
                printable(self.name),
                printable(", ".join(waiting)),
            )

    def _check_labels(self) -> None:
        """Warn of settings for labels that the component does not have."""

    def _check_listener(self, docs: Sequence[Doc]) -> None:
        """Refuse docs that the transformer did not run on: the listener would hand on
        zeros for them.
        """
        listener = self._find_listener()
        if listener is None:
            return
        # Without a transformer in this process the attribute is not even known.
        ran = Doc.has_extension("trf_data")
        full = [doc for doc in docs if len(doc)]
        missing = sum(not ran or doc._.trf_data is None for doc in full)
        if missing:
            raise NunerError(
                Errors.N516,
                name=self.name,
                upstream=listener.upstream_name.replace("*", "transformer"),
                missing=missing,
                count=len(full),
            )

    def _check_tokens(self, docs: Sequence[Doc]) -> None:
        """Refuse docs whose tokens are others than when the transformer ran on them,
        and vectors of another width.
        """
        listener = self._find_listener()
        if listener is None:
            return
        full = [doc for doc in docs if len(doc)]
        changed = sum(len(doc._.trf_data.align.lengths) != len(doc) for doc in full)
        if changed:
            raise NunerError(
                Errors.N519, name=self.name, changed=changed, count=len(full)
            )
        expected = listener.get_dim("nO")
        if widths := {doc._.trf_data.width for doc in full} - {expected}:
            found = ", ".join(map(str, sorted(widths)))
            raise NunerError(
                Errors.N521, name=self.name, found=found, expected=expected
            )

    def _find_listener(self) -> Any:
        nodes = self.model.walk()
        return next((x for x in nodes if isinstance(x, TransformerListener)), None)

    def _find_shared_backbone(self, nlp: Language) -> str | None:
        """Find the last backbone of ours before the component that it listens to."""
        listener = self._find_listener()
        if listener is None:
            return None
        found = None
        # Disabled ones count: `spacy train` disables frozen and sourced components
        # while it initializes the others.
        for name, pipe in nlp.components:
            if name == self.name:
                break
            if not hasattr(pipe, "find_listeners"):
                # A head with a backbone of its own.
                continue
            backbone = find_backbone(getattr(pipe, "model", None))
            if backbone is not None and listener.upstream_name in ("*", name):
                found = str(backbone.attrs["name"])
        return found

    def _get_vectors(self, *, required: bool = False) -> LabelVectors | None:
        """Get the concept encoder, if there is one and the head is linear.

        A backbone that can't be found is no error unless it is required: a saved
        pipeline works without it.
        """
        if not has_linear_head(self.model):
            return None
        if self._vectors is None and self.backbone is not None:
            try:
                folder = find_label_vectors(self.backbone)
            except NunerError as error:
                if required:
                    raise
                message = Warnings.W501.format(name=self.name, reason=error)
                warnings.warn(message, stacklevel=3)
                return None
            self._vectors = LabelVectors(folder) if folder else None
        vectors = self._vectors
        if vectors is not None and self._started_from not in (None, vectors.digest):
            message = Warnings.W510.format(name=self.name, backbone=self.backbone)
            warnings.warn(message, stacklevel=3)
            return None
        return vectors

    def _ensure_started(self) -> None:
        """Set up a component that was never trained, at its first text or example."""
        if self._started or not self._labels:
            return
        # A thread that comes while another one is at it waits for the weights.
        with _STARTING:
            if not self._started:
                self._start()
                self._started = True

    def _check_upstream(self, nlp: Language | None = None) -> None:
        """Refuse a listener whose transformer is not there, not set up, or not the last
        one before it: docs keep the vectors of the last.
        """
        listener = self._find_listener()
        if listener is None:
            return
        if not listener.has_dim("nO"):
            raise NunerError(Errors.N504, name=self.name)
        last = ""
        for name, pipe in nlp.components if nlp is not None else ():
            if pipe is self:
                break
            if isinstance(pipe, Transformer):
                last = name
        if last and listener.upstream_name not in ("*", last):
            raise NunerError(
                Errors.N520,
                name=self.name,
                upstream=listener.upstream_name,
                last=last,
            )

    def _start(self) -> None:
        self._check_upstream()
        vectors = self._get_vectors(required=True)
        if vectors is None:
            backbone = self.backbone or "the backbone"
            raise NunerError(Errors.N503, name=self.name, backbone=backbone)
        sample = Doc(self.vocab, words=["text"])
        empty = self.model.ops.alloc2f(1, len(self._labels))
        self.model.initialize(X=[sample], Y=[empty])
        self._start_labels(vectors, self.labels)
        self._started_from = vectors.digest

    def _start_labels(self, vectors: LabelVectors, new: Sequence[str]) -> None:
        """Give labels the weights of their names, and warn of words that were cut."""
        vectors.start(self.model, self._labels, new, temperature=self.temperature)
        if cut := vectors.find_cut([self._labels[label] for label in new], new):
            text = Warnings.W512.format(
                name=self.name, labels=", ".join(cut), limit=vectors.encoder.max_length
            )
            warnings.warn(text, stacklevel=4)

    def _finish_start(self) -> None:
        """Set up labels that were named and not yet looked for, so that what is saved
        does not need the backbone; one that waits for `initialize` is saved as it is.
        """
        try:
            self._ensure_started()
        except NunerError as error:
            if error.code not in UNTRAINED:
                raise

    def _get_state(self) -> dict[str, Any]:
        labels = {label: vars(known) for label, known in self._labels.items()}
        # The backbone too: of one that is shared, `initialize` finds out the name.
        return {
            "backbone": self.backbone,
            "started_from": self._started_from,
            "labels": labels,
            "learned": sorted(self._learned),
            "adds_labels": self._adds_labels,
            "left_out": sorted(self._left_out),
            "crosses_lines": self._crosses_lines,
            "temperature": self.temperature,
        }

    def _set_state(self, state: Any, *, reset: bool) -> None:
        """Take over what was saved.

        state (Any): What `_get_state` gave.
        reset (bool): Whether weights for its labels are loaded next.
        """
        backbone, labels = state["backbone"], state["labels"]
        if not isinstance(backbone, str | None):
            raise ValueError(f"the name of its backbone is {backbone!r}"[:200])
        # Where the config names a backbone, that is the one.
        self.backbone = self._configured_backbone or backbone
        self._started_from = state.get("started_from")
        self._labels = {label: load_label(label, labels[label]) for label in labels}
        self._learned = set(state.get("learned", ())) & set(self._labels)
        self._adds_labels = bool(state.get("adds_labels", True))
        self._left_out = set(map(str, state.get("left_out", ())))
        self._crosses_lines = bool(state.get("crosses_lines", False))
        self.temperature = float(state.get("temperature", 1.0))
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"its temperature is {self.temperature}")
        if reset:
            # Room for as many labels as were saved.
            reset_output(self.model, len(labels))

    def _finish_load(self) -> Self:
        output = self.model.get_ref("output_layer").layers[0]
        self._started = bool(output.has_param("W"))
        own = find_backbone(self.model)
        if own is not None:
            check_width(own)
        check_output(self.model, len(self._labels))
        self._check_labels()
        return self

    def _get_vectors_to_save(self, exclude: Iterable[str]) -> LabelVectors | None:
        if not self.keep_concept_encoder or CONCEPT_ENCODER in exclude:
            return None
        vectors = self._get_vectors()
        if vectors is None:
            message = Warnings.W504.format(name=self.name, backbone=self.backbone)
            warnings.warn(message, stacklevel=4)
        return vectors

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Save the component as a bytestring.

        exclude (Iterable[str]): Names of parts to leave out: "labels", "vocab",
            "model", "concept_encoder".
        RETURNS (bytes): For `from_bytes`.
        """
        self._finish_start()
        parts: dict[str, Callable[[], Any]] = {
            LABELS_FILE: lambda: json.dumps(self._get_state()),
            "vocab": lambda: self.vocab.to_bytes(exclude=exclude),
            "model": self.model.to_bytes,
        }
        vectors = self._get_vectors_to_save(exclude)
        if vectors is not None:
            parts[CONCEPT_ENCODER] = vectors.to_bytes
        return util.to_bytes(parts, exclude)

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> Self:
        """Load the component from a bytestring.

        bytes_data (bytes): What `to_bytes` made.
        exclude (Iterable[str]): Names of parts to leave out.
        RETURNS (Self): Itself.
        RAISES (NunerError): N023 if it is something else or damaged; what the
            backbone and the concept encoder in it raise.
        """

        def load_vectors(files: Mapping[str, bytes]) -> None:
            self._vectors = LabelVectors.from_bytes(files)

        if CONCEPT_ENCODER not in exclude:
            self._vectors = None
        reset = "model" not in exclude
        readers: dict[str, Callable[[Any], Any]] = {
            LABELS_FILE: lambda data: self._set_state(json.loads(data), reset=reset),
            "vocab": lambda data: self.vocab.from_bytes(data, exclude=exclude),
            "model": self.model.from_bytes,
            CONCEPT_ENCODER: load_vectors,
        }
        with explaining_damage(f"component '{self.name}'"):
            util.from_bytes(bytes_data, readers, exclude)
            return self._finish_load()

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the component as a folder.

        path (str | Path): The folder.
        exclude (Iterable[str]): Names of parts to leave out: "labels", "vocab",
            "model", "concept_encoder".
        """
        self._finish_start()
        vectors, folder = self._get_vectors_to_save(exclude), Path(path)
        parts: dict[str, Callable[[Path], Any]] = {
            LABELS_FILE: lambda file: file.write_text(json.dumps(self._get_state())),
            "vocab": lambda folder: self.vocab.to_disk(folder, exclude=exclude),
            "model": self.model.to_disk,
        }
        if (folder / CONCEPT_ENCODER).is_symlink():
            # What it leads to is none of this pipeline's.
            (folder / CONCEPT_ENCODER).unlink()
        if vectors is not None:
            parts[CONCEPT_ENCODER] = vectors.to_disk
        else:
            # Of a pipeline that was saved here before.
            remove_label_vectors(folder / CONCEPT_ENCODER)
        util.to_disk(folder, parts, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> Self:
        """Load the component from a folder.

        path (str | Path): What `to_disk` made.
        exclude (Iterable[str]): Names of parts to leave out.
        RETURNS (Self): Itself.
        RAISES (NunerError): N023 if it is something else or damaged; what the
            backbone and the concept encoder in it raise.
        """

        def load_vectors(folder: Path) -> None:
            self._vectors = LabelVectors(folder) if folder.is_dir() else None

        reset = "model" not in exclude
        readers: dict[str, Callable[[Path], Any]] = {
            LABELS_FILE: lambda file: self._set_state(
                json.loads(file.read_text()), reset=reset
            ),
            "vocab": lambda folder: self.vocab.from_disk(folder, exclude=exclude),
            "model": self.model.from_disk,
            CONCEPT_ENCODER: load_vectors,
        }
        with explaining_damage(f"component '{self.name}'"):
            for file in (Path(path) / LABELS_FILE, Path(path) / "model"):
                if file.exists() and not file.is_file():
                    # A device or a pipe may have no end.
                    raise ValueError(f"{file.name} is no file")
            util.from_disk(Path(path), readers, exclude)
            return self._finish_load()
