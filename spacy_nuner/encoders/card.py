"""The model card of a backbone, made from its `nuner.json`."""

import re
from pathlib import Path
from typing import Any

from ..printing import code_block, code_span, escape_markdown
from .names import is_hub_name

CARD = """\
---
library_name: transformers
pipeline_tag: feature-extraction
tags:
- nuner
- named-entity-recognition
- spacy
{metadata}---

# A NuNER backbone on {base}

An encoder that was trained by contrast on entity concepts: the vector of a word piece
agrees with the vectors of the concepts that an LLM annotated it with. A named entity
recogniser on top of it needs fewer labelled examples than one on its base encoder.
The method is [NuNER](https://arxiv.org/abs/2402.15343); this folder was made with
[spacy_nuner](https://pypi.org/project/spacy-nuner) {version}.

## Use

```python
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModel.from_pretrained("path/to/this/folder", output_hidden_states=True)
```

Read the layers {hidden_layers} together (the last one and, where there are
more, one below): `torch.cat([out.hidden_states[i] for i in {hidden_layers}], dim=-1)`.
In spaCy: `nlp.add_pipe("nuner_concepts", config={{"backbone": "path/to/this/folder",
"labels": ["person"]}})`, or give the folder to `spacy train` as `--paths.backbone`.
`concept_encoder/` encodes the names of concepts into the space of the last layer.

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
Check the licences of the base encoder and of the corpus before you pass it on.
"""


def model_card(info: dict[str, Any]) -> str:
    """Write the model card of a backbone.

    info (dict[str, Any]): The content of `nuner.json`.
    RETURNS (str): Markdown with the metadata block of the Hugging Face hub.
    """
    data, settings = info["data"], info["settings"]
    counts = {
        key: value for key, value in data.items() if isinstance(value, (int, float))
    }
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
    metadata = f"base_model: {base}\n" if on_hub else ""
    return CARD.format(
        base=code_span(base),
        metadata=metadata,
        version=escape_markdown(info["versions"]["spacy_nuner"]),
        hidden_layers=info["hidden_layers"],
        data=_rows(counts),
        concepts=", ".join(
            f"{escape_markdown(name)} ({n:,})" for name, n in data["top_concepts"]
        ),
        training=_rows(training),
        created=escape_markdown(info["created"]),
        command=code_block(info["command"], "bash"),
    )


def _rows(values: dict[str, Any]) -> str:
    texts = {k: f"{v:,}" if isinstance(v, int) else v for k, v in values.items()}
    return "\n".join(
        f"| {escape_markdown(k.replace('_', ' '))} | {escape_markdown(v)} |"
        for k, v in texts.items()
    )
