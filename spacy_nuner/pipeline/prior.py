"""What a backbone's concept encoder knows of labels by their names."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..corpus.clean import clean_concept
from ..pretrain.backbone import CONCEPT_ENCODER, read_info
from ..weights import resolve_weights


class ConceptPrior:
    """Weights of a linear head for concepts that were only named.

    For a token vector h and the vector w of a concept the pre-training has
    logit = scale * (h . w) / sqrt(width) + bias, which is a row of a linear layer.
    """

    def __init__(self, folder: str | Path) -> None:
        """Load the concept encoder of a backbone.

        folder (str | Path): A backbone folder that has one.
        RAISES (NunerError): What `read_info` and `ConceptEncoder.from_folder` raise.
        """
        # Takes torch and transformers with it, which a pipeline that never asks for
        # a new concept can do without.
        from ..pretrain.encoders import ConceptEncoder

        info = read_info(folder)
        self.encoder = ConceptEncoder.from_folder(folder)
        # from_folder refuses a folder without nuner.json.
        self.scale = info.scale if info else 1.0
        self.bias = info.bias if info else 0.0

    def get_weights(
        self, names: Sequence[str], descriptions: Sequence[str | None]
    ) -> tuple[Any, Any]:
        """Make rows of a linear layer on the last hidden layer.

        names (Sequence[str]): What the concepts are called.
        descriptions (Sequence[str | None]): What they mean, where that is known.
        RETURNS (tuple): Weights, *Shape:* (n_concepts, width), and biases,
            *Shape:* (n_concepts,)
        """
        vectors = self.encoder.encode(names, descriptions)
        weights = self.scale * vectors / np.sqrt(vectors.shape[1])
        return weights.astype("f"), np.full(len(names), self.bias, dtype="f")


def find_prior(name: str) -> Path | None:
    """Find the concept encoder that belongs to a backbone.

    name (str): The backbone, in one of the three forms of names.
    RETURNS (Path | None): The backbone folder, or None if it has no concept encoder:
        a base encoder, or a published one (NuNER's authors did not keep theirs).
    """
    folder = Path(resolve_weights(name))
    has_both = read_info(folder) is not None and (folder / CONCEPT_ENCODER).is_dir()
    return folder if has_both else None


def readable_name(label: str) -> str:
    """Turn a label into the name of a concept, as the pre-training saw them.

    label (str): Such as "PERSON", "Restaurant_Name", "relationshipToHead".
    RETURNS (str): Such as "person", "restaurant name", "relationship to head".
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[_\-/]+", " ", label))
    return clean_concept(words) or label
