"""The backbone folder: an encoder in the form of Hugging Face, and its metadata.

    config.json, model.safetensors, tokenizer files   the text encoder
    concept_encoder/                                   the same form
    concept_encoder/background.safetensors             vectors of ordinary text
    nuner.json                                         `BackboneInfo`
    README.md                                          the model card

This module imports no torch, so a pipeline can look at a backbone before it loads it.
"""

import errno
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ..errors import Errors, NunerError
from ..masking import mask_texts
from .card import model_card
from .safety import check_header, find_template_fault, read_object

FORMAT = 1
INFO_FILE = "nuner.json"
CONCEPT_ENCODER = "concept_encoder"
BACKGROUND_FILE = f"{CONCEPT_ENCODER}/background.safetensors"
# Far over what is trained with; each piece is memory when concepts are encoded.
MAX_CONCEPT_LENGTH = 4096
# Of scale and bias: fp32, which logits are in, goes up to 3e38.
LARGEST_NUMBER = 1e6


@dataclass(frozen=True)
class BackboneInfo:
    """The metadata of a backbone: the content of `nuner.json`."""

    format: int
    """Version of the file; readers refuse what is newer than they are."""
    pooling: Literal["mean", "cls"]
    """How the concept encoder makes one vector of its word pieces."""
    template: str
    """How name and description become the text of a concept."""
    max_concept_length: int
    """Word pieces of a concept that were read."""
    scale: float
    """Learned factor: logit = scale * (h . w) / sqrt(width) + bias."""
    bias: float
    """Learned offset of the logit."""
    frozen_layers: int
    """Bottom layers that are as they were in the base encoder."""
    hidden_layers: list[int]
    """Layers to read from: the last one and one below, see `layers_to_read`."""
    base: str
    """Name of the encoder that training started from."""
    data: dict[str, Any]
    """Counts and hashes of the corpus."""
    training: dict[str, Any]
    """Steps, seconds and the loss at the end."""
    versions: dict[str, str]
    """Versions of the packages that it was made with."""
    settings: dict[str, Any]
    """The config."""
    command: str
    """The command line."""
    created: str
    """When, as ISO 8601 in UTC."""


def read_info(folder: str | Path) -> BackboneInfo | None:
    """Read the metadata of a backbone folder.

    folder (str | Path): The backbone folder, or any other encoder.
    RETURNS (BackboneInfo | None): None for an encoder that is no NuNER backbone of
        ours, such as the base encoder.
    RAISES (NunerError): N302 if the folder is of a newer format, N303 if its
        `nuner.json` can't be used.
    """
    path = Path(folder) / INFO_FILE
    if not path.is_file():
        return None
    try:
        metadata = read_object(path)
    except ValueError as error:
        raise NunerError(Errors.N303, path=path, reason=error) from error
    version = metadata.get("format")
    if type(version) is not int or version < 1:
        reason = f"its format is {version!r}"[:200]
        raise NunerError(Errors.N303, path=path, reason=reason)
    if version > FORMAT:
        raise NunerError(Errors.N302, path=path, found=version, known=FORMAT)
    names = [field.name for field in fields(BackboneInfo)]
    missing = [name for name in names if name not in metadata]
    if missing:
        raise NunerError(Errors.N303, path=path, reason=f"no {', '.join(missing)}")
    # Keys that a later release adds within the format are no concern of ours.
    info = BackboneInfo(**{name: metadata[name] for name in names})
    _check(path, info, ("hidden_layers",))
    return info


def _check(path: Path, info: BackboneInfo, names: Iterable[str]) -> None:
    """Refuse values that are of another type, out of range or not numbers."""
    length = info.max_concept_length
    fits: dict[str, Callable[[], bool]] = {
        "hidden_layers": lambda: is_layer_list(info.hidden_layers),
        "pooling": lambda: info.pooling in ("mean", "cls"),
        "template": lambda: find_template_fault(info.template) is None,
        "max_concept_length": lambda: (
            type(length) is int and 0 < length <= MAX_CONCEPT_LENGTH
        ),
        "scale": lambda: _is_number(info.scale),
        "bias": lambda: _is_number(info.bias),
        "frozen_layers": lambda: (
            type(info.frozen_layers) is int and info.frozen_layers >= 0
        ),
    }
    for name in names:
        value = getattr(info, name)
        expected = str if name in ("base", "command", "created") else dict
        right = fits[name]() if name in fits else isinstance(value, expected)
        if not right:
            reason = f"{name} is {value!r}"[:300]
            raise NunerError(Errors.N303, path=path, reason=reason)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < LARGEST_NUMBER


