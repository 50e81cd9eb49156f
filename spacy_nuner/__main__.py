"""`python -m spacy_nuner`: the commands of `spacy nuner`."""

from .cli.app import app


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m spacy_nuner")


if __name__ == "__main__":
    main()
