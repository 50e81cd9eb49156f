"""The backbone of the pipeline's tests: it knows areas and prices by name."""

from ..pipeline.conftest import backbone  # noqa: F401
