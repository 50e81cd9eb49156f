"""What a user's own labelled texts say: which backbone, which F1, what to label."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spacy.tokens import Doc

from ..encoders.layers import load_encoder
from .breakdown import find_confused
from .compare import Backbone
from .cross_validation import Validated, cross_validate
from .extrapolation import LEVEL, Interval, LearningCurve
from .head_choice import JudgedHead
from .probe import embed_tokens
from .results import title_layers

# With fewer mentions it is luck which of a label were seen.
FEW_MENTIONS = 10
# A label whose F1 rose by more when the texts were doubled last has not seen enough.
STEEP = 0.05
MOST_NAMED = 5
# What is said is said of the probe.
UNTRAINED = (
    "These are figures of a linear probe on a frozen encoder. A trained head usually "
    "has more: --heads nuner_ner measures it."
)
# Where a head of that name is configured.
CONFIGS = {"nuner_ner": "configs/ner.cfg", "ner": "configs/ner_parser.cfg"}


@dataclass(frozen=True)
class Candidate:
    """A backbone that was judged on a labelled set by cross-validation.

    backbone, layers (str): What it is, and the layer set that was read.
    validated (Validated): What its probe predicted.
    curve (LearningCurve): What follows from that.
    """

    backbone: str
    layers: str
    validated: Validated
    curve: LearningCurve

    @property
    def score(self) -> float:
        """RETURNS (float): Entity F1 with the most texts that were learned from."""
        return float(self.curve.scores[-1])


@dataclass(frozen=True)
class LabelRow:
    """A label of the set.

    label (str): The label.
    mentions (int): How many the set has of it.
    f (float): Token F1 with the most texts that were learned from.
    rise (float): What the last doubling of the texts added to it.
    """

    label: str
    mentions: int
    f: float
    rise: float

    @property
    def is_short(self) -> bool:
        """RETURNS (bool): Whether more examples of it are worth the most."""
        return self.mentions < FEW_MENTIONS or self.rise > STEEP


def judge_backbones(
    docs: Sequence[Doc], backbones: Sequence[Backbone], *, seed: int = 0
) -> list[Candidate]:
    """Judge backbones by cross-validation of the frozen probe on one labelled set.

    docs (Sequence[Doc]): The set, entities in `doc.ents`.
    backbones (Sequence[Backbone]): The encoders to compare.
    seed (int): Of the order of the texts, the same for all backbones.
    RETURNS (list[Candidate]): One for each backbone and layer set, the best first.
    RAISES (NunerError): What `cross_validate` raises.
    """
    docs = [doc for doc in docs if len(doc)]
    candidates = []
    for backbone in backbones:
        tokenizer, encoder = load_encoder(backbone.source)
        for name, layers in backbone.layers.items():
            title = f"{backbone.name}, {title_layers(name)}"
            vectors = embed_tokens(
                docs, tokenizer, encoder, hidden_layers=layers, title=title
            )
            validated = cross_validate(
                docs, vectors.reshape(len(vectors), -1), seed=seed, title=title
            )
            curve = LearningCurve(validated, seed=seed)
            candidates.append(Candidate(backbone.name, name, validated, curve))
    return sorted(candidates, key=lambda one: -one.score)


def list_labels(candidate: Candidate, docs: Sequence[Doc]) -> list[LabelRow]:
    """List the labels of a set, those with the fewest mentions first.

    candidate (Candidate): What they were judged with.
    docs (Sequence[Doc]): The set.
    RETURNS (list[LabelRow]): A row for each label.
    """
    mentions = Counter(ent.label_ for doc in docs for ent in doc.ents)
    validated = candidate.validated
    last = validated.token_f(-1)
    before = validated.token_f(-2) if len(validated.sizes) > 1 else last
    rows = [
        LabelRow(label, mentions[label], f, f - before[label])
        for label, f in last.items()
    ]
    return sorted(rows, key=lambda row: (row.mentions, row.label))


def give_advice(
    candidates: Sequence[Candidate],
    labels: Sequence[LabelRow],
    heads: Sequence[JudgedHead] = (),
) -> str:
    """Say in words what was found.

    candidates (Sequence[Candidate]): The best first.
    labels (Sequence[LabelRow]): The labels with the best candidate.
    heads (Sequence[JudgedHead]): Heads on the best candidate, the best first.
    RETURNS (str): A sentence a line.
    """
    best = candidates[0]
    curve, texts = best.curve, best.curve.texts
    lines = [_recommend(candidates)]
    lines.append(
        f"Expect an entity F1 of {_show(curve.predict(texts))} from a linear probe "
        f"with the {texts} texts that are labelled, on other texts of the same source."
    )
    twice = 2 * texts
    lines.append(
        f"Twice as many, {twice} texts, would bring {_show(curve.predict(twice))}: a "
        f"difference of {_show(curve.gain(twice), signed=True)} points."
    )
    lines.append(_recommend_head(heads[0]) if heads else UNTRAINED)
    short = [row for row in labels if row.is_short]
    if short:
        named = [
            f"{row.label} ({row.mentions} mentions, F1 {100 * row.f:.0f})"
            for row in short[:MOST_NAMED]
        ]
        more = len(short) - len(named)
        rest = f" and {more} more" if more else ""
        lines.append(f"Labels short of examples: {', '.join(named)}{rest}.")
    else:
        lines.append(
            f"No label is short of examples: each has {FEW_MENTIONS} mentions or more, "
            "and the last doubling of the texts brought none of them over "
            f"{100 * STEEP:.0f} points."
        )
    lines.append(_name_confused(best.validated))
    return "\n".join(lines)


def to_json(
    candidates: Sequence[Candidate],
    labels: Sequence[LabelRow],
    heads: Sequence[JudgedHead] = (),
) -> dict[str, Any]:
    """Give the numbers behind the advice.

    candidates (Sequence[Candidate]): The best first.
    labels (Sequence[LabelRow]): The labels with the best candidate.
    heads (Sequence[JudgedHead]): Heads on the best candidate, the best first.
    RETURNS (dict[str, Any]): What can be written as JSON.
    """
    texts = candidates[0].curve.texts
    return {
        "texts": texts,
        "level": LEVEL,
        "backbones": [
            {
                "backbone": one.backbone,
                "layers": one.layers,
                "curve": dict(
                    zip(one.curve.sizes, one.curve.scores.tolist(), strict=True)
                ),
                "expected": one.curve.predict(texts)._asdict(),
                "twice": one.curve.predict(2 * texts)._asdict(),
                "gain": one.curve.gain(2 * texts)._asdict(),
                "behind_the_best": candidates[0].curve.compare(one.curve)._asdict(),
            }
            for one in candidates
        ],
        "labels": [
            {
                "label": row.label,
                "mentions": row.mentions,
                "token_f": row.f,
                "rise": row.rise,
                "short": row.is_short,
            }
            for row in labels
        ],
        "heads": [
            {
                "head": one.head,
                "texts": one.texts,
                "score": one.score._asdict(),
                "over_the_probe": one.lead._asdict(),
            }
            for one in heads
        ],
        "confused": find_confused(_as_table(candidates[0].validated)),
    }


def _recommend(candidates: Sequence[Candidate]) -> str:
    best = candidates[0]
    text = f"Take {best.backbone}, {title_layers(best.layers)}"
    others = (one for one in candidates if one.backbone != best.backbone)
    second = next(others, None)
    if second is None:
        return f"{text}; there was no other backbone to compare it with."
    lead = best.curve.compare(second.curve)
    against = f"{second.backbone}, {title_layers(second.layers)}"
    text += (
        ": the F1 of a linear probe on it, frozen, is "
        f"{_show(lead, signed=True)} points from that of {against}"
    )
    return (
        f"{text}, so these texts can't tell the two apart."
        if lead.low <= 0
        else (f"{text}.")
    )


def _recommend_head(best: JudgedHead) -> str:
    config = f" ({CONFIGS[best.head]})" if best.head in CONFIGS else ""
    found = (
        f"{best.head}{config}, trained with the encoder on {best.texts} of these "
        f"texts, has an entity F1 of {_show(best.score)} on the others: "
        f"{_show(best.lead, signed=True)} points from the probe's"
    )
    if best.lead.low > 0:
        return f"Take the head {found}."
    if best.lead.high < 0:
        return f"The head {found}: so few texts teach it less."
    return f"The head {found}, so these texts can't tell the two apart."


def _name_confused(validated: Validated) -> str:
    table = _as_table(validated)
    pairs = find_confused(table)
    if not pairs:
        return "No two labels are confused with one another."
    one, other, count = pairs[0]
    total = sum(sum(table[label].values()) for label in (one, other))
    return (
        f"Confused most: {one} and {other}; {count / total:.0%} of their tokens are "
        "given the label of the other."
    )


def _as_table(validated: Validated) -> dict[str, dict[str, int]]:
    """Tokens by label and predicted label, with the most texts to learn from."""
    rows = validated.tokens[-1].tolist()
    return {
        label: dict(zip(validated.labels, row, strict=True))
        for label, row in zip(validated.labels, rows, strict=True)
    }


def _show(found: Interval, *, signed: bool = False) -> str:
    """Percent with the interval, such as "52 (90% interval 43 to 60)"."""
    sign = "+" if signed else ""
    value, low, high = (f"{100 * number:{sign}.0f}" for number in found)
    return f"{value} ({LEVEL:.0%} interval {low} to {high})"
