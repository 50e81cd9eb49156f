"""Entry point `spacy_cli`: puts `nuner` beside the commands of spaCy."""

from spacy.cli._util import app as spacy_app

from .app import app

spacy_app.add_typer(app, name="nuner")