def read_whole_info(folder: str | Path) -> BackboneInfo:
    """Read the metadata of a backbone folder whose concept encoder is needed.

    folder (str | Path): The backbone folder.
    RETURNS (BackboneInfo): The metadata.
    RAISES (NunerError): N304 if it is no backbone of ours or has no concept encoder;
        what `read_info` raises.
    """
    info = read_info(folder)
    if info is None or not (Path(folder) / CONCEPT_ENCODER).is_dir():
        missing = INFO_FILE if info is None else CONCEPT_ENCODER
        raise NunerError(Errors.N304, path=folder, missing=missing)
    names = [field.name for field in fields(info) if field.name != "format"]
    _check(Path(folder) / INFO_FILE, info, names)
    return info


def recommended_layers(source: str | Path, depth: int) -> list[int]:
    """Get the hidden layers of an encoder to read from.

    source (str | Path): The encoder, as `resolve_weights` gives it.
    depth (int): The number of its layers.
    RETURNS (list[int]): What `nuner.json` recommends, else the last layer and the one
        at half the depth, as NuMind's model cards have it (-1 and -7 of 12 layers).
    RAISES (NunerError): What `read_info` raises; N303 if a layer is not there.
    """
    info = read_info(source)
    if info is None:
        return layers_to_read(depth, 0)
    if not is_layer_list(info.hidden_layers, depth):
        reason = f"hidden_layers are {info.hidden_layers}, of {depth} layers"[:300]
        raise NunerError(Errors.N303, path=Path(source) / INFO_FILE, reason=reason)
    return info.hidden_layers


def is_layer_list(found: Any, depth: int | None = None) -> bool:
    """Whether something is a list of hidden layers to read from.

    found (Any): Indices of hidden layers, -1 for the last.
    depth (int | None): The number of the encoder's layers, if known.
    RETURNS (bool): False for any other index, the last layer not in front, where
        readers of it alone find it, or one that occurs twice.
    """
    return (
        isinstance(found, list)
        and all(type(index) is int and index < 0 for index in found)
        and found[:1] == [-1]
        and len(set(found)) == len(found)
        and (depth is None or min(found) >= -depth - 1)
    )


def layers_to_read(depth: int, frozen: int) -> list[int]:
    """Get the hidden layers of a backbone to recommend.

    depth (int): The number of its layers.
    frozen (int): How many of them, from the bottom, are as in the base encoder.
    RETURNS (list[int]): The last layer and the one at half the depth, or the top frozen
        one where that is over it; -1 is the last.
    """
    # hidden_states[0] is what the embeddings give, hidden_states[n] layer n.
    middle = max(frozen, depth - depth // 2)
    return [-1, middle - depth - 1] if 0 < middle < depth else [-1]


def save_backbone(
    folder: Path,
    info: BackboneInfo,
    *,
    text_encoder: Any,
    concept_encoder: Any,
    tokenizer: Any,
    background: Any,
) -> None:
    """Write a backbone folder.

    folder (Path): An empty folder.
    info (BackboneInfo): What goes into `nuner.json` and the model card.
    text_encoder (PreTrainedModel): What becomes the backbone.
    concept_encoder (PreTrainedModel): The encoder of concepts.
    tokenizer (PreTrainedTokenizerFast): The tokenizer of both.
    background (Tensor): As `sample_background` takes it. *Shape:* (pieces, width)
    RAISES (OSError): If the disk is full or can't be written to.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    encoders = {folder: text_encoder, folder / CONCEPT_ENCODER: concept_encoder}
    try:
        for path, encoder in encoders.items():
            encoder.save_pretrained(path, safe_serialization=True)
            tokenizer.save_pretrained(path)
        save_file({"vectors": background.contiguous()}, folder / BACKGROUND_FILE)
    except SafetensorError as error:
        # The library has its own words for a full disk; to a caller it is one.
        raise OSError(errno.ENOSPC, str(error)) from error
    text = json.dumps(mask_texts(asdict(info)), indent=2, ensure_ascii=False)
    # A file's name that is not UTF-8 is written as JSON escapes it.
    path = folder / INFO_FILE
    path.write_text(text + "\n", encoding="utf8", errors="backslashreplace")
    (folder / "README.md").write_text(model_card(asdict(info)), encoding="utf8")


def load_background(folder: str | Path, *, width: int | None = None) -> Any:
    """Read the vectors of ordinary text of a backbone folder.

    folder (str | Path): The folder.
    width (int | None): How wide they have to be; None for any.
    RETURNS (ndarray): fp32. *Shape:* (pieces, width)
    RAISES (NunerError): N015 if its file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / BACKGROUND_FILE
    try:
        check_header(path)
        vectors = load_file(path)["vectors"].float()
        fits = vectors.ndim == 2 and width in (None, vectors.shape[1]) and len(vectors)
    except (OSError, SafetensorError, LookupError) as error:
        raise NunerError(Errors.N015, path=path, reason=error) from error
    if not fits or not vectors.isfinite().all():
        reason = f"the vectors are {list(vectors.shape)}, expected {width} columns"
        if fits:
            reason = "a vector holds what is not a number"
        raise NunerError(Errors.N015, path=path, reason=reason)
    return vectors.numpy()
