"""TadNER: spans from one encoder, their types from another that reads the types' names.

Li et al., Type-Aware Decomposed Framework for Few-Shot Named Entity Recognition,
Findings of EMNLP 2023, https://arxiv.org/abs/2302.06397, as the authors' code has it
(github.com/liyongqi2002/TadNER). Source training goes once over sentences of other
types; in an episode both encoders adapt to the support set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from thinc.api import get_torch_default_device
from torch import Tensor, nn
from tqdm import tqdm

from ..encoders.layers import load_encoder
from ..encoders.safety import check_header
from ..errors import Errors, NunerError
from ..printing import printable
from .episodes import OUTSIDE, Episode, Sentence, find_entities
from .word_encoder import Pieces, WordEncoder

ENCODER = "encoder"
HEAD = "head.safetensors"


@dataclass(frozen=True)
class SourceSettings:
    """How the two encoders learn from sentences of other types; see their code.

    epochs (int): Passes over the sentences that have an entity.
    batch_size (int): Sentences of a step.
    rate (float): Learning rate of Adam, which falls to 0 in a line.
    dropout (float): Before the layer that tells words in entities from others.
    temperature (float): Of the contrastive loss.
    layers (int): The contrastive loss reads the mean of this many of the last layers,
        of all and the embeddings where there are fewer.
    scaled_columns (bool): Whether the logits of the loss are scaled to length 1 over
        all words for each compared one, as the authors' code does; else for each word
        over those that it is compared with.
    max_length (int): Word pieces of a sentence that are read.
    seed (int): Of the order of the sentences, of dropout and of the new layer.
    """

    epochs: int = 1
    batch_size: int = 32
    rate: float = 3e-5
    dropout: float = 0.2
    temperature: float = 0.05
    layers: int = 1
    scaled_columns: bool = True
    max_length: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        _check_rate(self.rate)


@dataclass(frozen=True)
class EpisodeSettings:
    """How a model adapts to a support set and predicts.

    The defaults are what the authors' code does for Few-NERD, but for the last two,
    which are oversights there or see more than one sentence.

    rate (float): Learning rate of Adam.
    max_steps (int): Steps of each encoder at most, each over the whole support set.
    patience (int | None): Steps in a row with a loss above the best one that the
        encoder of spans takes; None for K + 1. That of types takes none.
    layers (int): Types are predicted from the mean of this many of the last layers, of
        all and the embeddings where there are fewer.
    span_filter (str): A span is dropped if its best logit is no more than twice the
        "min" or "mean" logit of the support set's entity words with the name of their
        type; "none" drops none.
    scaled_prototypes (bool): Whether support prototypes are scaled feature by feature
        to length 1 over the types.
    transductive (bool): Whether logits are scaled to length 1 over all spans of the
        query set before the best type is taken. Then a prediction depends on the other
        sentences that are asked about.
    prediction_dropout (bool): Whether dropout stays on in the encoder of types.
    """

    rate: float = 3e-5
    max_steps: int = 100
    patience: int | None = None
    layers: int = 4
    span_filter: Literal["min", "mean", "none"] = "min"
    scaled_prototypes: bool = True
    transductive: bool = False
    prediction_dropout: bool = False

    def __post_init__(self) -> None:
        _check_rate(self.rate)


def _check_rate(rate: float) -> None:
    """RAISES (NunerError): N647 if no encoder can learn at such a rate."""
    if not 0 < rate < inf:
        raise NunerError(Errors.N647, rate=rate)


class Example(NamedTuple):
    """A sentence to learn from.

    pieces (Pieces): Its word pieces.
    types (list[int]): Index of the type of each of its words, -1 outside of entities.
        *Shape:* (n_words,)
    """

    pieces: Pieces
    types: list[int]


class Prediction(NamedTuple):
    """What was found in the query set of an episode.

    spans (list[list[tuple[int, int]]]): Start and end of what the encoder of spans
        found in each sentence.
    entities (list[list[tuple[int, int, str]]]): Those with a type.
    steps (tuple[int, int]): Steps of adapting to spans and to types.
    """

    spans: list[list[tuple[int, int]]]
    entities: list[list[tuple[int, int, str]]]
    steps: tuple[int, int]


class SpanModel(nn.Module):
    """Tells words in entities from others: an encoder, dropout, a linear layer."""

    def __init__(self, words: WordEncoder, *, dropout: float) -> None:
        """words (WordEncoder): The encoder.

        dropout (float): Of the layer's input.
        """
        super().__init__()
        self.words = words
        config: Any = words.encoder.config
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(config.hidden_size, len("OI"))
        )

    def forward(self, sentences: Sequence[Pieces]) -> Tensor:
        """RETURNS (Tensor): Logits of O and I of each word. *Shape:* (n_words, 2)"""
        logits: Tensor = self.head(self.words(sentences, layers=1))
        return logits

    def get_loss(self, examples: Sequence[Example]) -> Tensor:
        """RETURNS (Tensor): Mean cross-entropy of the words. *Shape:* ()"""
        logits = self([one.pieces for one in examples])
        inside = torch.tensor([t >= 0 for one in examples for t in one.types])
        return F.cross_entropy(logits, inside.long().to(logits.device))


class TypeModel(nn.Module):
    """Tells types by the likeness of words to the names of types."""

    def __init__(self, words: WordEncoder) -> None:
        """words (WordEncoder): The encoder of words and of names."""
        super().__init__()
        self.words = words

    def encode_entities(
        self, examples: Sequence[Example], *, layers: int
    ) -> tuple[Tensor, Tensor]:
        """Encode the words of entities.

        examples (Sequence[Example]): Sentences, one of which has an entity.
        layers (int): As for `WordEncoder`.
        RETURNS (tuple[Tensor, Tensor]): Their vectors and the indices of their types.
            *Shape:* (n_words, width) and (n_words,)
        """
        vectors = self.words([one.pieces for one in examples], layers=layers)
        types = torch.tensor(
            [t for one in examples for t in one.types], device=vectors.device
        )
        return vectors[types >= 0], types[types >= 0]

    def get_contrastive_loss(
        self,
        examples: Sequence[Example],
        names: Sequence[str],
        settings: SourceSettings,
    ) -> Tensor:
        """The loss of source training.

        examples (Sequence[Example]): A batch.
        names (Sequence[str]): The names of all types.
        settings (SourceSettings): Temperature and layers.
        RETURNS (Tensor): See `get_type_aware_loss`. *Shape:* ()
        """
        vectors, types = self.encode_entities(examples, layers=settings.layers)
        present, index = types.unique(return_inverse=True)
        # With the same weights as the words, in each step anew.
        encoded = self.words.encode_names(
            [names[i] for i in present.tolist()], layers=settings.layers
        )
        return get_type_aware_loss(
            *(vectors, encoded[index], types),
            temperature=settings.temperature,
            scaled_columns=settings.scaled_columns,
        )


def get_type_aware_loss(
    words: Tensor,
    names: Tensor,
    types: Tensor,
    *,
    temperature: float,
    scaled_columns: bool = True,
) -> Tensor:
    """The type-aware contrastive loss: words of one type attract each other by it.

    A word's vector and that of its type's name, in this order, are compared with the
    same of each other word in the other order.

    words (Tensor): Vectors of entity words. *Shape:* (n, width)
    names (Tensor): For each of them the vector of its type's name. *Shape:* (n, width)
    types (Tensor): Index of the type of each. *Shape:* (n,)
    temperature (float): What scaled logits are divided by.
    scaled_columns (bool): Whether columns have the length 1; else rows.
    RETURNS (Tensor): Sum over words of - 1/n sum over words of the same type, itself
        included, of the log probability. *Shape:* ()
    """
    logits = names @ words.T + words @ names.T
    scaled = F.normalize(logits, dim=0 if scaled_columns else 1)
    log_probabilities = (scaled / temperature).log_softmax(dim=-1)
    same = types[:, None] == types[None]
    return -log_probabilities[same].sum() / len(words)


def get_prototypes(vectors: Tensor, types: Sequence[int], n_types: int) -> Tensor:
    """Average the spans of each type.

    vectors (Tensor): Vectors of spans. *Shape:* (n_spans, width)
    types (Sequence[int]): Index of the type of each span.
    n_types (int): The number of types.
    RETURNS (Tensor): Means; 0 for a type without a span. *Shape:* (n_types, width)
    """
    index = torch.tensor(types, dtype=torch.long, device=vectors.device)
    sums = vectors.new_zeros(n_types, vectors.shape[1]).index_add(0, index, vectors)
    counts = index.bincount(minlength=n_types).clamp(min=1)
    return sums / counts[:, None]


def pool_spans(
    vectors: Tensor, lengths: Sequence[int], spans: Sequence[Sequence[tuple[int, int]]]
) -> Tensor:
    """Average the words of spans.

    vectors (Tensor): Words, one sentence after another. *Shape:* (n_words, width)
    lengths (Sequence[int]): Words of each sentence.
    spans (Sequence[Sequence[tuple[int, int]]]): Start and end of each sentence's spans.
    RETURNS (Tensor): *Shape:* (n_spans, width)
    """
    offsets = accumulate(lengths, initial=0)
    means = [
        vectors[offset + start : offset + end].mean(dim=0)
        for offset, of_sentence in zip(offsets, spans, strict=False)
        for start, end in of_sentence
    ]
    return torch.stack(means) if means else vectors[:0]


def adapt(
    model: nn.Module,
    get_loss: Callable[[], Tensor],
    *,
    rate: float,
    max_steps: int,
    patience: int,
) -> int:
    """Train until the loss rises.

    model (nn.Module): What is trained.
    get_loss (Callable[[], Tensor]): The loss of the whole support set.
    rate (float): Learning rate of Adam.
    max_steps (int): Steps at most.
    patience (int): Losses in a row above the best one that are no reason to stop. A
        step whose loss is the reason is not taken.
    RETURNS (int): The number of steps.
    RAISES (NunerError): N645 if the loss is no number.
    """
    optimizers = _make_optimizers(model, rate)
    best, above = float("inf"), 0
    for step in range(max_steps):
        loss = get_loss()
        value = loss.item()
        if not isfinite(value):
            raise NunerError(Errors.N645, step=step + 1, rate=rate)
        above = above + 1 if value > best else 0
        best = min(best, value)
        if above > patience:
            return step
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    return max_steps


def _make_optimizers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Adam, and for embeddings with sparse gradients one that skips unused rows.

    A new Adam leaves a row that never has a gradient as it is, and each step reads the
    same words: both move weights alike. Embeddings are half of a small encoder.
    """
    rows = [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.sparse
    ]
    of_rows = set(map(id, rows))
    others = [one for one in model.parameters() if id(one) not in of_rows]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(others, lr=rate, fused=True)
    ]
    if rows:
        optimizers.append(torch.optim.SparseAdam(rows, lr=rate))
    return optimizers


