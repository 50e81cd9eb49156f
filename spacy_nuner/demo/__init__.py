"""A local page to try a pipeline on: what `spacy nuner demo` starts."""
