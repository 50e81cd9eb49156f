"""A component that sets its concepts up by their names, when they are first needed."""

import threading
from typing import Any

from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc

from ..errors import NunerError
from ..models.tagger import has_linear_head
from .naming import load_prior, start_from_names
from .prior import ConceptPrior
from .upstream import find_listener

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
            raise NunerError("N504", name=self.name)
        prior = self._get_start()
        if prior is None:
            backbone = self.cfg["backbone"] or "the backbone"
            raise NunerError("N503", name=self.name, backbone=backbone)
        labels = self.cfg["labels"]
        sample = Doc(self.vocab, words=["text"])
        empty = self.model.ops.alloc2f(1, len(labels))
        self.model.initialize(X=[sample], Y=[empty])
        start_from_names(self.model, labels, prior, self.cfg)