class Tadner:
    """Both models with the weights of source training."""

    def __init__(self, spans: SpanModel, types: TypeModel) -> None:
        """spans (SpanModel): Finds spans.

        types (TypeModel): Finds their types.
        """
        device = get_torch_default_device()
        self.spans = spans.to(device).eval()
        self.types = types.to(device).eval()
        for words in (spans.words, types.words):
            encoder: Any = words.encoder
            # See `_make_optimizers`.
            encoder.get_input_embeddings().sparse = True
        self._source = [_copy_weights(model) for model in (self.spans, self.types)]

    @classmethod
    def from_disk(cls, spans: Path, types: Path, settings: SourceSettings) -> Self:
        """Load both models.

        spans (Path): The folder that `train_spans` wrote.
        types (Path): The folder that `train_types` wrote.
        settings (SourceSettings): With what they were trained.
        RETURNS (Tadner): The models.
        RAISES (NunerError): What `load_encoder` raises; N015 if the linear layer can't
            be read.
        """
        of_spans, of_types = (
            WordEncoder(*load_encoder(one / ENCODER), max_length=settings.max_length)
            for one in (spans, types)
        )
        model = SpanModel(of_spans, dropout=settings.dropout)
        path = spans / HEAD
        try:
            check_header(path)
            model.head.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise NunerError(Errors.N015, path=path, reason=error) from error
        return cls(model, TypeModel(of_types))

    def predict(
        self,
        episode: Episode,
        names: Mapping[str, str],
        settings: EpisodeSettings,
        *,
        shots: int,
        seed: int,
    ) -> Prediction:
        """Adapt to the support set of an episode and tag its query set.

        episode (Episode): The episode.
        names (Mapping[str, str]): Type -> its name.
        settings (EpisodeSettings): How.
        shots (int): The K of the episode.
        seed (int): Of dropout. Nothing else is random: the weights before are always
            those of source training.
        RETURNS (Prediction): What was found in the query set.
        """
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.spans.load_state_dict(self._source[0])
            self.types.load_state_dict(self._source[1])
            spans, span_steps = self._predict_spans(episode, settings, shots)
            types, type_steps = self._predict_types(episode, names, settings, spans)
        found = iter(types)
        entities = [
            [
                (start, end, episode.types[index])
                for start, end in of_sentence
                if (index := next(found)) >= 0
            ]
            for of_sentence in spans
        ]
        return Prediction(spans, entities, (span_steps, type_steps))

    def _predict_spans(
        self, episode: Episode, settings: EpisodeSettings, shots: int
    ) -> tuple[list[list[tuple[int, int]]], int]:
        support = make_examples(self.spans.words, episode.support, episode.types)
        query = [self.spans.words.cut(one.words) for one in episode.query]
        self.spans.train()
        steps = adapt(
            self.spans,
            lambda: self.spans.get_loss(support),
            rate=settings.rate,
            max_steps=settings.max_steps,
            patience=shots + 1 if settings.patience is None else settings.patience,
        )
        self.spans.eval()
        with torch.no_grad():
            tags = self.spans(query).argmax(dim=-1).tolist()
        bounds = accumulate((len(one.firsts) for one in query), initial=0)
        return [
            [(s, e) for s, e, _ in find_entities("OI"[t] for t in tags[first:last])]
            for first, last in pairwise(bounds)
        ], steps

    def _predict_types(
        self,
        episode: Episode,
        names: Mapping[str, str],
        settings: EpisodeSettings,
        spans: list[list[tuple[int, int]]],
    ) -> tuple[list[int], int]:
        """Index of the type of each span, -1 for those that are dropped; steps."""
        model = self.types
        layers = settings.layers
        read = [names[name] for name in episode.types]
        support = [
            one
            for one in make_examples(model.words, episode.support, episode.types)
            if max(one.types, default=-1) >= 0
        ]
        if not support or not any(spans):
            return [-1 for found in spans for _ in found], 0
        with torch.no_grad():
            # Held still: only the words move.
            weights = model.words.encode_names(read, layers=layers)

        def get_loss() -> Tensor:
            vectors, types = model.encode_entities(support, layers=layers)
            return F.cross_entropy(vectors @ weights.T, types)

        model.train()
        steps = adapt(
            model,
            get_loss,
            rate=settings.rate,
            max_steps=settings.max_steps,
            patience=0,
        )
        model.train(settings.prediction_dropout)
        with torch.no_grad():
            encoded = model.words.encode_names(read, layers=layers)
            prototypes, threshold = self._learn_types(support, encoded, settings)
            asked = [
                (model.words.cut(sentence.words), found)
                for sentence, found in zip(episode.query, spans, strict=True)
                if found
            ]
            vectors = pool_spans(
                model.words([pieces for pieces, _ in asked], layers=layers),
                [len(pieces.firsts) for pieces, _ in asked],
                [found for _, found in asked],
            )
            types = classify(
                vectors @ (encoded + prototypes).T,
                threshold,
                transductive=settings.transductive,
            )
        model.eval()
        return types, steps

    def _learn_types(
        self, support: Sequence[Example], encoded: Tensor, settings: EpisodeSettings
    ) -> tuple[Tensor, float]:
        """Support prototypes and the least logit half of a span's best may have."""
        pieces = [one.pieces for one in support]
        words = self.types.words(pieces, layers=settings.layers)
        entities = [find_runs(one.types) for one in support]
        prototypes = get_prototypes(
            pool_spans(
                words,
                [len(one.types) for one in support],
                [[(start, end) for start, end, _ in found] for found in entities],
            ),
            [index for found in entities for _, _, index in found],
            len(encoded),
        )
        if settings.scaled_prototypes:
            prototypes = F.normalize(prototypes, dim=0)
        if settings.span_filter == "none":
            return prototypes, float("-inf")
        types = torch.tensor(
            [t for one in support for t in one.types], device=words.device
        )
        inside = types >= 0
        logits = (words[inside] * encoded[types[inside]]).sum(dim=-1)
        least = logits.min() if settings.span_filter == "min" else logits.mean()
        return prototypes, least.item()


