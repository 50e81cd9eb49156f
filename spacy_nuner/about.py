__title__ = "spacy_nuner"
__version__ = "0.1.0"
