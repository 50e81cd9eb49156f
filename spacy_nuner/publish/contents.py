"""What of a folder goes to others: which files, and with which content."""

import json
import mmap
import os
import re
from collections.abc import Iterator
from configparser import Error as ConfigError
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from confection import Config

from ..encoders.folder import (
    BACKGROUND_FILE,
    CONCEPT_ENCODER,
    INFO_FILE,
    read_whole_info,
)
from ..encoders.safety import (
    CONFIG,
    SHARD,
    TOKENIZER_FILES,
    WEIGHTS,
    WEIGHTS_INDEX,
    check_encoder,
    check_header,
    find_weights,
)
from ..errors import Errors, NunerError
from .cards import (
    CARD_FILE,
    PIPELINE_CONFIG,
    PIPELINE_META,
    Kind,
    find_kind,
    make_card,
    mask_card,
    name_card,
)
from .private import Masker

# As spaCy and people call them. Their words hold as they are.
LICENSES = {"LICENSE", "LICENSE.md", "LICENSE.txt", "LICENSES_SOURCES"}
# The tokenizers of some languages are folders.
VOCAB, TOKENIZER = "vocab", "tokenizer"
PIPELINE_FILES = {PIPELINE_CONFIG, PIPELINE_META, TOKENIZER}
ENCODER_NAMES = {CONFIG, WEIGHTS, WEIGHTS_INDEX, *TOKENIZER_FILES}
# JSON that describes and holds no vocabulary; so does other JSON of a component.
DESCRIPTIONS = {
    *(INFO_FILE, PIPELINE_META, CONFIG, "tokenizer_config.json", "labels.json", "cfg"),
    "special_tokens_map.json",
}
VOCABULARIES = TOKENIZER_FILES - DESCRIPTIONS
# What its author wants to be read.
SIGNED = ("author", "email", "url")
# What torch.save writes is a zip of a pickle and the numbers.
TORCH_FILE = re.compile(rb"PK\x03\x04.{26}[^\x00]{0,200}?data\.pkl", re.DOTALL)


@dataclass(frozen=True)
class Shared:
    """A file that goes to others.

    name (str): Its path in the repository.
    path (Path | None): Where its content is, if it is as it is there.
    content (bytes | None): Its content, if it is another one.
    masked (bool): Whether something private was masked in it.
    """

    name: str
    path: Path | None
    content: bytes | None = None
    masked: bool = False

    @property
    def size(self) -> int:
        """RETURNS (int): Bytes."""
        if self.content is not None:
            return len(self.content)
        return self.path.stat().st_size if self.path else 0


@dataclass(frozen=True)
class Contents:
    """What of a folder goes to others.

    kind (str): "backbone" or "pipeline".
    files (list[Shared]): The files, by name.
    left_out (dict[str, str]): Name of a file that does not -> why.
    """

    kind: Kind
    files: list[Shared]
    left_out: dict[str, str]

    def find_license(self) -> str | None:
        """RETURNS (str | None): The licence that the card names for the hub, if any."""
        from huggingface_hub import ModelCard
        from yaml import YAMLError

        (card,) = (file.content for file in self.files if file.name == CARD_FILE)
        try:
            metadata = ModelCard((card or b"").decode("utf8")).data.to_dict()
        except (ValueError, TypeError, YAMLError):
            # The hub will say more about a card that somebody wrote by hand.
            return None
        return metadata.get("license")


def find_contents(
    folder: Path, *, name: str | None = None, card: Path | None = None
) -> Contents:
    """Find what of a folder goes to others, without what is private.

    folder (Path): A backbone, or a saved pipeline.
    name (str | None): The name under which others will load it.
    card (Path | None): The model card, if it is not the README.md of the folder. Where
        there is none, one is made.
    RETURNS (Contents): The files and what they hold.
    RAISES (NunerError): N670 if it is neither, N671 if a file of it is a pickle, N676
        if one that it needs is a link, N678 if the keys of a file can't be masked, N005
        if the card can't be read, N679 if its metadata hold something private; for a
        backbone what `read_whole_info`, `check_encoder` and `find_weights` raise.
    """
    kind = find_kind(folder)
    components: set[str] = set()
    if kind == "backbone":
        read_whole_info(folder)
        for one in (folder, folder / CONCEPT_ENCODER):
            check_encoder(one)
            find_weights(one)
    else:
        components = _read_components(folder)
    masker = Masker(folder, repo=name)
    paths: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for found in _walk(folder):
        path = folder / found
        if reason := _find_reason(kind, found, path, components):
            if path.is_symlink() and _is_needed(kind, found, components):
                raise NunerError(Errors.N676, path=path)
            left_out[found] = reason
        elif _holds_pickle(path):
            raise NunerError(Errors.N671, path=path)
        else:
            paths[found] = path
    source = card or paths.get(CARD_FILE)
    text = _read_card(source) if source else make_card(folder, name=name)
    if name:
        text = name_card(text, name)
    paths.pop(CARD_FILE, None)
    texts = {
        one: data
        for one in paths
        if (data := _read_text(one, paths[one], components)) is not None
    }
    for data in texts.values():
        masker.add_labels(data)
    # Texts first: which paths are private is known from them.
    files = {one: _share_text(one, paths.pop(one), texts[one], masker) for one in texts}
    files |= {one: _share(one, paths[one], masker) for one in paths}
    shown = mask_card(text, masker, path=source or folder)
    content = shown.encode("utf8", "replace")
    files[CARD_FILE] = Shared(CARD_FILE, None, content, masked=shown != text)
    return Contents(kind, [files[one] for one in sorted(files)], left_out)


