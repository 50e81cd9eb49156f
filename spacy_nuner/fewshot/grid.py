"""A grid of experiments in one file: sets x backbones x heads x protocols x k."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import srsly
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from ..errors import Errors, NunerError
from ..pipeline.labels import read_labels
from ..readers.hub import HUB_PREFIX, name_split, parse_hub_name
from .cells import Fits, run_cells
from .compare import Dataset, find_backbones, is_folder_name
from .draws import draw_groups, find_protocol
from .heads import TRAINED, check_heads
from .results import ALL, Cell

Count = Annotated[int, Field(ge=1)]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


def _refuse_average(name: str) -> str:
    if not is_folder_name(name):
        raise ValueError(f"'{name}' is what the mean over all sets is called")
    return name


# One or several.
Names = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
# What becomes the name of a folder.
FolderName = Annotated[
    str, Field(pattern=r"^\w[\w.+-]*$"), AfterValidator(_refuse_average)
]
# Where a file or an encoder is; variables of the environment are filled in, "$DATA/a".
Name = Annotated[str, AfterValidator(os.path.expandvars)]


class Section(BaseModel):
    """A part of the file; keys that are not known are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SetFiles(Section):
    """Where a labelled set is; each in any form that `spacy nuner import` reads.

    train, test (str): What to draw from and what to score on.
    dev (str | None): What rates are chosen on.
    only (list[str]): Labels that count; all if empty.
    labels (str | None): JSON that says what labels are called, for `nuner_ner`.
    descriptions (bool): Whether its descriptions are read too.
    """

    train: Name
    test: Name
    dev: Name | None = None
    only: list[str] = []
    labels: Name | None = None
    descriptions: bool = True

    @model_validator(mode="before")
    @classmethod
    def _take_name(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not value.startswith(HUB_PREFIX) or parse_hub_name(value).split:
            message = (
                "one name stands for all parts of a data set on the hub alone, "
                "'hub:NAME'; of files name train and test"
            )
            raise ValueError(message)
        return {"train": value, "test": value}


class Grid(Section):
    """The experiments; each of the lists is combined with each other.

    datasets (dict[str, SetFiles]): What it is called -> the set.
    backbones (dict[str, str]): What it is called -> the encoder, the base first.
    heads, encoders, head_layers, rate_draws, dev_sentences: As of `cells.Fits`.
    layers (list[str]): Layer sets that probes are fitted to, see `find_backbones`.
    protocols (list[str]): How sentences are drawn, of `draws.PROTOCOLS`.
    k (list[int | "all"]): Mentions or words of each label; "all" is the whole set,
        once, under the first protocol.
    draws (int): Draws of each protocol and k.
    seed (int): Of the first draw; draw d has seed + d.
    allow_fewer (bool): Take all of a label that has fewer than k.
    epochs (int | None): Passes of a training; None for what `make_training` has.
    lang (str): Language of the tokenizer for texts.
    """

    datasets: dict[FolderName, SetFiles] = Field(min_length=1)
    backbones: dict[str, Name] = Field(min_length=1)
    heads: Names = ["probe"]
    encoders: Names = ["frozen"]
    layers: Names = ["last", "both"]
    head_layers: str = "both"
    protocols: Names = ["mentions"]
    k: Annotated[list[Count | Literal["all"]], BeforeValidator(_as_list)] = Field(
        [1, 4, 16, 64], min_length=1
    )
    draws: Count = 5
    seed: Annotated[int, Field(ge=0)] = 0
    allow_fewer: bool = False
    epochs: Count | None = None
    rate_draws: Count = 1
    dev_sentences: Count = 200
    lang: str = "en"

    @classmethod
    def from_disk(cls, path: Path) -> Self:
        """Read a grid file.

        path (Path): YAML; relative paths in it start from the current folder, and
            variables of the environment in them are filled in.
        RETURNS (Grid): The grid.
        RAISES (NunerError): N619 if it can't be read, or a value in it does not fit.
        """
        try:
            content = srsly.read_yaml(path)
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise NunerError(Errors.N619, path=path, problems=reason) from error
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors()
            )
            raise NunerError(Errors.N619, path=path, problems=problems) from error

    def find_inputs(self) -> list[str]:
        """RETURNS (list[str]): Files and folders that it reads."""
        files = [
            path
            for one in self.datasets.values()
            for path in (one.train, one.test, one.dev, one.labels)
            if path is not None
        ]
        return [*files, *self.backbones.values()]


def run_grid(
    grid: Grid, output: Path, *, n_process: int = 1, gpu_id: int = -1
) -> list[Cell]:
    """Compute the cells of a grid that are not finished.

    grid (Grid): The grid.
    output (Path): The folder of results.
    n_process (int): Processes, one thread each.
    gpu_id (int): What they compute on; -1 is the CPU.
    RETURNS (list[Cell]): All its cells.
    RAISES (NunerError): What `find_backbones`, `Dataset.from_files`, the protocols and
        `run_cells` raise.
    """
    check_heads(grid.heads, grid.encoders)
    for protocol in grid.protocols:
        find_protocol(protocol)
    backbones = find_backbones(
        list(grid.backbones.values()),
        names=list(grid.backbones),
        layers=list(dict.fromkeys([*grid.layers, grid.head_layers])),
        trained=[grid.head_layers] if not TRAINED.keys().isdisjoint(grid.heads) else [],
    )
    datasets = [read_set(name, one, grid.lang) for name, one in grid.datasets.items()]
    # All draws come first: a k out of reach shows before the long part.
    draws = {
        one.name: [
            group
            for number, protocol in enumerate(grid.protocols)
            for group in draw_groups(
                *(one.train, protocol),
                # The whole set is the same by any protocol.
                [k for k in grid.k if k != ALL or not number],
                draws=grid.draws,
                seed=grid.seed,
                allow_fewer=grid.allow_fewer,
            )
        ]
        for one in datasets
    }
    fits = Fits(
        heads=grid.heads,
        encoders=grid.encoders,
        layers=grid.layers,
        head_layers=grid.head_layers,
        epochs=grid.epochs,
        rate_draws=grid.rate_draws,
        dev_sentences=grid.dev_sentences,
    )
    return run_cells(
        *(datasets, backbones, draws, output),
        fits=fits,
        n_process=n_process,
        gpu_id=gpu_id,
    )


def read_set(name: str, files: SetFiles, lang: str) -> Dataset:
    """Read a set of a grid.

    name (str): What it is called.
    files (SetFiles): Where it is. Of a data set on the hub whose test part is named by
        "hub:NAME" alone the part called validation or dev is read too, if it has one.
    lang (str): Language of the tokenizer for texts.
    RETURNS (Dataset): The set.
    RAISES (NunerError): What `Dataset.from_files` and `read_labels` raise.
    """
    dev = files.dev
    if dev is None and files.train == files.test and files.test.startswith(HUB_PREFIX):
        found = name_split(files.test, "dev")
        # One that has a split is no data set with parts.
        dev = None if found == files.test else found
    meanings = read_labels(files.labels) if files.labels else {}
    if not files.descriptions:
        meanings = {
            key: replace(one, description=None) for key, one in meanings.items()
        }
    return Dataset.from_files(
        files.test,
        files.train,
        dev=dev,
        name=name,
        lang=lang,
        only=files.only,
        meanings=meanings,
    )
