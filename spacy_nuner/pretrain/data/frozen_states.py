"""The outputs of the frozen layers, computed once and kept in files."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from ...encoders.concept_encoder import pad_pieces
from ...encoders.halves import run_bottom
from ...files import replacing
from .features import Features

INFO_FILE = "states.json"
TEXTS_FILE = "texts.bin"
CONCEPTS_FILE = "concepts.bin"
# Share of the free disk that is taken without being asked for.
DISK_SHARE = 0.25
# Word pieces that are encoded at once, and that are sorted by length together.
PIECES_AT_ONCE = 8_192
PIECES_A_POOL = 32_768

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class PackedStates:
    """Hidden states of rows of word pieces, one behind another, mapped into memory."""

    def __init__(self, path: Path, lengths: np.ndarray, width: int, dtype: str) -> None:
        """path (Path): The file.

        lengths (np.ndarray): Word pieces of each row. *Shape:* (rows,)
        width (int): Width of a state.
        dtype (str): Of the numbers: "bfloat16" or "float32".
        """
        size = DTYPES[dtype].itemsize
        # numpy knows no bf16.
        self._kind = DTYPES[dtype]
        self._states = np.memmap(path, f"i{size}", "r").reshape(-1, width)
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._lengths = lengths

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """Read the states of some rows.

        rows (Sequence[int]): Which ones, in any order.
        RETURNS (Tensor): Their states, one row behind another. *Shape:* (pieces, width)
        """
        parts = [
            self._states[self._ends[row] - self._lengths[row] : self._ends[row]]
            for row in rows
        ]
        return torch.from_numpy(np.concatenate(parts)).view(self._kind)


@dataclass
class KeptStates:
    """The states of a corpus."""

    texts: PackedStates
    """One row for each of `Features.texts`."""
    concepts: PackedStates
    """Two rows for each concept: its name alone, then name and description."""

    @classmethod
    def from_folder(cls, folder: Path, features: Features) -> "KeptStates | None":
        """Map the files of `keep_states` into memory.

        folder (Path): Where they are.
        features (Features): The corpus that they were made from.
        RETURNS (KeptStates | None): None if no states are kept there.
        """
        if not (folder / INFO_FILE).exists():
            return None
        info = json.loads((folder / INFO_FILE).read_text(encoding="utf8"))
        form = info["width"], info["dtype"]
        return cls(
            PackedStates(folder / TEXTS_FILE, text_lengths(features), *form),
            PackedStates(folder / CONCEPTS_FILE, concept_lengths(features), *form),
        )


class TextsWithStates(TorchDataset):
    """Rows of `Features.texts`, each with its "states"."""

    def __init__(self, features: Features, states: PackedStates) -> None:
        """features (Features): The corpus, or a part of it.

        states (PackedStates): What is kept of the whole corpus.
        """
        self.texts = features.texts
        self.states = states
        places = features.places
        self.places = np.arange(len(self.texts)) if places is None else places

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = int(self.places[index])
        return {**self.texts[index], "states": self.states[[place]]}


def keep_states(
    features: Features, folder: Path, model: Any, *, dtype: str, quiet: bool = False
) -> None:
    """Run a corpus through the frozen layers of both encoders.

    features (Features): The corpus.
    folder (Path): The folder to make; it stands whole under its name or not at all.
    model (ContrastiveModel): In evaluation mode, on the device to compute on.
    dtype (str): "bfloat16" or "float32", for computing and keeping alike.
    quiet (bool): Whether to show no progress bar.
    RAISES (NunerError): N003 if the place is full or can't be written to.
    """
    texts, concepts = features.texts, features.concepts

    def concept_pieces(start: int, end: int) -> list[list[int]]:
        table = concepts[start // 2 : end // 2]
        pairs = zip(table["name_ids"], table["described_ids"], strict=True)
        return [ids for pair in pairs for ids in pair]

    padding = model.concept_encoder.tokenizer.pad_token_id
    with replacing(folder, marker=INFO_FILE) as target:
        for name, encoder, lengths, read in (
            (
                TEXTS_FILE,
                model.text_encoder,
                text_lengths(features),
                lambda start, end: texts[start:end]["input_ids"],
            ),
            (
                CONCEPTS_FILE,
                model.concept_encoder.encoder,
                concept_lengths(features),
                concept_pieces,
            ),
        ):
            encode = _Bottom(encoder, model.frozen_layers, padding, DTYPES[dtype])
            with (target / name).open("wb") as file:
                for states in tqdm(
                    _pools(encode, lengths, read),
                    desc=f"frozen layers, {name.partition('.')[0]}",
                    disable=quiet,
                ):
                    file.write(states.view(torch.uint8).numpy())
        info = {"width": model.text_encoder.config.hidden_size, "dtype": dtype}
        (target / INFO_FILE).write_text(json.dumps(info), encoding="utf8")


def states_size(features: Features, width: int, dtype: str) -> int:
    """Tell what the states of a corpus take.

    features (Features): The corpus.
    width (int): Width of the encoders.
    dtype (str): "bfloat16" or "float32".
    RETURNS (int): Bytes.
    """
    pieces = int(text_lengths(features).sum()) + int(concept_lengths(features).sum())
    return pieces * width * DTYPES[dtype].itemsize


def fit_on_disk(size: int, place: Path) -> bool:
    """Tell whether states may be kept without being asked for.

    size (int): Their bytes.
    place (Path): A folder on the disk.
    RETURNS (bool): Whether they take a quarter of what is free at most.
    """
    return size <= DISK_SHARE * shutil.disk_usage(place).free


def text_lengths(features: Features) -> np.ndarray:
    """Word pieces of each text.

    features (Features): The corpus.
    RETURNS (np.ndarray): *Shape:* (texts,)
    """
    return features.texts.data.column("length").to_numpy()


def concept_lengths(features: Features) -> np.ndarray:
    """Word pieces of each concept, by its name alone and with its description in turn.

    features (Features): The corpus.
    RETURNS (np.ndarray): *Shape:* (2 * concepts,)
    """
    table = features.concepts.data
    columns = [
        pc.list_value_length(table.column(key)).to_numpy()
        for key in ("name_ids", "described_ids")
    ]
    return np.stack(columns, axis=1).ravel()


class _Bottom:
    """Runs rows of any length through the frozen layers, sorted by length."""

    def __init__(
        self, encoder: Any, frozen: int, padding: int, dtype: torch.dtype
    ) -> None:
        self.encoder = encoder
        self.frozen = frozen
        self.padding = padding
        self.dtype = dtype

    @torch.inference_mode()
    def __call__(self, rows: list[list[int]]) -> Tensor:
        """The states of the rows, one behind another."""
        device = self.encoder.device
        lengths = np.array([len(row) for row in rows])
        found: list[Any] = [None] * len(rows)
        for part in _batches(lengths):
            ids, mask = pad_pieces([rows[i] for i in part], self.padding)
            inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
            with torch.autocast(
                device.type, torch.bfloat16, enabled=self.dtype is torch.bfloat16
            ):
                states = run_bottom(self.encoder, self.frozen, inputs)
            states = states.to("cpu", self.dtype)
            for i, row in zip(part, states, strict=True):
                found[i] = row[: lengths[i]]
        return torch.cat(found)


def _batches(lengths: np.ndarray) -> Iterator[list[int]]:
    """Rows of like length whose padded word pieces stay in the limit."""
    batch: list[int] = []
    for row in np.argsort(-lengths, kind="stable").tolist():
        if batch and lengths[batch[0]] * (len(batch) + 1) > PIECES_AT_ONCE:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _pools(
    encode: _Bottom,
    lengths: np.ndarray,
    read: Callable[[int, int], list[list[int]]],
) -> Iterator[Tensor]:
    """States of all rows, as many at a time as are sorted by length together."""
    borders = np.cumsum(lengths, dtype=np.int64) // PIECES_A_POOL
    starts = np.flatnonzero(np.diff(borders, prepend=-1) > 0)
    # Concepts are read as pairs of rows.
    starts = np.unique(starts // 2 * 2)
    ends = [*starts[1:].tolist(), len(lengths)]
    for start, end in zip(starts.tolist(), ends, strict=True):
        yield encode(read(start, end))
