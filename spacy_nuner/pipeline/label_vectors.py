"""What a concept encoder knows of labels: weights that they start from."""

import contextlib
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from thinc.api import Model

from ..encoders.folder import (
    BACKGROUND_FILE,
    CONCEPT_ENCODER,
    INFO_FILE,
    load_background,
    read_info,
)
from ..encoders.names import ENCODER_FILES, fetch, find_folder
from ..encoders.safety import CONFIG, TOKENIZER_FILES, WEIGHTS, check_file_names
from ..models.concept_tagger import set_rows
from .decoding import Floats
from .labels import Label

# What is downloaded of a backbone on the hub.
PATTERNS = (INFO_FILE, *(f"{CONCEPT_ENCODER}/{name}" for name in ENCODER_FILES))
# What a concept encoder may consist of in the bytes of a pipeline.
FILES = {
    *(INFO_FILE, BACKGROUND_FILE),
    *(f"{CONCEPT_ENCODER}/{name}" for name in (CONFIG, WEIGHTS, *TOKENIZER_FILES)),
}
TEMPORARY = "spacy_nuner.tmp"
# How far over its mean on ordinary text, in standard deviations, the logit of a concept
# has to be for a probability of one half: 3 was better than 2, and than other measures
# of what is usual, on eight development sets (docs/decisions.md, "What is usual for a
# concept is taken off it").
DEVIATIONS = 3.0