def _read_components(folder: Path) -> set[str]:
    try:
        config = Config().from_disk(folder / PIPELINE_CONFIG, interpolate=False)
        return {str(name) for name in config["components"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        path = folder / PIPELINE_CONFIG
        todo = "Expected is what nlp.to_disk wrote."
        raise NunerError(Errors.N005, path=path, reason=error, todo=todo) from error


def _walk(folder: Path) -> Iterator[str]:
    """Yield the files below a folder, and links, which are not followed."""
    for parent, names, files in os.walk(folder):
        links = [name for name in names if os.path.islink(os.path.join(parent, name))]
        names[:] = sorted(set(names) - set(links))
        for name in sorted(files + links):
            yield Path(parent, name).relative_to(folder).as_posix()


def _find_reason(kind: Kind, name: str, path: Path, components: set[str]) -> str | None:
    """Say why a file stays here; None if it does not."""
    parts = PurePosixPath(name).parts
    if path.is_symlink():
        return "a link"
    if not path.is_file():
        return "no file"
    if any(part.startswith(".") for part in parts):
        return "hidden"
    if kind == "backbone":
        inside = parts[1:] if parts[0] == CONCEPT_ENCODER else parts
        own = name in {INFO_FILE, BACKGROUND_FILE} or (
            len(inside) == 1
            and (inside[0] in ENCODER_NAMES or SHARD.fullmatch(inside[0]) is not None)
        )
    else:
        folders = {VOCAB, TOKENIZER, *components}
        own = (
            name in PIPELINE_FILES
            or (len(parts) > 1 and parts[0] in folders)
            # A `sentencizer` is a file with a suffix.
            or (len(parts) == 1 and PurePosixPath(name).stem in components)
        )
    is_note = name in {CARD_FILE, *LICENSES}
    return None if own or is_note else f"no part of a {kind}"


def _is_needed(kind: Kind, name: str, components: set[str]) -> bool:
    """Whether nobody could load it without this file."""
    parts = PurePosixPath(name).parts
    if kind == "pipeline":
        own = len(parts) > 1 and parts[0] in components
        return name in {PIPELINE_CONFIG, PIPELINE_META} or own
    inside = parts[1:] if parts[0] == CONCEPT_ENCODER else parts
    return len(inside) == 1 and (
        inside[0] in {INFO_FILE, CONFIG, WEIGHTS}
        or SHARD.fullmatch(inside[0]) is not None
    )


def _holds_pickle(path: Path) -> bool:
    if path.stat().st_size < 3:
        return False
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        # Since protocol 2 of 2003 a pickle says that it is one, and ends with a stop.
        is_pickle = content[:1] == b"\x80" and content[1] in range(2, 6)
        if is_pickle and content[-1:] == b".":
            return True
        return TORCH_FILE.search(content) is not None


def _read_text(name: str, path: Path, components: set[str]) -> Any:
    """Read a file whose form is known; None for any other."""
    is_settings = path.name in DESCRIPTIONS or (
        PurePosixPath(name).parts[0] in components
        and path.suffix == ".json"
        and path.name not in VOCABULARIES
    )
    try:
        if path.name == PIPELINE_CONFIG:
            return Config().from_disk(path, interpolate=False)
        if is_settings:
            return json.loads(path.read_text(encoding="utf8"))
    except (ValueError, LookupError, ConfigError, RecursionError):
        # Its bytes are looked at.
        return None
    return None


def _share_text(name: str, path: Path, data: Any, masker: Masker) -> Shared:
    """Mask what is private in what was read of a file."""
    shown = masker.mask_data(data, source=path, is_run=name == INFO_FILE)
    if name == PIPELINE_META and isinstance(data, dict):
        signed = {key: data[key] for key in SIGNED if isinstance(data.get(key), str)}
        shown |= {key: masker.mask_keys(text) for key, text in signed.items()}
    if path.name == PIPELINE_CONFIG:
        # Written anew in any case: who knows what its comments say.
        content = Config(shown).to_str(interpolate=False).encode("utf8")
        if content == path.read_bytes():
            return Shared(name, path)
        return Shared(name, None, content, masked=True)
    if shown == data:
        return Shared(name, path)
    text = json.dumps(shown, indent=2, ensure_ascii=False) + "\n"
    # A half of a surrogate pair is an escape again, as JSON has it.
    content = text.encode("utf8", "backslashreplace")
    return Shared(name, None, content, masked=True)


def _share(name: str, path: Path, masker: Masker) -> Shared:
    """Read a file of any form and overwrite what is private in it."""
    if name in LICENSES:
        return Shared(name, path)
    if path.suffix == ".safetensors" and not _has_private_header(path, masker):
        # Not read as a whole: any bytes may stand in numbers.
        return Shared(name, path)
    before = path.read_bytes()
    content = masker.mask_bytes(before)
    if content == before:
        return Shared(name, path)
    return Shared(name, None, content, masked=True)


def _has_private_header(path: Path, masker: Masker) -> bool:
    check_header(path)
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    return masker.mask_bytes(header) != header


def _read_card(path: Path) -> str:
    try:
        return path.read_text(encoding="utf8")
    except (OSError, ValueError) as error:
        todo = "Expected is Markdown, such as `spacy nuner card` writes."
        raise NunerError(Errors.N005, path=path, reason=error, todo=todo) from error
