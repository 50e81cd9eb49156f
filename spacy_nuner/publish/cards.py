"""The model card of what goes to others: of a backbone, and of a saved pipeline."""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from ..encoders.card import PLACEHOLDER, front_matter, model_card
from ..encoders.folder import INFO_FILE, read_whole_info
from ..encoders.names import DEFAULT, find_folder
from ..encoders.safety import describe, find_weights
from ..errors import Errors, NunerError
from ..files import hash_file
from ..printing import escape_markdown, markdown_table, printable
from .private import Masker

logger = logging.getLogger("spacy_nuner")

CARD_FILE = "README.md"
PIPELINE_CONFIG, PIPELINE_META = "config.cfg", "meta.json"
# Codes of spaCy that the hub has another word for.
LANGUAGES = {"xx": "multilingual"}
# Where `fewshot` and `report` have results, as docs and project.yml call it.
METRICS_FOLDER = "metrics"
# What spaCy puts between backticks in the card of a pipeline.
CODE_FIELDS = {
    *("lang", "name", "version", "spacy_version", "license", "pipeline", "components"),
    *("labels", "performance"),
}
# And as paragraphs of their own.
PARAGRAPHS = {"description", "notes"}
TAGS = ["spacy", "token-classification", "named-entity-recognition", "nuner"]

PIPELINE_CARD = """\
---
{metadata}
---

# {title}

A spaCy pipeline whose entities are recognised by
[spacy_nuner](https://pypi.org/project/spacy-nuner), on an encoder that was pre-trained
with the method of [NuNER](https://arxiv.org/abs/2402.15343).

## Use

`pip install spacy-nuner`, then:

```python
import spacy
{load}
doc = nlp("Ana Lima left Porto.")
print([(ent.text, ent.label_) for ent in doc.ents])
for spans in doc.spans.values():
    print([(span.text, span.label_) for span in spans])
```

## What is in it

{table}

The scores, if there are any, are those that `spacy train` measured on the development
set.

## Limits

The pipeline knows the labels that it lists, in texts like those that it was trained on.
`vocab/strings.json` holds words of texts that it has seen.
{license}{data_license}
"""
FROM_HUB = """\
from huggingface_hub import snapshot_download

nlp = spacy.load(snapshot_download("{name}"))"""
FROM_FOLDER = """
nlp = spacy.load("{name}")"""
NO_LICENSE = (
    "Check the licences of the backbone and of the labelled set before you pass it on."
)
LICENSE = (
    "Its licence is {license}; those of the backbone and of the labelled set hold as "
    "well."
)
DATA_LICENSE = " The licence of the labelled set is {license}."

Kind = Literal["backbone", "pipeline"]


def name_card(text: str, name: str) -> str:
    """Say in a card made without a name what others load it by.

    text (str): The card.
    name (str): The repository on the hub.
    RETURNS (str): The card; `spacy.load` of a folder downloads the repository first.
    """
    text = text.replace(
        FROM_FOLDER.format(name=PLACEHOLDER), FROM_HUB.format(name=name)
    )
    return text.replace(PLACEHOLDER, name)


def find_kind(folder: Path) -> Kind:
    """Tell a backbone from a pipeline.

    folder (Path): The folder.
    RETURNS (str): "backbone" or "pipeline".
    RAISES (NunerError): N670 if it is neither.
    """
    if (folder / INFO_FILE).is_file():
        return "backbone"
    if (folder / PIPELINE_CONFIG).is_file() and (folder / PIPELINE_META).is_file():
        return "pipeline"
    raise NunerError(Errors.N670, path=folder)


def find_share(name: str | Path) -> Path:
    """Find what goes to others.

    name (str | Path): A folder, or "default" for the default backbone.
    RETURNS (Path): Its folder.
    RAISES (NunerError): N670 if it is neither a backbone nor a pipeline on this
        machine; for the default backbone what `find_folder` raises.
    """
    text = str(name)
    folder = find_folder(text) if text == DEFAULT else Path(text)
    if folder is None or not folder.is_dir():
        raise NunerError(Errors.N670, path=name)
    find_kind(folder)
    return folder


