"""Which head to take on a user's own labelled texts, by cross-validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from spacy.tokens import Doc
from tqdm import tqdm

from ..pipeline.labels import Label
from ..printing import printable
from .compare import Backbone
from .cross_validation import Validated, cut_folds
from .entity_counts import count_spans, get_f
from .extrapolation import Interval, add_luck, sample_counts
from .heads import TRAINED, Rates, Task, Training, fit_head
from .probe import Ints

# Of configs/ner.cfg and configs/ner_parser.cfg; of others the middle of those that
# `fewshot` tries.
RATES: dict[str, Rates] = {"nuner_ner": (5e-5, 1e-3), "ner": (2e-4, 2e-4)}


@dataclass(frozen=True)
class JudgedHead:
    """A head that was judged beside the probe.

    head (str): Its name, of `heads.TRAINED`.
    texts (int): How many texts it learned from in each fold, as the probe did.
    score (Interval): Its entity F1, from 0 to 1, with other texts to learn from.
    lead (Interval): By how much that is higher than the probe's, with these texts.
    """

    head: str
    texts: int
    score: Interval
    lead: Interval


def judge_heads(
    docs: Sequence[Doc],
    backbone: Backbone,
    layers: str,
    validated: Validated,
    heads: Sequence[str],
    *,
    seed: int = 0,
    meanings: Mapping[str, Label] | None = None,
) -> list[JudgedHead]:
    """Train heads, and the encoder with them, in each fold of a cross-validation.

    Each with the rates of `RATES`, or the middle of those that `fewshot` tries.

    docs (Sequence[Doc]): The labelled set of `validated`, entities in `doc.ents`.
    backbone (Backbone): The encoder.
    layers (str): Which of its layer sets is read.
    validated (Validated): What the probe made of the same texts with this seed.
    heads (Sequence[str]): The heads, of `heads.TRAINED`.
    seed (int): Of the order of the texts, and of the trainings.
    meanings (Mapping[str, Label] | None): What labels are called, for `nuner_ner`.
    RETURNS (list[JudgedHead]): The heads, the best first.
    """
    training = Training()
    size = validated.sizes[-1]
    folds = cut_folds(validated.groups, seed=seed)
    probe = validated.entities[0, -1]
    judged = []
    for head in heads:
        counts = np.zeros_like(probe)
        middle = TRAINED[head].rates[len(TRAINED[head].rates) // 2]
        title = printable(f"{backbone.name}, {head}")
        for train, held_out in tqdm(folds, desc=title, leave=False, disable=None):
            chosen = [docs[i] for i in train[:size]]
            unseen = [docs[i] for i in held_out]
            if not any(doc.ents for doc in chosen):
                # Of nothing nothing is learned.
                counts[held_out] = count_spans(unseen, [[] for _ in unseen])
                continue
            task = Task(
                docs=chosen,
                labels=validated.labels,
                backbone=backbone.source,
                hidden_layers=backbone.layers[layers],
                tuned=True,
                rates=RATES.get(head, middle),
                steps=training.count_steps(len(chosen)),
                seed=seed,
                training=training,
                meanings=meanings or {},
            )
            predicted = fit_head(head, task)(unseen)
            counts[held_out] = count_spans(unseen, [list(d.ents) for d in predicted])
        judged.append(_judge(head, size, counts, probe, validated.groups, seed))
    return sorted(judged, key=lambda one: -one.score.value)


def _judge(
    head: str, size: int, counts: Ints, probe: Ints, groups: Ints, seed: int
) -> JudgedHead:
    # The same texts for both, so that their difference is surer than each.
    ours, theirs = (sample_counts(one, groups, seed=seed) for one in (counts, probe))
    learned = counts[:, 2].sum() * size / len(counts)
    score = Interval.from_samples(add_luck(ours, learned, seed=seed))
    lead = Interval.from_samples(get_f(ours) - get_f(theirs))
    return JudgedHead(head, size, score, lead)
