"""`spacy nuner pretrain --dry-run` that times no more steps than it has to."""

from functools import partial

from spacy_nuner.cli.app import app
from spacy_nuner.pretrain import estimate

if __name__ == "__main__":
    estimate.estimate = partial(estimate.estimate, seconds=0)
    app()