def check_repo(repo: str) -> None:
    """Check the name of a repository before anything is asked of the hub.

    repo (str): The name, such as "your-name/flats-ner".
    RAISES (NunerError): N673 if it can't be one.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise NunerError(Errors.N673, repo=repo, reason=error) from error
    if "/" not in repo:
        reason = "The name has no owner."
        raise NunerError(Errors.N673, repo=repo, reason=reason)


def is_license(text: str) -> bool:
    """RETURNS (bool): Whether a text has the form of the hub's names of licences."""
    return re.fullmatch(r"[a-z0-9][a-z0-9.-]*", text) is not None


def make_card(
    folder: Path,
    *,
    name: str | None = None,
    license: str = "",
    data_license: str = "",
    languages: Sequence[str] = (),
    datasets: Sequence[str] = (),
    metrics: Path | None = None,
) -> str:
    """Write the card of a backbone or a pipeline, without what is private.

    folder (Path): The backbone, or the saved pipeline.
    name (str | None): Its name on the hub.
    license (str): As the hub abbreviates it; for a pipeline else that of `meta.json`.
    data_license (str): That of the annotated text or the labelled set.
    languages (Sequence[str]): Codes of its languages; for a pipeline else its own.
    datasets (Sequence[str]): Names on the hub of the data it was trained on.
    metrics (Path | None): Results of `fewshot`. Of them those count that were measured
        with these weights, as their hash says; None for a folder `metrics` that lies
        beside, or a level higher.
    RETURNS (str): Markdown with the metadata block of the hub.
    RAISES (NunerError): N670 if the folder is neither, N303 if `nuner.json` lacks what
        a card has, N005 for a `meta.json` that does, N672 if there is no result with
        these weights in the folder that was named, N673 for another form of
        name, N675 of licence, N677 for results of a pipeline, N678 if keys of
        `nuner.json` can't be masked, N679 if its metadata would hold something
        private; what `read_whole_info` and `read_cells` raise.
    """
    if name is not None:
        check_repo(name)
    for one in (license, data_license):
        if one and not is_license(one):
            raise NunerError(Errors.N675, license=one)
    masker = Masker(folder, repo=name)
    if find_kind(folder) == "pipeline":
        if metrics is not None:
            raise NunerError(Errors.N677, folder=folder, metrics=metrics)
        card = _make_pipeline_card(
            folder,
            masker,
            name=name,
            license=license,
            data_license=data_license,
            languages=languages,
            datasets=datasets,
        )
        return mask_card(card, masker, path=folder)
    info = asdict(read_whole_info(folder))
    masker.add_labels(info)
    info = masker.mask_data(info, source=folder / INFO_FILE, is_run=True)
    try:
        card = model_card(
            info,
            name=name,
            license=license,
            data_license=data_license,
            languages=languages,
            datasets=datasets,
            results=_describe_results(folder, metrics),
        )
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, NunerError):
            raise
        path, reason = folder / INFO_FILE, describe(error)
        raise NunerError(Errors.N303, path=path, reason=reason) from error
    return mask_card(card, masker, path=folder)


