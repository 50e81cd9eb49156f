"""Heads that learn from a draw, on an encoder that is tuned with them or frozen."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import spacy
from spacy.ml.models.parser import build_tb_parser_model
from spacy.ml.models.spancat import (
    build_linear_logistic,
    build_mean_max_reducer,
    build_spancat_model,
)
from spacy.pipeline import EntityRecognizer, SpanCategorizer, TrainablePipe
from spacy.pipeline.spancat import build_ngram_suggester
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Adam, Model, fix_random_seed, reduce_first, warmup_linear
from thinc.types import Floats2d

from ..errors import Errors, NunerError
from ..models.backbone import build_tok2vec_backbone
from ..models.concept_tagger import build_concept_tagger
from ..models.entity_tagger import build_entity_tagger
from ..pipeline.decoding import set_ents
from ..pipeline.labels import Label
from ..pipeline.nuner_ner import NunerNer
from ..readers.docbin import copy_entities, copy_words
from .draws import Draw
from .probe import Floats, decode_spans, encode_labels, fit_prototypes

# Where a Doc has the vectors of its tokens, if its encoder is frozen.
VECTORS = "spacy_nuner_vectors"
SPANS_KEY = "ents"
BATCH_SIZE = 128
# Width of the first of the two layers, and of the parser's (configs/ner_parser.cfg).
TWO_LAYERS, PARSER = 256, 64
# Passes of the trainings that NuNER's authors compare by (arXiv 2402.15343).
EPOCHS_K_TO_2K = 30
# The longest span that spancat looks at, in tokens.
LONGEST = 6

Rates = tuple[float, float]
Predictor = Callable[[Sequence[Doc]], list[Doc]]


@dataclass(frozen=True)
class Training:
    """How long heads train, and in what batches.

    epochs (int): Passes over the draw.
    min_steps, max_steps (int): Bounds of the steps that these are: a handful of
        sentences is seen more often, thousands are seen less often.
    batch_size (int): Sentences of a step.
    dropout (float): In all layers that are trained.
    """

    epochs: int = 10
    min_steps: int = 150
    max_steps: int = 5000
    batch_size: int = 8
    dropout: float = 0.1

    def count_steps(self, n_docs: int) -> int:
        """RETURNS (int): The steps of a training on so many sentences."""
        steps = self.epochs * -(-n_docs // self.batch_size)
        return min(max(steps, self.min_steps), self.max_steps)


def make_training(epochs: int | None, draw: Draw) -> Training:
    """Choose how long heads train.

    epochs (int | None): Passes over the draw; None for what is usual.
    draw (Draw): What they learn from.
    RETURNS (Training): With k~2k mentions the 30 passes of NuNER's authors; these and a
        number that is given are without bounds.
    """
    if epochs is None and (draw.protocol != "k~2k" or draw.is_all):
        return Training()
    most = 10**9
    return Training(epochs=epochs or EPOCHS_K_TO_2K, min_steps=1, max_steps=most)


@dataclass(frozen=True)
class Task:
    """What a head is fitted to.

    docs (Sequence[Doc]): The draw, entities in `doc.ents`. With a frozen encoder all
        Docs, also those to predict, have their vectors in `doc.user_data[VECTORS]`.
    labels (Sequence[str]): Every label that may be predicted, `O` first.
    backbone (str): The encoder.
    hidden_layers (Sequence[int]): Which layers are read, -1 being the last.
    tuned (bool): Whether the encoder learns, too.
    rates (Rates): Of the encoder and of the head.
    steps (int): Steps of the training.
    seed (int): Of the weights, the order of sentences and dropout.
    training (Training): Batches and dropout.
    meanings (Mapping[str, Label]): What labels are called, for `nuner_ner`.
    """

    docs: Sequence[Doc]
    labels: Sequence[str]
    backbone: str
    hidden_layers: Sequence[int]
    tuned: bool
    rates: Rates
    steps: int
    seed: int
    training: Training
    meanings: Mapping[str, Label]

    def build_tok2vec(self) -> Model[list[Doc], list[Floats2d]]:
        """RETURNS (Model): From Docs to vectors of tokens, computed or looked up."""
        if not self.tuned:
            return build_stored_vectors(self.docs[0].user_data[VECTORS].shape[1])
        return build_tok2vec_backbone(
            self.backbone,
            reduce_first(),
            hidden_layers=list(self.hidden_layers),
            learn_rate_scale=self.rates[0] / self.rates[1],
        )


def build_stored_vectors(width: int) -> Model[list[Doc], list[Floats2d]]:
    """Build a layer that looks up vectors instead of computing them.

    width (int): How wide they are.
    RETURNS (Model): From Docs to what they have in `doc.user_data[VECTORS]`.
        *Shape:* (n_tokens, width) each
    """
    return Model("stored-vectors", _look_up, dims={"nO": width})


def _look_up(
    model: Model, docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    ops: Any = model.ops
    arrays = [ops.asarray2f(doc.user_data[VECTORS]) for doc in docs]
    return arrays, lambda d_arrays: []


def _make_nuner_ner(task: Task, tok2vec: Model, vocab: Vocab) -> TrainablePipe:
    return _make_component(task, build_entity_tagger(tok2vec), vocab)


def _make_linear(task: Task, tok2vec: Model, vocab: Vocab) -> TrainablePipe:
    return _make_component(task, build_concept_tagger(tok2vec), vocab)


def _make_two_layer(task: Task, tok2vec: Model, vocab: Vocab) -> TrainablePipe:
    model = build_concept_tagger(tok2vec, hidden_width=TWO_LAYERS)
    return _make_component(task, model, vocab)


def _make_component(task: Task, model: Model, vocab: Vocab) -> TrainablePipe:
    found = {ent.label_ for doc in task.docs for ent in doc.ents}
    labels: Any = {
        label: task.meanings.get(label, Label()).to_setting() for label in sorted(found)
    }
    return NunerNer(vocab, model, "nuner_ner", backbone=task.backbone, labels=labels)


def _make_ner(task: Task, tok2vec: Model, vocab: Vocab) -> TrainablePipe:
    model = build_tb_parser_model(
        tok2vec,
        state_type="ner",
        extra_state_tokens=False,
        hidden_width=PARSER,
        maxout_pieces=2,
        use_upper=False,
    )
    return EntityRecognizer(vocab, model)


def _make_spancat(task: Task, tok2vec: Model, vocab: Vocab) -> TrainablePipe:
    reducer, scorer = build_mean_max_reducer(BATCH_SIZE), build_linear_logistic()
    longest = max((len(ent) for doc in task.docs for ent in doc.ents), default=1)
    return SpanCategorizer(
        vocab,
        build_spancat_model(tok2vec, reducer, scorer),
        build_ngram_suggester(list(range(1, min(longest, LONGEST) + 1))),
        spans_key=SPANS_KEY,
    )


@dataclass(frozen=True)
class Head:
    """A head that is trained.

    make (Callable): Makes its component of a task, a layer of vectors and a vocab.
    rates (tuple[Rates, ...]): Rates of encoder and head to choose from on dev, if the
        encoder is tuned.
    frozen_rates (tuple[float, ...]): Rates of the head alone.
    start (str | None): Where `nuner_ner` starts from, see `LabelPipe.initialize`.
    """

    make: Callable[[Task, Model, Vocab], TrainablePipe]
    rates: tuple[Rates, ...] = ((5e-5, 1e-3), (1e-4, 3e-3), (2e-4, 3e-3))
    frozen_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    start: str | None = None

    def get_rates(self, tuned: bool) -> list[Rates]:
        """RETURNS (list[Rates]): The rates to choose from."""
        return (
            list(self.rates) if tuned else [(0.0, rate) for rate in self.frozen_rates]
        )


# Rates of spaCy's own are those that benchmarks of earlier revisions tried for `ner`.
SPACY_RATES: tuple[Rates, ...] = ((1e-4, 1e-3), (2e-4, 2e-4), (2e-4, 1e-3))
PROTOTYPE = "prototype"
TRAINED = {
    "linear": Head(_make_linear, start="zero"),
    "two-layer": Head(_make_two_layer, start="zero"),
    # With a tuned encoder: the vectors that a linear head taught it.
    PROTOTYPE: Head(_make_linear, frozen_rates=(), start="zero"),
    "nuner_ner": Head(_make_nuner_ner, start="names"),
    "ner": Head(_make_ner, rates=SPACY_RATES),
    "spancat": Head(_make_spancat, rates=SPACY_RATES),
}
PROBES = ("probe", "binary-probe")
HEADS = (*PROBES, *TRAINED)


def check_heads(heads: Iterable[str], encoders: Iterable[str]) -> None:
    """Check names of heads, and what becomes of their encoders.

    heads (Iterable[str]): The heads, of `HEADS`.
    encoders (Iterable[str]): "frozen", "tuned" or both.
    RAISES (NunerError): N618 for another one, or if a probe is to be tuned alone.
    """
    encoders = list(encoders)
    unknown = [head for head in heads if head not in HEADS]
    unknown += [name for name in encoders if name not in ("frozen", "tuned")]
    if encoders == ["tuned"]:
        unknown += [f"{head}, tuned" for head in heads if head in PROBES]
    if unknown or not encoders:
        raise NunerError(
            Errors.N618, found=", ".join(unknown) or "none", known=", ".join(HEADS)
        )


def fit_head(name: str, task: Task) -> Predictor:
    """Fit a head to a draw.

    name (str): One of `TRAINED`.
    task (Task): The draw, the encoder, the rates.
    RETURNS (Predictor): From Docs to copies of them that have predicted entities.
    """
    fix_random_seed(task.seed)
    vocab = spacy.blank("xx").vocab
    head, tok2vec = TRAINED[name], task.build_tok2vec()
    if name == PROTOTYPE and not task.tuned:
        return _fit_prototypes(task, tok2vec)
    component = head.make(task, tok2vec, vocab)
    pairs = [_make_example(doc, vocab) for doc in task.docs]
    start = {} if head.start is None else {"start": head.start}
    component.initialize(lambda: pairs, **start)
    _train(component, pairs, task)
    if name == PROTOTYPE:
        return _fit_prototypes(task, tok2vec)

    def predict(docs: Sequence[Doc]) -> list[Doc]:
        copies = [_copy(doc, vocab) for doc in docs]
        predicted = list(component.pipe(copies, batch_size=BATCH_SIZE))
        if SPANS_KEY in predicted[0].spans:
            for doc in predicted:
                group = doc.spans[SPANS_KEY]
                set_ents(doc, list(group), group.attrs["scores"], overwrite=True)
        return predicted

    return predict


def _train(component: TrainablePipe, pairs: Sequence[Example], task: Task) -> None:
    """Train as configs/ner.cfg does: Adam, the rate rises for a tenth and falls."""
    rate: Any = warmup_linear(task.rates[1], max(task.steps // 10, 1), task.steps)
    optimizer = Adam(
        rate,
        L2=0.01,
        L2_is_weight_decay=True,
        grad_clip=1.0,
        # Averages reach no weights of torch.
        use_averages=False,
    )
    batches = _make_batches(pairs, task.training.batch_size, task.seed)
    for _, batch in zip(range(task.steps), batches, strict=False):
        component.update(batch, drop=task.training.dropout, sgd=optimizer)
        optimizer.step_schedules()


def _make_batches(
    pairs: Sequence[Example], size: int, seed: int
) -> Iterator[list[Example]]:
    """Yield batches without end, of each pass in another order."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(pairs))
        for start in range(0, len(order), size):
            yield [pairs[i] for i in order[start : start + size]]


