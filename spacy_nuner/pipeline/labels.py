"""Labels with names and descriptions, and the form in which they are given.

A list of labels or of {"label", "name", "description"}, or label -> description, or
label -> {"name", "description"}: in the config, in the file that `spacy init labels`
writes, and in those of the commands.
"""

import json
from collections.abc import Iterable, Mapping
from configparser import Error as ConfigError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import srsly
from thinc.api import Config

from ..concept_names import readable_name
from ..errors import Errors, NunerError
from ..utf8 import check_utf8

# As types that a config is checked against.
LabelSettings = (
    list[str | dict[str, str | None]] | dict[str, str | dict[str, str | None] | None]
)


@dataclass
class Label:
    """A label, as the concept encoder and the training see it.

    name: The words that go into the concept encoder; None for the label read as words.
    description: What it means, for the concept encoder as well.
    trained: Whether a step of training has changed its weights since they started.
    """

    name: str | None = None
    description: str | None = None
    trained: bool = False

    def get_words(self, label: str) -> str:
        """Get the words for the concept encoder.

        label (str): The label, such as "Restaurant_Name".
        RETURNS (str): Its name, else the label read as words: "restaurant name".
        """
        return self.name or readable_name(label)

    def to_setting(self) -> str | dict[str, str | None] | None:
        """RETURNS: The value of the label in a mapping that `parse_labels` reads."""
        if self.name is None:
            return self.description
        return {"name": self.name, "description": self.description}


def check_label(label: Any) -> None:
    """Refuse what can't be the label of a span.

    label (Any): A label.
    RAISES (NunerError): N501 if it is no text, or an empty one, N053 if UTF-8 can't
        hold it.
    """
    if not isinstance(label, str):
        raise NunerError(Errors.N501, found=type(label).__name__)
    if not label.strip():
        raise NunerError(Errors.N501, found=repr(label))
    check_utf8(label, "a label")


def load_label(label: Any, saved: Any) -> Label:
    """Read what is saved of a label.

    label (str): The label.
    saved (dict[str, Any]): The fields of `Label`.
    RETURNS (Label): The same.
    RAISES (ValueError | TypeError): If it is something else.
    """
    check_label(label)
    known = Label(**saved)
    texts = (known.name, known.description)
    right = all(isinstance(text, str | None) for text in texts)
    if not right or not isinstance(known.trained, bool):
        raise ValueError(f"of the label {label!r} it has {saved!r}"[:200])
    return known


def parse_labels(
    labels: Iterable[str | Mapping[str, Any]] | Mapping[str, Any], *, source: str
) -> dict[str, Label]:
    """Read labels in any of their three forms.

    labels (Iterable[str | Mapping] | Mapping[str, Any]): Labels, each alone or as
        {"label", "name", "description"}, or label -> description, or label -> {"name",
        "description"}. Name and description may be missing or None.
    source (str): Where they come from, for the error.
    RETURNS (dict[str, Label]): The labels, in order.
    RAISES (NunerError): N501 for a label that is no text, N511 for another form, N053
        if UTF-8 can't hold one.
    """
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        reason = f"found a {type(labels).__name__}"
        raise NunerError(Errors.N511, source=source, reason=reason)
    rows: Iterable[Any] = labels.items() if isinstance(labels, Mapping) else labels
    values: dict[str, Any] = {}
    for row in rows:
        if isinstance(labels, Mapping):
            label, value = row
        elif isinstance(row, Mapping):
            label = row.get("label")
            value = {key: row[key] for key in row if key != "label"}
        else:
            label, value = row, None
        check_label(label)
        values[label] = value
    return {label: _parse_label(label, values[label], source) for label in values}


def check_config(name: str, key: str, value: Any) -> None:
    """Refuse a setting that the config of a saved pipeline would not bring back.

    Keys and values stand in a file of sections: "schema:Person" as a key is "schema",
    and "${a}" is a variable.

    name (str): The component.
    key (str): The setting, such as `labels`.
    value (Any): Its value.
    RAISES (NunerError): N512 if it is another one, or none, after saving and loading.
    """
    config = Config({"components": {name: {key: value}}})
    try:
        same = Config().from_str(config.to_str()) == config
    except (ConfigError, ValueError):
        same = False
    if not same:
        raise NunerError(Errors.N512, name=name, key=key, found=value)


def _parse_label(label: str, value: Any, source: str) -> Label:
    fields = value if isinstance(value, Mapping) else {"description": value}
    texts = all(x is None or isinstance(x, str) and x.strip() for x in fields.values())
    if not texts or not set(fields) <= {"name", "description"}:
        reason = f"'{label}' has {json.dumps(value, ensure_ascii=False)}"[:300]
        raise NunerError(Errors.N511, source=source, reason=reason)
    for key, text in fields.items():
        check_utf8(text or "", f"the {key} of a label")
    return Label(**fields)


def read_labels(path: str | Path) -> dict[str, Label]:
    """Read labels from a file.

    path (str | Path): A JSON file with labels in any of their three forms.
    RETURNS (dict[str, Label]): The labels, in order.
    RAISES (NunerError): N511 if the file can't be read or holds something else.
    """
    try:
        content = srsly.read_json(path)
    except (OSError, ValueError) as error:
        raise NunerError(Errors.N511, source=path, reason=error) from error
    return parse_labels(content, source=str(path))
