"""What a saved component holds beside its model, and which settings win at loading."""

import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import srsly

from ..errors import NunerError, message
from ..models.tagger import reset_output
from .prior import ConceptPrior
from .starting import StartingPipe

# Name of the part, for `exclude` as well.
CONCEPT_ENCODER = "concept_encoder"
# A component that can't read names, or listens to what is not set up: it is yet to be
# trained.
WAITING = ("N503", "N504")


class SavedPipe(StartingPipe):
    """A component that may bring its concept encoder along when it is saved.

    In `cfg` it also has `keep_concept_encoder` and `configured`, the settings as the
    config gave them.
    """

    def _finish_start(self) -> None:
        """Set up concepts that were named and not yet looked for, so that what is saved
        does not need the backbone; one that waits for `initialize` is saved as it is.
        """
        try:
            self._initialize_from_names()
        except NunerError as error:
            if error.code not in WAITING:
                raise

    def _get_prior_to_save(self, exclude: Iterable[str]) -> ConceptPrior | None:
        if not self.cfg["keep_concept_encoder"] or CONCEPT_ENCODER in exclude:
            return None
        prior = self._get_prior()
        if prior is None:
            backbone, start = self.cfg["backbone"], self.cfg["start"]
            told = message("W504", name=self.name, backbone=backbone, start=start)
            warnings.warn(told, stacklevel=4)
        return prior

    @contextmanager
    def _loading(self, read_cfg: Any, exclude: Iterable[str]) -> Iterator[None]:
        """Make room for as many concepts as were saved; keep what was set."""
        given = dict(self.cfg)
        if "cfg" not in exclude:
            reset_output(self.model, len(read_cfg()["labels"]))
        yield
        keep_what_was_set(self.cfg, given)

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Save the component as a bytestring.

        exclude (Iterable[str]): Names of parts to leave out: "cfg", "vocab", "model",
            "concept_encoder".
        RETURNS (bytes): For `from_bytes`.
        """
        self._finish_start()
        data: bytes = super().to_bytes(exclude=exclude)
        prior = self._get_prior_to_save(exclude)
        if prior is None:
            return data
        parts = srsly.msgpack_loads(data)
        return srsly.msgpack_dumps({**parts, CONCEPT_ENCODER: prior.to_bytes()})

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> Self:
        """Load the component from a bytestring.

        bytes_data (bytes): What `to_bytes` made.
        exclude (Iterable[str]): Names of parts to leave out.
        RETURNS (Self): Itself.
        """
        parts = srsly.msgpack_loads(bytes_data)
        with self._loading(lambda: srsly.json_loads(parts["cfg"]), exclude):
            super().from_bytes(bytes_data, exclude=exclude)
        if CONCEPT_ENCODER not in exclude:
            files = parts.get(CONCEPT_ENCODER)
            self._prior = ConceptPrior.from_bytes(files) if files else None
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the component as a folder.

        path (str | Path): The folder.
        exclude (Iterable[str]): Names of parts to leave out: "cfg", "vocab", "model",
            "concept_encoder".
        """
        self._finish_start()
        super().to_disk(path, exclude=exclude)
        prior, folder = self._get_prior_to_save(exclude), Path(path) / CONCEPT_ENCODER
        if prior is not None:
            prior.to_disk(folder)
        elif folder.is_dir():
            # Of a pipeline that stood here before.
            shutil.rmtree(folder)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> Self:
        """Load the component from a folder.

        path (str | Path): What `to_disk` made.
        exclude (Iterable[str]): Names of parts to leave out.
        RETURNS (Self): Itself.
        """
        with self._loading(lambda: srsly.read_json(Path(path) / "cfg"), exclude):
            super().from_disk(path, exclude=exclude)
        if CONCEPT_ENCODER not in exclude:
            folder = Path(path) / CONCEPT_ENCODER
            self._prior = ConceptPrior(folder) if folder.is_dir() else None
        return self


def keep_what_was_set(cfg: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Let settings that differ from the saved config win over saved ones.

    cfg (dict[str, Any]): What was saved; changed in place.
    given (Mapping[str, Any]): What the config of the loaded pipeline says.
    """
    before = cfg["configured"]
    # Numbers that went through JSON differ in the last digit.
    now = srsly.json_loads(srsly.json_dumps(given["configured"]))
    for key, value in given["configured"].items():
        if now[key] != before.get(key, now[key]):
            cfg[key] = value
    cfg["configured"] = given["configured"]
