"""The folder beside the output that holds a run's features and checkpoints."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thinc.api import Config

from ..errors import NunerError
from .encoders import ConceptEncoder
from .features import build_features
from .settings import Settings

CONFIG_FILE = "config.cfg"


class WorkFolder:
    """Lives as long as the run; stays behind only if there is a checkpoint in it."""

    def __init__(self, path: Path) -> None:
        """path (Path): Where the folder stands."""
        self.path = path
        self.features = path / "features"
        self.checkpoints = path / "checkpoints"
        self.data = path / "data.json"

    @contextlib.contextmanager
    def opened(self, config: Config, *, resume: bool) -> Iterator[None]:
        """Make the folder, or check that it is the one to go on with.

        config (Config): The config of the run.
        resume (bool): Whether to go on.
        RAISES (NunerError): N004 if something else stands there, N308 if there is no
            checkpoint to go on from, N311 if there is one and it is not asked for,
            N312 if it was made under another config.
        """
        if self.path.exists() and not (self.path / CONFIG_FILE).exists():
            raise NunerError("N004", path=self.path, expected=CONFIG_FILE)
        if resume:
            self._check_config(config)
        elif self.last_checkpoint():
            raise NunerError("N311", path=self.path)
        else:
            self.remove()
            self.path.mkdir(parents=True)
            config.to_disk(self.path / CONFIG_FILE)
        try:
            yield
        finally:
            if not self.last_checkpoint():
                self.remove()

    def build_features(self, settings: Settings, encoder: ConceptEncoder) -> None:
        """Turn the corpus into Arrow files, unless an earlier start has done so.

        settings (Settings): The config.
        encoder (ConceptEncoder): Gives the tokenizer and the form of concepts.
        """
        if self.data.exists():
            return
        data = build_features(
            settings.paths.corpus,
            self.features,
            concept_encoder=encoder,
            max_length=settings.features.max_length,
        )
        self.data.write_text(json.dumps(data), encoding="utf8")

    def read_data(self) -> dict[str, Any]:
        """Read what was counted when the features were made.

        RETURNS (dict[str, Any]): Counts and hashes of the corpus.
        """
        return json.loads(self.data.read_text(encoding="utf8"))

    def last_checkpoint(self) -> str | None:
        """Find the checkpoint to go on from.

        RETURNS (str | None): Its folder, None if there is none.
        """
        from transformers.trainer_utils import get_last_checkpoint

        if not self.checkpoints.is_dir():
            return None
        return get_last_checkpoint(str(self.checkpoints))

    def remove(self) -> None:
        """Delete the folder."""
        if self.path.exists():
            shutil.rmtree(self.path)

    def _check_config(self, config: Config) -> None:
        if not self.last_checkpoint():
            raise NunerError("N308", path=self.path)
        before = Config().from_disk(self.path / CONFIG_FILE)
        changed = [
            f"{section}.{key}"
            for section in sorted({*before, *config})
            for key in sorted({*before.get(section, {}), *config.get(section, {})})
            if before.get(section, {}).get(key) != config.get(section, {}).get(key)
        ]
        if changed:
            raise NunerError("N312", path=self.path, changed=", ".join(changed))
