"""Pre-training under a recipe, on packed rows from kept states."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from counted import weigh_pairs
from packed import Layers, pack
from passages import MAX_CONCEPT, Corpus
from recipe import Levers
from torch import Tensor, nn

from spacy_nuner.pretrain.model import dense_targets, softmax_cross_entropy


class Model(nn.Module):
    """Both trained halves and what compares them."""

    def __init__(self, encoder: Any, levers: Levers, frozen: int) -> None:
        super().__init__()
        self.text = Layers(encoder, frozen, levers.dropout)
        self.concept = Layers(encoder, frozen, levers.dropout)
        scale, bias = (15.0, -8.0) if levers.cosine else (levers.scale, -3.0)
        self.scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.tensor(bias))
        width = encoder.config.hidden_size
        self.continues = nn.Linear(2 * width, 1)
        self.classes = nn.Linear(width, max(1, levers.classes))
        self.cosine, self.first_piece = levers.cosine, levers.pooling == "cls"

    def encode_concepts(self, rows: list[Tensor]) -> Tensor:
        """A vector for each concept. *Shape:* (concepts, width)"""
        packed = pack(rows, 6)
        states = self.concept(packed)[: packed.ends[-1]].float()
        back = torch.from_numpy(np.argsort(packed.order))
        lengths = torch.from_numpy(np.diff(packed.ends, prepend=0))
        if self.first_piece:
            starts = torch.from_numpy(packed.ends) - lengths
            return states.index_select(0, starts.index_select(0, back))
        owner = torch.repeat_interleave(torch.arange(len(rows)), lengths)
        sums = torch.zeros(len(rows), states.shape[1]).index_add(0, owner, states)
        return (sums / lengths.unsqueeze(1)).index_select(0, back)

    def compare(self, pieces: Tensor, concepts: Tensor) -> Tensor:
        """Logits. *Shape:* (pieces, concepts)"""
        pieces, concepts = pieces.float(), concepts.float()
        if self.cosine:
            pieces, concepts = (
                nn.functional.normalize(x, dim=1) for x in (pieces, concepts)
            )
            return self.scale * pieces @ concepts.T + self.bias
        return self.scale * pieces @ concepts.T / pieces.shape[1] ** 0.5 + self.bias


class Run:
    """The training of a recipe."""

    def __init__(
        self, corpus: Corpus, encoder: Any, levers: Levers, epochs: int, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.corpus, self.levers, self.epochs = corpus, levers, epochs
        self.settings = encoder, levers, epochs, seed
        self.random = np.random.default_rng(seed)
        self.model = Model(encoder, levers, corpus.frozen).train()
        frequent = np.argsort(-corpus.counts, kind="stable")[: levers.classes]
        self.column = {int(concept): i for i, concept in enumerate(frequent)}
        self.teacher: Model | None = None

    def __call__(self) -> Model:
        """Train."""
        if self.levers.seeds > 1:
            return self.train_several()
        if self.levers.self_labels and self.teacher is None:
            second = Run(self.corpus, *self.settings)
            second.teacher = self.train()
            return second.train()
        return self.train()

    def train_several(self) -> Model:
        """Train with other seeds and average the weights."""
        encoder, levers, epochs, seed = self.settings
        mean = torch.optim.swa_utils.AveragedModel(self.model)
        for other in range(seed, seed + levers.seeds):
            once = replace(levers, seeds=1)
            mean.update_parameters(Run(self.corpus, encoder, once, epochs, other)())
        self.model.load_state_dict(mean.module.state_dict())
        return self.model.eval()

    def train(self) -> Model:
        """Train once."""
        levers, model = self.levers, self.model
        optimizer = torch.optim.AdamW(self.groups(), weight_decay=0.0, fused=True)
        plan = self.plan()
        rising = max(1, int(len(plan) * levers.warmup))

        def factor(step: int) -> float:
            falling = (len(plan) - step) / (len(plan) - rising)
            return min((step + 1) / rising, falling)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        mean = torch.optim.swa_utils.AveragedModel(model) if levers.average else None
        for step, batch in enumerate(plan):
            optimizer.zero_grad()
            self.loss(batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if mean is not None and step >= 2 * len(plan) // 3:
                mean.update_parameters(model)
        if mean is not None:
            model.load_state_dict(mean.module.state_dict())
        return model.eval()

    def groups(self) -> list[dict[str, Any]]:
        """Parameters with their rates."""
        levers, model = self.levers, self.model
        # The scale of cosines has far to go.
        few = {"params": [model.scale, model.bias], "lr": levers.rate}
        if levers.cosine:
            few["lr"] = 1e-3
        heads = [*model.continues.parameters(), *model.classes.parameters()]
        groups = [few, {"params": heads, "lr": 1e-3}]
        for half in (model.text, model.concept):
            for depth, layer in enumerate(reversed(half.layers)):
                rate = levers.rate * levers.layer_decay**depth
                groups.append({"params": list(layer.parameters()), "lr": rate})
        return groups

    def plan(self) -> list[np.ndarray]:
        """The rows of each step."""
        parts = [np.arange(len(self.corpus.rows))]
        if self.levers.dense_last:
            rows = self.corpus.rows
            density = [len(set(row["starts"])) / row["length"] for row in rows]
            order = np.argsort(density, kind="stable")
            parts = np.array_split(order, 2)
        return [
            batch
            for part in parts
            for _ in range(self.epochs)
            for batch in self.batches(part)
        ]

    def batches(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows of like length together, eight batches sorted at a time."""
        size = self.levers.batch
        order = self.random.permutation(rows)
        lengths = np.array([row["length"] for row in self.corpus.rows])
        count = int(len(order) * self.levers.alike)
        found = self.alike(order[:count]) if count else []
        order = order[count:]
        for start in range(0, len(order), 8 * size):
            pool = order[start : start + 8 * size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            found += [pool[i : i + size] for i in range(0, len(pool), size)]
        self.random.shuffle(found)
        return found

    def alike(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows with those that are most like them, one batch after another."""
        topics = self.corpus.topics()
        # What all have in common says nothing.
        topics = nn.functional.normalize(topics - topics.mean(dim=0), dim=1).numpy()
        found = []
        while len(rows):
            likeness = topics[rows] @ topics[rows[0]]
            near = np.argsort(-likeness, kind="stable")[: self.levers.batch]
            found.append(rows[near])
            rows = np.delete(rows, near)
        return found

    def texts(self, batch: np.ndarray) -> list[Tensor]:
        """What the frozen layers made of rows, some with hidden mentions."""
        texts = [self.corpus.texts[i] for i in batch]
        if self.levers.masked:
            masked = self.corpus.masked_texts()
            for place in np.flatnonzero(
                self.random.random(len(batch)) < self.levers.masked
            ):
                texts[place] = masked[batch[place]]
        return texts

    def loss(self, batch: np.ndarray) -> Tensor:
        """The loss of a batch under the recipe."""
        levers, model = self.levers, self.model
        packed = pack(self.texts(batch), 2)
        rows = [self.corpus.rows[batch[i]] for i in packed.order]
        # Without the special pieces at both ends.
        starts = np.r_[0, packed.ends[:-1]]
        inside = np.concatenate(
            [np.arange(a + 1, b - 1) for a, b in zip(starts, packed.ends, strict=True)]
        )
        inside = torch.from_numpy(inside)
        pieces = model.text(packed).index_select(0, inside)
        offsets = np.cumsum([0, *(row["length"] - 2 for row in rows)])
        mentions = [
            (offset + start - 1, offset + end - 1, concept)
            for offset, row in zip(offsets, rows, strict=False)
            for start, end, concept in zip(
                row["starts"], row["ends"], row["concepts"], strict=True
            )
        ]
        if levers.classes:
            targets = spread(mentions, self.column, len(pieces), levers.classes)
            return softmax_cross_entropy(model.classes(pieces.float()), targets)
        distinct = self.choose_concepts(rows)
        by_name = self.random.random(len(distinct)) < levers.name_only
        states = [
            self.corpus.names[c] if alone else self.corpus.described[c][:MAX_CONCEPT]
            for c, alone in zip(distinct, by_name, strict=True)
        ]
        logits = model.compare(pieces, model.encode_concepts(states))
        column = {concept: i for i, concept in enumerate(distinct)}
        targets = spread(mentions, column, len(pieces), len(column))
        if self.teacher is not None:
            targets = self.teach(self.teacher, packed, inside, states, targets)
        loss = self.binary(logits, targets, distinct, mentions)
        if levers.softmax:
            loss = loss + levers.softmax * softmax_cross_entropy(logits, targets)
        if levers.continues:
            loss = loss + levers.continues * self.continuing(pieces, mentions, offsets)
        if levers.tokens:
            loss = loss + levers.tokens * contrast_tokens(pieces, targets, offsets)
        return loss

    def choose_concepts(self, rows: list[dict[str, Any]]) -> list[int]:
        """The concepts of the batch, and as many others where that is the lever."""
        own = sorted({concept for row in rows for concept in row["concepts"]})
        if not self.levers.negatives:
            return own
        chances = self.corpus.counts**0.75
        count = int(len(own) * self.levers.negatives * 1.2) + 4
        drawn = self.random.choice(len(chances), count, p=chances / chances.sum())
        return own + sorted(set(drawn.tolist()) - set(own))

    @torch.no_grad()
    def teach(
        self,
        teacher: Model,
        packed: Any,
        inside: Tensor,
        states: list[Tensor],
        targets: Tensor,
    ) -> Tensor:
        """Add what an earlier run holds for likely. *Shape:* (pieces, concepts)"""
        pieces = teacher.text(packed).index_select(0, inside)
        logits = teacher.compare(pieces, teacher.encode_concepts(states))
        return targets.maximum((logits > 0).float())

    def binary(
        self,
        logits: Tensor,
        targets: Tensor,
        distinct: list[int],
        mentions: list[Any],
    ) -> Tensor:
        """NuNER's own loss, of the pairs that are counted."""
        levers, corpus = self.levers, self.corpus
        counts = torch.from_numpy(corpus.counts[distinct])
        weights = weigh_pairs(
            levers, logits, targets, corpus.meanings[distinct], counts, mentions
        )
        each = nn.functional.binary_cross_entropy_with_logits(
            logits, targets, reduction="none"
        )
        if levers.focal:
            wrong = (logits.sigmoid() - targets).abs()
            each = wrong**levers.focal * each
        return (weights * each).sum() / weights.sum()

    def continuing(
        self, pieces: Tensor, mentions: list[Any], offsets: np.ndarray
    ) -> Tensor:
        """Whether the next word piece goes on with a mention of this one."""
        pairs = torch.cat([pieces[:-1], pieces[1:]], dim=1).float()
        wanted = torch.zeros(len(pairs))
        for start, end, _ in mentions:
            wanted[start : end - 1] = 1
        inside = torch.ones(len(pairs), dtype=torch.bool)
        inside[offsets[1:-1] - 1] = False
        logits = self.model.continues(pairs)[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(
            logits[inside], wanted[inside]
        )


def spread(
    mentions: list[Any], column: dict[int, int], pieces: int, width: int
) -> Tensor:
    """1 where a piece lies in a mention of a concept. *Shape:* (pieces, concepts)"""
    pairs = [
        (piece, column[concept])
        for start, end, concept in mentions
        if concept in column
        for piece in range(start, end)
    ]
    places = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return dense_targets(places, pieces, width)


def contrast_tokens(pieces: Tensor, targets: Tensor, offsets: np.ndarray) -> Tensor:
    """Word pieces of a concept in different rows against all word pieces of others."""
    row = torch.repeat_interleave(
        torch.arange(len(offsets) - 1), torch.from_numpy(np.diff(offsets))
    )
    vectors = nn.functional.normalize(pieces.float(), dim=1)
    other = row.unsqueeze(1) != row
    same = (targets @ targets.T > 0) & other
    anchors = same.any(dim=1)
    logits = (vectors @ vectors.T / 0.1)[anchors].masked_fill(~other[anchors], -1e4)
    wanted = same[anchors].float()
    wanted = wanted / wanted.sum(dim=1, keepdim=True)
    return nn.functional.cross_entropy(logits, wanted)
