"""A recogniser trained anew, as `spacy train` does it, on other sentences."""

import io
import logging
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confection import Config
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.util import logger

# Of the sentences, where a training ends by how well it does on others.
HELD_OUT = 0.1


def find_no_end(config: Config) -> str | None:
    """Look why a config does not say how long to train.

    config (Config): That of a pipeline, interpolated.
    RETURNS (str | None): The reason, in words; None if it does say.
    """
    training = config["training"]
    # Another reader than spaCy's may have no path.
    if not config["corpora"].get("train", {}).get("path", True):
        return "it was not made by `spacy train`"
    if not any(training[key] for key in ("max_steps", "max_epochs", "patience")):
        return "max_steps, max_epochs and patience are 0"
    return None


def train_again(
    config: Config, docs: Sequence[Doc], *, seed: int = 0, steps: int | None = None
) -> Language:
    """Train a pipeline from its config, on these sentences and nothing else.

    Where the config has a patience, a tenth of them is held out to tell the end.

    config (Config): A config of `spacy train`, or that of a pipeline.
    docs (Sequence[Doc]): The sentences.
    seed (int): Of the training.
    steps (int | None): Steps of the training; None for as many as the config says.
    RETURNS (Language): The pipeline of the last step.
    RAISES (NunerError): What the components raise, such as N001 for a backbone that
        can't be found any more.
    """
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train

    config = config.interpolate()
    patient = steps is None and config["training"]["patience"]
    train_docs, dev_docs = list(docs), list(docs[:1])
    if patient and len(docs) > 1:
        random.Random(seed).shuffle(train_docs)
        count = max(1, round(HELD_OUT * len(docs)))
        dev_docs, train_docs = train_docs[:count], train_docs[count:]
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / f"{name}.spacy") for name in ("train", "dev")}
        DocBin(docs=train_docs, store_user_data=False).to_disk(paths["train"])
        DocBin(docs=dev_docs, store_user_data=False).to_disk(paths["dev"])
        config = _change(config, paths, seed, steps)
        with _quiet():
            nlp = init_nlp(config)
            silent = io.StringIO()
            nlp, _ = train(nlp, None, stdout=silent, stderr=silent)
    return nlp


def _change(
    config: Config, paths: dict[str, str], seed: int, steps: int | None
) -> Config:
    """Name other sentences in a config, and leave out what is for a person."""
    reader = {"@readers": "spacy.Corpus.v1", "gold_preproc": False, "max_length": 0}
    reader |= {"limit": 0, "augmenter": None}
    config["corpora"] = {name: {**reader, "path": paths[name]} for name in paths}
    training: dict[str, Any] = config["training"]
    training |= {"train_corpus": "corpora.train", "dev_corpus": "corpora.dev"}
    training |= {"seed": seed, "before_to_disk": None}
    training["logger"] = {
        "@loggers": "spacy.ConsoleLogger.v3",
        "progress_bar": None,
        "console_output": False,
        "output_file": None,
    }
    config.setdefault("system", {})["seed"] = seed
    if steps is not None:
        training["max_steps"], training["max_epochs"] = steps, 0
        schedule = training["optimizer"].get("learn_rate")
        if isinstance(schedule, dict) and "total_steps" in schedule:
            schedule["total_steps"] = steps
    if steps is not None or not training["patience"]:
        # The loop judges at its end alone, and nobody looks at it.
        training |= {"patience": 0}
        training["eval_frequency"] = training["max_steps"] or 1_000_000
    return config


@contextmanager
def _quiet() -> Iterator[None]:
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