def classify(logits: Tensor, threshold: float, *, transductive: bool) -> list[int]:
    """Take the best type of each span.

    logits (Tensor): The sum of those with the type's name and with its support
        prototype. *Shape:* (n_spans, n_types)
    threshold (float): What half of the best logit has to be above.
    transductive (bool): As in `EpisodeSettings`; which spans are kept goes by the
        logits as they are in any case.
    RETURNS (list[int]): Index of the type of each span; -1 for one that is dropped.
    """
    kept = logits.max(dim=-1).values / 2 > threshold
    scaled = F.normalize(logits, dim=0) if transductive else logits
    best: list[int] = scaled.argmax(dim=-1).where(kept, -1).tolist()
    return best


def find_runs(types: Sequence[int]) -> list[tuple[int, int, int]]:
    """RETURNS (list[tuple[int, int, int]]): Start, end and type of each entity."""
    labels = (OUTSIDE if index < 0 else str(index) for index in types)
    return [(start, end, int(label)) for start, end, label in find_entities(labels)]


def make_examples(
    words: WordEncoder, sentences: Sequence[Sentence], types: Sequence[str]
) -> list[Example]:
    """Prepare sentences to learn from.

    words (WordEncoder): The encoder that they are for.
    sentences (Sequence[Sentence]): The sentences.
    types (Sequence[str]): All types that they have.
    RETURNS (list[Example]): One for each.
    """
    index = {OUTSIDE: -1, **{name: i for i, name in enumerate(types)}}
    examples = []
    for sentence in sentences:
        pieces = words.cut(sentence.words)
        labels = sentence.labels[: len(pieces.firsts)]
        examples.append(Example(pieces, [index[label] for label in labels]))
    return examples


