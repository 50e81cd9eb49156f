"""Names of encoders: a hub name, a folder, weights in a package, or `default`."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import Errors, NunerError
from ..utf8 import check_utf8

PACKAGE_PREFIX = "package:"
DEFAULT = "default"

# What an encoder needs: config, tokenizer, `nuner.json`, weights.
ENCODER_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
# Repositories that have no safetensors.
OLD_WEIGHTS = ("pytorch_model*.bin", "*.json")


def resolve_weights(name: str | Path) -> str:
    """Turn the name of an encoder into a local folder.

    name (str | Path): A folder, a name on the Hugging Face hub, `package:NAME/PATH`
        for a folder inside an installed Python package, or "default" for the default
        backbone. A folder that is called so has the name "./default".
    RETURNS (str): The folder. What is named by its hub name is downloaded into the
        hub's cache, or found there; with `HF_HUB_OFFLINE` it is only looked for there.
    RAISES (NunerError): N001 if there is no such encoder, N002 if a folder holds no
        model, N012 if the default backbone is not built yet, N013 if it is damaged.
    """
    text = str(name)
    folder = find_folder(text)
    if folder is None:
        folder = fetch(text, ENCODER_FILES, nested=False)
        if not any(folder.glob("*.safetensors")):
            folder = fetch(text, OLD_WEIGHTS, nested=False)
    if not (folder / "config.json").is_file():
        raise NunerError(Errors.N002, path=folder, missing="config.json")
    return str(folder)


def find_folder(name: str) -> Path | None:
    """Find an encoder that is on this machine.

    name (str): In one of the four forms.
    RETURNS (Path | None): Its folder; None if the name can only be one of the hub.
    RAISES (NunerError): N001 if it can't be one of the hub either, N012 or N013 for a
        default backbone that is not built yet or damaged, N053 if its name is not
        UTF-8.
    """
    if name == DEFAULT:
        # Not at the top: it knows what a backbone folder is, and this does not.
        from .default import find_default

        return find_default()
    if name.startswith(PACKAGE_PREFIX):
        return _package_folder(name)
    path = Path(name).expanduser()
    if path.exists():
        check_utf8(name, "the encoder")
        return path
    if is_hub_name(name):
        return None
    raise NunerError(Errors.N001, name=name, reason="No such folder exists.")


def fetch(name: str, patterns: Sequence[str], *, nested: bool = True) -> Path:
    """Download files of a repository of the hub, unless the cache has them.

    name (str): Its hub name.
    patterns (Sequence[str]): Which files, as of a shell ("*" matches "/" too).
    nested (bool): Whether files in folders of the repository are meant too.
    RETURNS (Path): The folder of the cache. With `HF_HUB_OFFLINE`, or where the hub
        can't be reached, it may lack files that were never downloaded.
    RAISES (NunerError): N001 if the repository is neither there nor in the cache.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name,
            allow_patterns=list(patterns),
            ignore_patterns=None if nested else ["*/*"],
        )
    except (OSError, ValueError) as error:
        # What can't be reached or is not there is an OSError, a name that the hub
        # does not take a ValueError. The first line says what.
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        if (parent := Path(name).parent) != Path() and parent.is_dir():
            reason = f"The folder '{parent}' has no '{Path(name).name}'. {reason}"
        raise NunerError(Errors.N001, name=name, reason=reason) from error
    return Path(folder)


def is_hub_name(text: str) -> bool:
    """Check whether a name has the form `name` or `owner/name` of the hub.

    text (str): The name of an encoder.
    RETURNS (bool): False for what can only have another form.
    """
    if not text or text == DEFAULT or text.startswith(PACKAGE_PREFIX):
        return False
    looks_like_path = text.startswith((".", "~", os.sep)) or text.endswith("/")
    return not looks_like_path and text.count("/") <= 1


def _package_folder(text: str) -> Path:
    package, _, inside = text[len(PACKAGE_PREFIX) :].partition("/")
    try:
        spec = importlib.util.find_spec(package) if package else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        reason = f"No package '{package}' is installed: pip install it first."
        raise NunerError(Errors.N001, name=text, reason=reason)
    for location in spec.submodule_search_locations:
        folder = Path(location) / inside
        if folder.is_dir():
            return folder
    reason = f"The package '{package}' has no folder '{inside}'."
    raise NunerError(Errors.N001, name=text, reason=reason)
