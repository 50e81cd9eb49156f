"""The levers, and the recipes that are compared: NuNER's with one changed, and ours."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Levers:
    """A recipe.

    batch: Rows of a step.
    rate, warmup: Peak of the learning rate, share of the steps in which it rises.
    layer_decay: Each layer's rate is that of the one over it times this.
    dropout: In the trained layers.
    name_only: Share of concepts that are given without their description.
    pooling: "mean" of a concept's word pieces, or "cls", the first.
    softmax: Weight of a softmax over the concepts of the batch.
    cosine: Whether vectors are compared by their angles.
    scale: Factor of the similarity to start from, if not cosine.
    dedupe: Concepts as alike as this to a right one are not counted as wrong; 0: all.
    negatives: Sampled concepts for each of the batch's own.
    focal: Exponent by which pairs that are easy count less.
    unsure: Pairs held for right with more than this probability, though no one said
        so, are not counted; 1: all are.
    outside: Share of the word pieces without a concept that is counted.
    frequent: Word pieces without a concept are not counted against concepts that are
        annotated so often, since these are what an annotator leaves out; 0: all are.
    dropped: Share of the mentions whose word pieces are not counted.
    edges: How much more the word pieces at both sides of a mention's edges count.
    continues: Weight of a second output: does the mention go on in the next piece.
    tokens: Weight of a contrast between word pieces of the same concept.
    masked: Share of the rows in which half of the mentions are hidden.
    average: Whether the weights are averaged over the last third of the steps.
    seeds: Runs with other seeds whose weights are averaged.
    alike: Share of the rows that go into a step with those whose texts are most like
        them, instead of with any of their length.
    dense_last: Whether rows with many mentions come after those with few.
    self_labels: Whether a first run adds what it finds with a probability over 0.5
        to the labels of the second.
    classes: A linear softmax over so many of the most frequent concepts instead of the
        contrast; 0: the contrast.
    """

    batch: int = 16
    rate: float = 3e-4
    warmup: float = 0.1
    layer_decay: float = 1.0
    dropout: float = 0.1
    name_only: float = 1.0
    pooling: str = "mean"
    softmax: float = 0.0
    cosine: bool = False
    scale: float = 1.0
    dedupe: float = 0.0
    negatives: float = 0.0
    focal: float = 0.0
    unsure: float = 1.0
    outside: float = 1.0
    frequent: int = 0
    dropped: float = 0.0
    edges: float = 1.0
    continues: float = 0.0
    tokens: float = 0.0
    masked: float = 0.0
    average: bool = False
    seeds: int = 1
    alike: float = 0.0
    dense_last: bool = False
    self_labels: bool = False
    classes: int = 0


LEVERS = {
    "paper": Levers(),
    "descriptions-half": Levers(name_only=0.5),
    "competition": Levers(softmax=0.1),
    "competition-0.3": Levers(softmax=0.3),
    "no-dropout": Levers(dropout=0.0),
    "dedupe": Levers(dedupe=0.6),
    "negatives": Levers(negatives=1.0),
    "cosine": Levers(cosine=True),
    "cls": Levers(pooling="cls"),
    "focal": Levers(focal=2.0),
    "unsure": Levers(unsure=0.5),
    "outside": Levers(outside=0.5),
    "frequent": Levers(frequent=20),
    "dropped": Levers(dropped=0.3),
    "edges": Levers(edges=2.0),
    "span-continues": Levers(continues=0.05),
    "token-contrast": Levers(tokens=0.02),
    "masked": Levers(masked=0.3),
    "layer-decay": Levers(layer_decay=0.7),
    "rate-1e-3": Levers(rate=1e-3),
    "batch-32": Levers(batch=32),
    "average": Levers(average=True),
    "dense-last": Levers(dense_last=True),
    "self-labels": Levers(self_labels=True),
    "ours": Levers(name_only=0.5, softmax=0.1, dropout=0.0),
    "ours-two-seeds": Levers(name_only=0.5, softmax=0.1, dropout=0.0, seeds=2),
    "ours-softmax-0.3": Levers(name_only=0.5, softmax=0.3, dropout=0.0),
    "ours-softmax-1": Levers(name_only=0.5, softmax=1.0, dropout=0.0),
    "ours-scale-0.5": Levers(name_only=0.5, softmax=0.1, dropout=0.0, scale=0.5),
    "ours-rate-2e-4": Levers(name_only=0.5, softmax=0.1, dropout=0.0, rate=2e-4),
    "ours-layer-rise": Levers(name_only=0.5, softmax=0.1, dropout=0.0, layer_decay=1.3),
    "ours-scale-3": Levers(name_only=0.5, softmax=0.1, dropout=0.0, scale=3.0),
    "ours-8-rows": Levers(name_only=0.5, softmax=0.1, dropout=0.0, batch=8),
    "ours-alike": Levers(name_only=0.5, softmax=0.1, dropout=0.0, alike=1.0),
    "ours-alike-half": Levers(name_only=0.5, softmax=0.1, dropout=0.0, alike=0.5),
    "softmax-classes": Levers(classes=1000),
}