def train_spans(
    name: str | Path,
    sentences: Sequence[Sentence],
    settings: SourceSettings,
    folder: Path,
) -> dict[str, float]:
    """Train the model of spans and save it.

    name (str | Path): The encoder to start from, in any form `load_encoder` takes.
    sentences (Sequence[Sentence]): Sentences of other types.
    settings (SourceSettings): How.
    folder (Path): Where it goes; an empty folder.
    RETURNS (dict[str, float]): "steps", and "loss", the mean of the last tenth.
    RAISES (NunerError): What `load_encoder` raises; N645 if the loss is no number.
    """
    words = WordEncoder(*load_encoder(name), max_length=settings.max_length)
    examples, _ = _make_source(words, sentences)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = SpanModel(words, dropout=settings.dropout)
        metrics = _train(model, examples, model.get_loss, settings, title="spans")
    _save_encoder(words, folder)
    save_file(_copy_weights(model.head.cpu()), folder / HEAD)
    return metrics


def train_types(
    name: str | Path,
    sentences: Sequence[Sentence],
    names: Mapping[str, str],
    settings: SourceSettings,
    folder: Path,
) -> dict[str, float]:
    """Train the model of types and save it.

    name (str | Path): The encoder to start from, in any form `load_encoder` takes.
    sentences (Sequence[Sentence]): Sentences of other types.
    names (Mapping[str, str]): Type -> its name.
    settings (SourceSettings): How.
    folder (Path): Where it goes; an empty folder.
    RETURNS (dict[str, float]): As for `train_spans`.
    RAISES (NunerError): As for `train_spans`.
    """
    words = WordEncoder(*load_encoder(name), max_length=settings.max_length)
    model = TypeModel(words)
    examples, types = _make_source(words, sentences)
    read = [names[one] for one in types]

    def get_loss(batch: Sequence[Example]) -> Tensor:
        return model.get_contrastive_loss(batch, read, settings)

    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        metrics = _train(model, examples, get_loss, settings, title="types")
    _save_encoder(words, folder)
    return metrics