class LabelVectors:
    """Weights of a linear head for labels that were only named.

    For a token vector h and the vector w of a concept the pre-training has
    logit = scale * (h . w) / sqrt(width) + bias, which is a row of a linear layer. How
    large that is on ordinary text differs from concept to concept, since frequent ones
    were right more often; so what is usual for a concept is subtracted from its bias.
    """

    def __init__(self, folder: str | Path) -> None:
        """Load the concept encoder of a backbone.

        folder (str | Path): A backbone folder that has one, or what `to_disk` made.
        RAISES (NunerError): What `read_info` and `ConceptEncoder.from_folder` raise.
        """
        # Takes torch and transformers with it, which a pipeline that never asks for
        # a new label can do without.
        from ..encoders.concept_encoder import ConceptEncoder

        info = read_info(folder)
        self.encoder = ConceptEncoder.from_folder(folder)
        # from_folder refuses a folder without nuner.json.
        self.scale = info.scale if info else 1.0
        self.bias = info.bias if info else 0.0
        width = self.encoder.encoder.config.hidden_size
        self.background = load_background(folder, width=width)
        self._files = {
            name: (Path(folder) / name).read_bytes()
            for name in (INFO_FILE, BACKGROUND_FILE)
        }

    @cached_property
    def digest(self) -> str:
        """RETURNS (str): What tells the backbone from any other, wherever it lies: a
        hash of the vectors that its text encoder has of ordinary text.
        """
        return hashlib.sha256(self._files[BACKGROUND_FILE]).hexdigest()

    def get_weights(
        self, names: Sequence[str], descriptions: Sequence[str | None]
    ) -> tuple[Floats, Floats]:
        """Make rows of a linear layer on the last hidden layer.

        names (Sequence[str]): What the concepts are called.
        descriptions (Sequence[str | None]): What they mean, where that is known.
        RETURNS (tuple): Weights, *Shape:* (n_concepts, width), and biases,
            *Shape:* (n_concepts,)
        """
        vectors = self._encode(names, descriptions)
        weights = self.scale * vectors / np.sqrt(vectors.shape[1])
        logits = self.background @ weights.T + self.bias
        usual = logits.mean(axis=0) + DEVIATIONS * logits.std(axis=0)
        # Where a concept is common, as in a corpus of one subject, no logit may be as
        # far from the mean; 0 is where pre-training is as sure of it as not.
        biases = self.bias - np.minimum(usual, 0)
        return weights.astype("f"), biases.astype("f")

    def _encode(
        self, names: Sequence[str], descriptions: Sequence[str | None]
    ) -> Floats:
        """Encode concepts: those that are described in three wordings.

        The mean of the name, the name with its description and the description alone
        finds more than any of them (docs/recipe.md, "Wordings of a label").
        """
        vectors = self.encoder.encode(names)
        described = [i for i, text in enumerate(descriptions) if text]
        if described:
            names = [names[i] for i in described]
            texts = [descriptions[i] or "" for i in described]
            vectors[described] += self.encoder.encode(names, texts)
            vectors[described] += self.encoder.encode(texts)
            vectors[described] /= 3
        return vectors

    def start(
        self,
        model: Model,
        labels: Mapping[str, Label],
        new: Sequence[str],
        *,
        temperature: float = 1.0,
    ) -> None:
        """Give labels the weights that the concept encoder has for their names.

        model (Model): An initialized concept tagger with a linear head; it is changed.
        labels (Mapping[str, Label]): All labels of the model, in order.
        new (Sequence[str]): Those that shall start.
        temperature (float): What the logits of the others were divided by.
        """
        names = [labels[label].get_words(label) for label in new]
        descriptions = [labels[label].description for label in new]
        order = list(labels)
        rows = [order.index(label) for label in new]
        weights, biases = self.get_weights(names, descriptions)
        set_rows(model, rows, weights / temperature, biases / temperature)

    def find_cut(self, labels: Sequence[Label], keys: Sequence[str]) -> list[str]:
        """Find labels whose words are longer than the concept encoder takes.

        labels (Sequence[Label]): What is known of them.
        keys (Sequence[str]): The labels themselves.
        RETURNS (list[str]): Those of which the end is not read.
        """
        names = [known.get_words(key) for known, key in zip(labels, keys, strict=True)]
        descriptions = [known.description for known in labels]
        pieces = self.encoder.pieces(names, descriptions, whole=True)
        longest = self.encoder.max_length
        return [
            key for key, ids in zip(keys, pieces, strict=True) if len(ids) > longest
        ]

    def to_disk(self, folder: str | Path) -> None:
        """Save it as a backbone folder that has nothing but the concept encoder.

        folder (str | Path): Files of the same names in it are replaced.
        """
        folder = Path(folder)
        (folder / CONCEPT_ENCODER).mkdir(parents=True, exist_ok=True)
        # A temporary folder first: the weights may be mapped from the file that is
        # replaced. Its name tells what a save that was killed has left.
        temporary = folder / TEMPORARY
        remove_label_vectors(temporary)
        self.encoder.encoder.save_pretrained(temporary / CONCEPT_ENCODER)
        self.encoder.tokenizer.save_pretrained(temporary / CONCEPT_ENCODER)
        for file, content in self._files.items():
            (temporary / file).write_bytes(content)
        for path in filter(Path.is_file, sorted(temporary.rglob("*"))):
            path.replace(folder / path.relative_to(temporary))
        remove_label_vectors(temporary)

    def to_bytes(self) -> dict[str, bytes]:
        """RETURNS (dict[str, bytes]): The files of `to_disk`."""
        with tempfile.TemporaryDirectory() as folder:
            self.to_disk(folder)
            paths = {name: Path(folder) / name for name in sorted(FILES)}
            return {name: p.read_bytes() for name, p in paths.items() if p.is_file()}

    @classmethod
    def from_bytes(cls, files: Mapping[str, bytes]) -> "LabelVectors":
        """Load what `to_bytes` made.

        files (Mapping[str, bytes]): The files.
        RETURNS (LabelVectors): The same.
        RAISES (NunerError): N020 for names of other files, before one is written;
            what loading a folder raises.
        """
        check_file_names(files, FILES, source="the saved concept encoder")
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            return cls(folder)


def remove_label_vectors(folder: Path) -> None:
    """Remove what `LabelVectors.to_disk` has written, and nothing else.

    folder (Path): The folder; it need not exist, and stays if more is in it.
    """
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    for one in (folder / CONCEPT_ENCODER, folder):
        # Not empty, or not there.
        with contextlib.suppress(OSError):
            one.rmdir()


def find_label_vectors(backbone: str) -> Path | None:
    """Find the concept encoder that belongs to a backbone.

    backbone (str): The backbone, in one of the forms of names. Of one on the hub only
        the concept encoder is downloaded.
    RETURNS (Path | None): The backbone folder, or None if it has no concept encoder:
        a base encoder, or a published one (NuNER's authors did not keep theirs).
    RAISES (NunerError): N001 if there is no such backbone.
    """
    folder = find_folder(backbone) or fetch(backbone, PATTERNS)
    has_all = read_info(folder) is not None and (folder / CONCEPT_ENCODER).is_dir()
    return folder if has_all and (folder / BACKGROUND_FILE).is_file() else None