def mask_card(text: str, masker: Masker, *, path: Path) -> str:
    """Mask what is private in a card, but for its metadata, which the hub reads.

    text (str): The card.
    masker (Masker): What is private.
    path (Path): The card, or the folder that it is of.
    RETURNS (str): The card with "***" for what was private.
    RAISES (NunerError): N679 if something in its metadata is.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    found = REGEX_YAML_BLOCK.search(text)
    end = found.end() if found else 0
    for line in text[:end].splitlines():
        shown = masker.mask_text(line)
        if shown != line:
            raise NunerError(Errors.N679, path=path, line=shown.strip())
    return text[:end] + masker.mask_text(text[end:])


def _describe_results(folder: Path, metrics: Path | None) -> str:
    """The section with what the probe measured, if it was with these weights."""
    from ..fewshot.results import (
        METRICS,
        Curves,
        curve_table,
        read_cells,
        title_layers,
    )

    # Of a project it is a level higher: training/backbone, metrics/probe.
    higher = [*folder.absolute().parents][:2]
    roots = [metrics] if metrics else [one / METRICS_FOLDER for one in higher]
    digest = " ".join(hash_file(path) for path in find_weights(folder))
    cells, own = [], set()
    for root in roots:
        try:
            found = read_cells(root)
        except NunerError as error:
            # Of several experiments that nobody named here.
            if metrics is not None or error.code not in ("N629", "N631"):
                raise
            logger.warning("The card has no results. %s", error)
            continue
        # Trained heads of other protocols are told by other figures.
        cells = [one for one in found if one.k and one.protocol == "probe"]
        own = {
            cell.backbone
            for cell in cells
            if cell.settings["encoder"].get("sha256") == digest
        }
        if own:
            break
    if not own:
        if metrics is not None:
            raise NunerError(Errors.N672, path=metrics, folder=folder)
        return ""
    # Of the base and of other backbones only where this one was measured, too.
    sets = {(cell.dataset, cell.layers) for cell in cells if cell.backbone in own}
    cells = [cell for cell in cells if (cell.dataset, cell.layers) in sets]
    metric, title = next(iter(METRICS.items()))
    curves = Curves(cells, metric)
    others = [one for one in curves.backbones if one not in own]
    # A gain is over the first: "base" is what the others are compared with.
    compared = sorted(others, key=lambda one: (one != "base", one)) + sorted(own)
    sections = [
        "## Results",
        "A linear classifier on the vectors of the frozen encoder, fitted to k "
        f"mentions of each label: {title}, percent, mean ± standard deviation over "
        "draws. "
        f"This backbone is called {escape_markdown(', '.join(sorted(own)))}.",
    ]
    for dataset, layers in sorted(sets):
        sections.append(f"{escape_markdown(dataset)}, {title_layers(layers)}:")
        sections.append(markdown_table(*curve_table(curves, dataset, layers, compared)))
    return "\n\n".join(sections)


def _make_pipeline_card(
    folder: Path,
    masker: Masker,
    *,
    name: str | None,
    license: str,
    data_license: str,
    languages: Sequence[str],
    datasets: Sequence[str],
) -> str:
    from spacy.cli.package import generate_readme

    try:
        meta: Any = json.loads((folder / PIPELINE_META).read_text(encoding="utf8"))
        masker.add_labels(meta)
        license = license or meta.get("license") or ""
        # Headings of the table stand below the one of the section.
        table = generate_readme(_escape_meta(meta)).strip()
        table = table.replace("\n### ", "\n#### ")
        lang = printable(meta["lang"])
        return PIPELINE_CARD.format(
            metadata=front_matter(
                library_name="spacy",
                pipeline_tag="token-classification",
                tags=TAGS,
                license=license.lower() if is_license(license.lower()) else "",
                language=list(languages) or [LANGUAGES.get(lang, lang)],
                datasets=list(datasets),
            ),
            title=escape_markdown(name or f"{meta['lang']}_{meta['name']}"),
            load=FROM_HUB.format(name=name)
            if name
            else FROM_FOLDER.format(name=PLACEHOLDER),
            table=table,
            license=LICENSE.format(license=escape_markdown(license))
            if license
            else NO_LICENSE,
            data_license=DATA_LICENSE.format(license=data_license)
            if data_license
            else "",
        )
    except (LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        todo = "Expected is what nlp.to_disk wrote."
        path = folder / PIPELINE_META
        raise NunerError(
            Errors.N005, path=path, reason=describe(error), todo=todo
        ) from error


def _escape_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Escape the texts of `meta.json`: spaCy writes them into Markdown as they are."""
    escaped = {}
    for key, value in meta.items():
        if key in PARAGRAPHS:
            escaped[key] = _escape(value, _escape_paragraphs)
        else:
            escape = _escape_code if key in CODE_FIELDS else escape_markdown
            escaped[key] = _escape(value, escape)
    # Pipes in labels spaCy escapes by itself.
    for name, labels in escaped.get("labels", {}).items():
        escaped["labels"][name] = [str(one).replace(r"\|", "|") for one in labels]
    return escaped


def _escape(value: Any, escape: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {escape(key): _escape(one, escape) for key, one in value.items()}
    if isinstance(value, list):
        return [_escape(one, escape) for one in value]
    return value


def _escape_code(text: str) -> str:
    """For a code span in a table: between its backticks nothing else acts."""
    return printable(text).replace("`", r"\x60").replace("|", r"\|")


def _escape_paragraphs(text: str) -> str:
    texts = (escape_markdown(" ".join(one.split())) for one in text.split("\n\n"))
    # What begins a heading, a list or a line is none.
    return "\n\n".join(re.sub(r"^(\d*)([#+=.)-])", r"\1\\\2", one) for one in texts)
