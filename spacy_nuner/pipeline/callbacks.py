"""`spacy_nuner.whole_config.v1`: an optimizer whose settings may be variables."""

from collections.abc import Callable
from functools import partial

from spacy.language import Language
from spacy.util import registry
from thinc.api import Optimizer


def make_whole_config() -> Callable[[Language], Language]:
    """Make a callback for `[nlp] after_pipeline_creation`.

    RETURNS (Callable): Lets a pipeline make its optimizer from the whole config. spaCy
        reads the section of the optimizer alone (`nlp.resume_training()`, `spacy debug
        data`), where `total_steps = ${training.max_steps}` has nothing to stand for.
    """
    return _use_whole_config


def _use_whole_config(nlp: Language) -> Language:
    # On this pipeline alone. The config stays as it is: with numbers filled in, a
    # schedule would no longer follow --training.max_steps.
    nlp.create_optimizer = partial(_create_optimizer, nlp)  # type: ignore[method-assign]
    return nlp


def _create_optimizer(nlp: Language) -> Optimizer:
    section = nlp.config.interpolate()["training"]["optimizer"]
    made: Optimizer = registry.resolve({"optimizer": section})["optimizer"]
    return made
