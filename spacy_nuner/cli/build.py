"""`spacy nuner build`: the default backbone, made once on each machine."""

import shutil
from pathlib import Path
from typing import Any

import typer

from ..encoders.default import (
    ANNOTATIONS,
    BASE,
    BASE_SHA256,
    RECIPE,
    find_damage,
    get_default_path,
)
from ..encoders.names import resolve_weights
from ..errors import Errors, NunerError
from ..files import find_shipped, hash_file
from ..outputs import write_folder
from ._util import msg


def build_cli(
    force: bool = typer.Option(
        False, "--force", help="Build it anew where it is there already"
    ),
    gpu_id: int = typer.Option(-1, "--gpu-id", "-g", help="GPU to use, -1 is the CPU"),
) -> None:
    """Make the default backbone, the encoder with the name `default`.

    It is pre-trained on the annotations that ship with the package, starting from
    all-MiniLM-L6-v2: about three minutes on 2 cores, once on each machine. It goes into
    the user's cache folder, or the one that SPACY_NUNER_HOME names.
    """
    path = get_default_path()
    if not force and _is_built(path):
        msg.good(f"The default backbone is there already: {path}")
        return
    msg.info(f"Building the default backbone, about three minutes on 2 cores: {path}")
    build_default(force=force, gpu_id=gpu_id)
    msg.good(f"The encoder 'default' is built: {path}")


def build_default(
    *,
    force: bool = False,
    gpu_id: int = -1,
    base: str = BASE,
    annotations: Path | None = None,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Make the default backbone where it is not there yet, or damaged.

    Of several processes that call it at once, one builds and the others wait for it.

    force (bool): Whether to make it anew where it is there and whole.
    gpu_id (int): The GPU to use, -1 is the CPU.
    base (str): The encoder to start from.
    annotations (Path | None): Records to train on, a file or a folder; None for those
        that ship with the package.
    settings (dict[str, Any] | None): Values by dotted name over those of `RECIPE`,
        such as {"training.epochs": 1}.
    RETURNS (Path): Its folder.
    RAISES (NunerError): N003 if it can't be written, N014 if the weights are not those
        that it is made from; what `convert` and `pretrain` raise.
    """
    path = get_default_path()
    if not force and _is_built(path):
        return path
    # A damaged one is replaced: its files are on its list, whatever their sizes.
    with write_folder(path, command="build", wait=True, damaged=True) as work:
        if force or not _is_built(path):
            if base == BASE:
                _check_base()
            annotations = annotations or find_shipped(ANNOTATIONS)
            overrides = {"paths.base": base, **(settings or {})}
            _build(work.target, annotations, overrides, gpu_id=gpu_id)
    return path


def _build(
    target: Path, annotations: Path, overrides: dict[str, Any], *, gpu_id: int
) -> None:
    # `import torch` takes seconds that the command's --help can do without.
    from ..corpus.convert import convert
    from ..pretrain.run import pretrain
    from ..pretrain.settings import complete_config

    corpus = target.with_name("corpus")
    convert([annotations], corpus)
    config = complete_config(RECIPE, {**overrides, "paths.corpus": str(corpus)})
    pretrain(config, target, gpu_id=gpu_id, command="spacy nuner build")
    shutil.rmtree(corpus)


def _is_built(path: Path) -> bool:
    return path.is_dir() and not find_damage(path)


def _check_base() -> None:
    weights = Path(resolve_weights(BASE)) / "model.safetensors"
    found = hash_file(weights)
    if found != BASE_SHA256:
        raise NunerError(Errors.N014, path=weights, found=found, expected=BASE_SHA256)
