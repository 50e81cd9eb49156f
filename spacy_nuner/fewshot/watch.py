"""The frozen probe as pre-training asks for it: one set, one k, the same draws."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from spacy.tokens import Doc
from torch import nn

from .datasets import read_docs
from .features import embed_tokens
from .probe import Gold, encode_labels, find_labels, fit_probe
from .sampling import draw_docs, gather_tokens


class SetProbe:
    """Probes an encoder on a labelled set, always with the same draws."""

    def __init__(
        self, train: Sequence[Doc], dev: Sequence[Doc], *, k: int, draws: int
    ) -> None:
        """train (Sequence[Doc]): The pool to draw from, entities in `doc.ents`.

        dev (Sequence[Doc]): What the probe is scored on.
        k (int): Mentions of each label; of one that has fewer, all are taken.
        draws (int): How many draws to take the mean of.
        RAISES (NunerError): N623 if the sets have no label in common.
        """
        self.gold = Gold(dev, find_labels(train, dev))
        drawn = [
            draw_docs(train, k, seed=seed, allow_fewer=True) for seed in range(draws)
        ]
        self.dev = dev
        self.pool, self.draws = gather_tokens(train, drawn)
        self.pool_gold = encode_labels(self.pool, self.gold.labels)

    @classmethod
    def from_files(
        cls, train: Path, dev: Path, *, lang: str, k: int, draws: int
    ) -> "SetProbe":
        """Read the sets, in any form that `read_docs` takes.

        train (Path): The file to draw from.
        dev (Path): The file to score on.
        lang (str): Language of the tokenizer for texts.
        k (int): Mentions of each label.
        draws (int): How many draws.
        RETURNS (SetProbe): The probe.
        RAISES (NunerError): What `read_docs` raises; N623.
        """
        docs = (read_docs(path, lang=lang) for path in (train, dev))
        return cls(*docs, k=k, draws=draws)

    def __call__(
        self, tokenizer: Any, encoder: nn.Module, hidden_layers: list[int]
    ) -> dict[str, float]:
        """Probe an encoder; see `pretrain.watch.Probe`.

        tokenizer (PreTrainedTokenizerFast): Its tokenizer.
        encoder (nn.Module): The encoder, in evaluation mode.
        hidden_layers (list[int]): The layers to read side by side.
        RETURNS (dict[str, float]): "probe_token_f" (macro over labels) and
            "probe_ents_f" (micro), from 0 to 1, means over the draws.
        """
        # What embeds is frozen and moved; training goes on with the encoder as it is.
        encoder = copy.deepcopy(encoder)
        pool, dev = (
            embed_tokens(
                docs, tokenizer, encoder, hidden_layers=hidden_layers, title="probe"
            ).reshape(sum(map(len, docs)), -1)
            for docs in (self.pool, self.dev)
        )
        scores = []
        for tokens in self.draws:
            probe = fit_probe(
                pool[tokens], self.pool_gold[tokens], n_labels=len(self.gold.labels)
            )
            scores.append(self.gold.score(probe.predict(dev)))
        return {
            "probe_token_f": float(np.mean([s["macro_token_f"] for s in scores])),
            "probe_ents_f": float(np.mean([s["ents_f"] or 0 for s in scores])),
        }