def _make_source(
    words: WordEncoder, sentences: Sequence[Sentence]
) -> tuple[list[Example], list[str]]:
    """Sentences with an entity that is not cut off, and all types."""
    types = sorted({label for one in sentences for label in one.labels} - {OUTSIDE})
    examples = make_examples(words, sentences, types)
    return [one for one in examples if max(one.types, default=-1) >= 0], types


def _train(
    model: nn.Module,
    examples: Sequence[Example],
    get_loss: Callable[[Sequence[Example]], Tensor],
    settings: SourceSettings,
    *,
    title: str,
) -> dict[str, float]:
    model.to(get_torch_default_device()).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.rate, fused=True)
    size = settings.batch_size
    batches = [
        order[start : start + size].tolist()
        for _ in range(settings.epochs)
        for order in [torch.randperm(len(examples))]
        for start in range(0, len(order), size)
    ]
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 1 - step / len(batches)
    )
    losses = []
    bar = tqdm(batches, desc=printable(f"source training, {title}"), unit="step")
    for batch in bar:
        loss = get_loss([examples[i] for i in batch])
        losses.append(loss.item())
        if not torch.isfinite(loss):
            raise NunerError(Errors.N645, step=len(losses), rate=settings.rate)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    last = losses[-max(1, len(losses) // 10) :]
    return {"steps": len(losses), "loss": round(sum(last) / len(last), 4)}


def _save_encoder(words: WordEncoder, folder: Path) -> None:
    encoder: Any = words.encoder
    encoder.save_pretrained(folder / ENCODER, safe_serialization=True)
    words.tokenizer.save_pretrained(folder / ENCODER)


def _copy_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}
