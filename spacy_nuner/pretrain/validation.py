"""Sentences held out of training, and how well the two encoders agree on them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import NunerError
from .batches import Collator
from .contrast import ContrastiveModel
from .features import Features
from .objective import dense_targets

HASHES = 2**32
# Word pieces of a batch. Average precision depends on how many concepts are in one, so
# this is no setting: runs can be compared.
BATCH_PIECES = 2048


def hold_out(features: Features, share: float) -> tuple[Features, Features]:
    """Split the rows of a corpus in two, by a hash of the text that each is of.

    So a sentence that comes twice, and the parts of a long text, are on one side; and
    a sentence that is held out once is held out of every run with the same share,
    whatever stands beside it in the corpus.

    features (Features): The corpus.
    share (float): Share of the texts that is held out.
    RETURNS (tuple[Features, Features]): What is left for training, what is held out.
    RAISES (NunerError): N315 if nothing is left for training.
    """
    hashes = features.texts.data.column("text_hash").to_numpy()
    held_out = hashes < share * HASHES
    if held_out.all():
        raise NunerError("N315", share=share, count=len(hashes))
    train, validation = (
        Features(features.texts.select(places), features.concepts, places)
        for places in (np.flatnonzero(~held_out), np.flatnonzero(held_out))
    )
    return train, validation


def score_pairs(
    model: ContrastiveModel, *, positives: Tensor, **batch: Any
) -> tuple[Tensor, Tensor]:
    """Compare all word pieces of a batch with its concepts.

    model (ContrastiveModel): In evaluation mode; the other arguments are those of its
        `forward`.
    RETURNS (tuple[Tensor, Tensor]): Logits, and 1 where they should be high, else 0.
        *Shape:* (pieces, concepts)
    """
    logits = model.similarity(*model.encode(**batch))
    return logits, dense_targets(positives, *logits.shape)


class Validation:
    """Average precision of word pieces and concepts on sentences held out."""

    def __init__(self, features: Features, tokenizer: Any) -> None:
        """features (Features): What training does not see.

        tokenizer (PreTrainedTokenizerFast): Knows the padding.
        RAISES (NunerError): N006 if scikit-learn is not installed.
        """
        try:
            from sklearn.metrics import average_precision_score
        except ImportError as error:
            package = {"package": "scikit-learn", "extra": "pretrain"}
            raise NunerError("N006", **package) from error
        self._average_precision = average_precision_score
        self.texts = features.texts
        lengths = np.asarray(self.texts["length"][:])
        # By length for less padding. The batches are the same at every look.
        order = np.argsort(lengths, kind="stable")
        number = np.cumsum(lengths[order], dtype="i8") // BATCH_PIECES
        borders = np.flatnonzero(np.diff(number)) + 1
        self.batches = np.split(order, borders)
        # Half the concepts with their description, always the same ones.
        self.collate = Collator(features.concepts, tokenizer, description_dropout=0.5)

    @torch.no_grad()
    def __call__(self, model: ContrastiveModel) -> float:
        """Score every pair of a word piece and a concept of its batch.

        model (ContrastiveModel): In evaluation mode.
        RETURNS (float): Area under the curve of precision over recall, all pairs of
            all batches in one ranking. From 0 to 1; scores by chance have the share
            of pairs that belong together.
        """
        device = next(model.parameters()).device
        scores, gold = [], []
        for rows in self.batches:
            batch = self.collate([self.texts[int(row)] for row in rows])
            batch = {key: value.to(device) for key, value in batch.items()}
            logits, targets = score_pairs(model, **batch)
            scores.append(logits.flatten().float().cpu().numpy())
            gold.append(targets.flatten().cpu().numpy())
        return float(
            self._average_precision(np.concatenate(gold), np.concatenate(scores))
        )
