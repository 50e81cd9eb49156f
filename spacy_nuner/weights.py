"""Names of encoders: a hub name, a folder, or weights in an installed package."""

import importlib.util
import os
from pathlib import Path

from .errors import NunerError

PACKAGE_PREFIX = "package:"


def resolve_weights(name: str | Path) -> str:
    """Turn the name of an encoder into what `from_pretrained` takes.

    name (str | Path): A folder, a name on the Hugging Face hub, or
        `package:NAME/PATH` for a folder inside an installed Python package.
    RETURNS (str): The path of a local folder, or the hub name as it was given. Hub
        names are not looked up here; `HF_HUB_OFFLINE` is honoured when they are.
    RAISES (NunerError): N001 if nothing stands there, N002 if a folder holds no model.
    """
    text = str(name)
    if text.startswith(PACKAGE_PREFIX):
        folder = _package_folder(text)
    elif Path(text).expanduser().exists():
        folder = Path(text).expanduser()
    elif is_hub_name(text):
        return text
    else:
        raise NunerError("N001", name=text, reason="No such folder exists.")
    if not (folder / "config.json").is_file():
        raise NunerError("N002", path=folder, missing="config.json")
    return str(folder)


def is_hub_name(text: str) -> bool:
    """Tell whether a text has the form `name` or `owner/name` of the hub.

    text (str): The name to look at.
    RETURNS (bool): False for what can only be a path.
    """
    looks_like_path = text.startswith((".", "~", os.sep)) or text.endswith("/")
    return bool(text) and not looks_like_path and text.count("/") <= 1


def _package_folder(text: str) -> Path:
    package, _, inside = text[len(PACKAGE_PREFIX) :].partition("/")
    try:
        spec = importlib.util.find_spec(package) if package else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        reason = f"No package '{package}' is installed: pip install it first."
        raise NunerError("N001", name=text, reason=reason)
    for location in spec.submodule_search_locations:
        folder = Path(location) / inside
        if folder.is_dir():
            return folder
    reason = f"The package '{package}' has no folder '{inside}'."
    raise NunerError("N001", name=text, reason=reason)
