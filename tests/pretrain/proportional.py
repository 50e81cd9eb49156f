"""`spacy nuner pretrain` with steps in proportion to the gradients.

AdamW makes full steps of the smallest gradients, and so of their rounding, by which two
ways to add up the same sums differ. With a large epsilon it is momentum.
"""

from spacy_nuner.cli.app import app
from spacy_nuner.pretrain import run, trainer


def arguments(*args, **kwargs):
    made = trainer.training_arguments(*args, **kwargs)
    made.adam_epsilon = 0.1
    return made


if __name__ == "__main__":
    run.training_arguments = arguments
    app()
