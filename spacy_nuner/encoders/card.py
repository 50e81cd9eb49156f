"""The model card of a backbone, made from its `nuner.json`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..printing import code_block, code_span, escape_markdown
from .names import is_hub_name

# What the card calls the folder that it lies in, as long as it has no other name.
PLACEHOLDER = "path/to/this/folder"
TAGS = ["nuner", "named-entity-recognition", "token-classification", "spacy"]

CARD = """\
---
{metadata}
---

# {title}

An encoder that was trained by contrast on entity concepts: the vector of a word piece
agrees with the vectors of the concepts that an LLM annotated it with. A named entity
recogniser on top of it needs fewer labelled examples than one on its base encoder,
{base}. The method is [NuNER](https://arxiv.org/abs/2402.15343); this was made with
[spacy_nuner](https://pypi.org/project/spacy-nuner) {version}.

## Use in spaCy

`pip install spacy-nuner`. Concepts that are only named:

```python
import spacy

nlp = spacy.blank("en")
config = {{"backbone": "{name}", "labels": ["person", "city"]}}
nlp.add_pipe("nuner_concepts", config=config)
doc = nlp("Ana Lima left Porto.")
print([(span.text, span.label_) for span in doc.spans["concepts"]])
```

A recogniser that learns from labelled sentences, with the config that
`python -m spacy nuner init .` writes:

```console
$ python -m spacy train configs/ner.cfg --output training/mine \\
    --paths.train train.spacy --paths.dev dev.spacy --paths.backbone {name}
```

## Use without spaCy

```python
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModel.from_pretrained("{name}", output_hidden_states=True)
inputs = tokenizer("Ana Lima left Porto.", return_tensors="pt")
with torch.no_grad():
    states = model(**inputs).hidden_states
vectors = torch.cat([states[layer] for layer in {hidden_layers}], dim=-1)
```

A linear layer on these vectors, one a word piece, is what reads them best.
`concept_encoder/` encodes the names of concepts into the space of the last layer.
{results}
## Training data

| | |
|---|---|
{data}

The most frequent concepts: {concepts}.

## Training

| | |
|---|---|
{training}

Made on {created} with:

{command}

## Limits

The backbone tags nothing by itself. Its concepts are those of the annotating LLM, with
what that LLM leaves out and gets wrong, and in the language of the corpus.
{license}
"""
NO_LICENSE = (
    "Check the licences of the base encoder and of the corpus before you pass it on."
)
LICENSE = (
    "Its licence, {license}, was stated by who wrote this card; those of the base "
    "encoder and of the annotated text hold as well."
)


def model_card(
    info: dict[str, Any],
    *,
    name: str | None = None,
    license: str = "",
    data_license: str = "",
    languages: Sequence[str] = (),
    datasets: Sequence[str] = (),
    results: str = "",
) -> str:
    """Write the model card of a backbone.

    info (dict[str, Any]): The content of `nuner.json`.
    name (str | None): What others load it by, such as its name on the hub.
    license (str): As the hub abbreviates it, such as "mit"; "" if it is not known.
    data_license (str): That of the annotated text, in the same form.
    languages (Sequence[str]): Codes of its languages.
    datasets (Sequence[str]): Names on the hub of what it was trained on.
    results (str): A section of Markdown with what was measured.
    RETURNS (str): Markdown with the metadata block of the Hugging Face hub.
    """
    data, settings = info["data"], info["settings"]
    counts: dict[str, Any] = {
        key: value for key, value in data.items() if isinstance(value, (int, float))
    }
    if data_license:
        counts["licence"] = data_license
    training = {
        "frozen layers": info["frozen_layers"],
        "pooling of concepts": info["pooling"],
        "text of a concept": info["template"],
        **{key: settings["training"][key] for key in ("epochs", "batch_size")},
        "learn_rate": f"{settings['training']['learn_rate']:g}",
        **{key: value for key, value in info["training"].items() if key != "runs"},
    }
    # Only names on the hub mean something to its readers.
    base = info["base"]
    is_plain = re.fullmatch(r"[\w./-]{1,96}", base, re.ASCII) is not None
    on_hub = is_hub_name(base) and is_plain and not Path(base).exists()
    metadata = front_matter(
        library_name="transformers",
        # Not what it is for, but what it gives: the hub shows how to load that.
        pipeline_tag="feature-extraction",
        tags=TAGS,
        license=license,
        language=list(languages),
        datasets=list(datasets),
        base_model=base if on_hub else "",
    )
    return CARD.format(
        title=escape_markdown(name)
        if name
        else f"A NuNER backbone on {code_span(base)}",
        base=code_span(base),
        metadata=metadata,
        name=name or PLACEHOLDER,
        version=escape_markdown(info["versions"]["spacy_nuner"]),
        hidden_layers=info["hidden_layers"],
        results=f"\n{results.strip()}\n" if results else "",
        data=_rows(counts),
        concepts=", ".join(
            f"{escape_markdown(name)} ({n:,})" for name, n in data["top_concepts"]
        ),
        training=_rows(training),
        created=escape_markdown(info["created"]),
        command=code_block(info["command"], "bash"),
        license=LICENSE.format(license=license) if license else NO_LICENSE,
    )


def front_matter(**fields: Any) -> str:
    """Write the metadata of a model card, as the hub reads them.

    **fields: As `huggingface_hub.ModelCardData` has them; empty ones are left out.
    RETURNS (str): YAML, without the lines around it.
    """
    from huggingface_hub import ModelCardData

    given = {key: value for key, value in fields.items() if value}
    return ModelCardData(**given).to_yaml().strip()


def _rows(values: dict[str, Any]) -> str:
    texts = {k: f"{v:,}" if isinstance(v, int) else v for k, v in values.items()}
    return "\n".join(
        f"| {escape_markdown(k.replace('_', ' '))} | {escape_markdown(v)} |"
        for k, v in texts.items()
    )
