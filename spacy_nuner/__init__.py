"""NuNER for spaCy: named entity recognition from a handful of labels."""

from .about import __version__

__all__ = ["__version__"]
