"""The `nuner_concepts` component: spans of labels that may overlap."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from ..errors import Errors, NunerError, Warnings
from ..models.concept_tagger import has_boundary
from .decoding import THRESHOLD, Floats, make_spans, set_ents, set_group
from .label_pipe import LabelPipe

Threshold = float | dict[str, float] | None


class NunerConcepts(LabelPipe):
    """Mark the spans of labels in `doc.spans`, each with a score.

    For each token and label the model has a logit; neighbouring tokens are a span if
    their mean probability is over the threshold. Labels are independent of each other,
    so that their spans may overlap.
    """

    exclusive = False

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], list[Floats2d]],
        name: str,
        *,
        spans_key: str = "concepts",
        threshold: Threshold = None,
        annotate_ents: bool = False,
        **settings: Any,
    ) -> None:
        """See the factory for the settings."""
        self.spans_key = self.described_key = spans_key
        self.annotate_ents = annotate_ents
        threshold = _read_threshold(name, threshold)
        if has_boundary(model):
            raise NunerError(Errors.N514, name=name)
        # Here, since `spacy find-threshold` sets it here.
        self.cfg: dict[str, Any] = {"threshold": threshold}
        self._configured = threshold
        super().__init__(vocab, model, name, **settings)

    @property
    def threshold(self) -> Threshold:
        """RETURNS (float | dict[str, float] | None): The probability over which a span
        belongs to a label, for all or for each; None for 0.5. To set it raises N510
        for what is no probability, and warns (W502) of labels that are not known. One
        for each label is saved with the component, as no key of a config has to be,
        and holds until the config has another threshold than it had; one for all is
        saved with the config: set `nlp.get_pipe_config(NAME)["threshold"]` too.
        """
        found: Threshold = self.cfg["threshold"]
        return found

    @threshold.setter
    def threshold(self, value: Threshold) -> None:
        self.cfg["threshold"] = _read_threshold(self.name, value)
        self._check_labels()

    def _check_labels(self) -> None:
        unknown = set(_by_label(self.threshold)) - set(self.labels)
        if unknown:
            labels = ", ".join(sorted(unknown))
            message = Warnings.W502.format(name=self.name, labels=labels)
            warnings.warn(message, stacklevel=3)

    @property
    def thresholds(self) -> Floats:
        """RETURNS (Floats): The threshold of each label. *Shape:* (n_labels,)"""
        each, one = _by_label(self.threshold), self.threshold
        default = THRESHOLD if one is None or isinstance(one, Mapping) else one
        return np.asarray([each.get(label, default) for label in self.labels], "f8")

    def _get_state(self) -> dict[str, Any]:
        state = super()._get_state()
        if isinstance(each := self.threshold, Mapping):
            # None of any label too: the config may hold some.
            state["threshold"] = {"configured": self._configured, "each": dict(each)}
        return state

    def _set_state(self, state: Mapping[str, Any], *, reset: bool) -> None:
        super()._set_state(state, reset=reset)
        saved = state.get("threshold")
        if saved is not None and saved["configured"] == self._configured:
            self.cfg["threshold"] = _read_threshold(self.name, saved["each"])
        elif _by_label(self.threshold):
            # Set since, and not saved.
            self.cfg["threshold"] = self._configured

    def remove_label(self, label: str) -> None:
        """Remove a label with its weights, what is known of it and its threshold.

        label (str): The label; the others stay as they are.
        RAISES (NunerError): N506 if there is no such label.
        """
        super().remove_label(label)
        if each := _by_label(self.threshold):
            # A new one: the config may hold the old one too.
            self.cfg["threshold"] = {x: t for x, t in each.items() if x != label}

    def set_annotations(self, docs: Iterable[Doc], logits: Sequence[Floats2d]) -> None:
        """Set spans and scores, and entities where asked for.

        docs (Iterable[Doc]): The docs to change.
        logits (Sequence[Floats2d]): What `predict` returned for them.
        """
        docs = list(docs)
        made = make_spans(docs, self.find_spans(docs, logits), self.labels)
        for doc, (spans, scores) in zip(docs, made, strict=True):
            set_group(doc, spans, scores, key=self.spans_key)
            if self.annotate_ents:
                # Of spans that overlap the one that covers most: by names alone that
                # is better than the score (docs/decisions.md).
                coverage = scores * np.asarray([len(span) for span in spans])
                set_ents(doc, spans, coverage, overwrite=self.overwrite)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score the predictions.

        examples (Iterable[Example]): Predictions and annotations.
        RETURNS (dict[str, Any]): The scores; see `score_concepts`.
        """
        if self.scorer is None:
            return {}
        keys = {"spans_key": self.spans_key, "annotate_ents": self.annotate_ents}
        return self.scorer(examples, **{**kwargs, **keys})


def _by_label(threshold: Threshold) -> Mapping[str, float]:
    return threshold if isinstance(threshold, Mapping) else {}


def _read_threshold(name: str, threshold: Any) -> Threshold:
    """Take numbers of any kind as those that JSON has, and refuse numbers with which
    nothing or everything would be found, in silence.
    """
    if isinstance(threshold, Mapping):
        each: Iterable[Any] = threshold.values()
    else:
        each = [] if threshold is None else [threshold]
    numbers = (int, float, np.floating)
    if not all(isinstance(one, numbers) and 0 <= one <= 1 for one in each):
        expected = "a probability from 0 to 1, or one for each label"
        raise NunerError(
            Errors.N510, name=name, key="threshold", found=threshold, expected=expected
        )
    if isinstance(threshold, Mapping):
        return {label: float(one) for label, one in threshold.items()}
    return None if threshold is None else float(threshold)