def _fit_prototypes(task: Task, tok2vec: Model) -> Predictor:
    def embed(docs: Sequence[Doc]) -> Floats:
        chunks = [docs[i : i + BATCH_SIZE] for i in range(0, len(docs), BATCH_SIZE)]
        arrays = [a for chunk in chunks for a in tok2vec.predict(list(chunk)) if len(a)]
        return np.concatenate([tok2vec.ops.to_numpy(array) for array in arrays])

    gold = encode_labels(task.docs, task.labels)
    probe = fit_prototypes(embed(task.docs), gold, len(task.labels))

    def predict(docs: Sequence[Doc]) -> list[Doc]:
        copies = [copy_words(doc, doc.vocab) for doc in docs]
        found = decode_spans(copies, probe.predict(embed(docs)), task.labels)
        for doc, ents in zip(copies, found, strict=True):
            doc.ents = ents
        return copies

    return predict


def _make_example(doc: Doc, vocab: Vocab) -> Example:
    reference = _hand_on(doc, copy_entities(doc, vocab))
    reference.spans[SPANS_KEY] = list(reference.ents)
    return Example(_copy(doc, vocab), reference)


def _copy(doc: Doc, vocab: Vocab) -> Doc:
    return _hand_on(doc, copy_words(doc, vocab))


def _hand_on(doc: Doc, copied: Doc) -> Doc:
    """Give a copy the vectors that were computed before."""
    if VECTORS in doc.user_data:
        copied.user_data[VECTORS] = doc.user_data[VECTORS]
    return copied
