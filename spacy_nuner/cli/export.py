"""`spacy nuner export`: answers out of the store, for convert."""

import json
from collections import Counter
from contextlib import closing
from pathlib import Path

import typer

from ..errors import Errors, NunerError, Warnings
from ._util import OVERWRITE, msg


def export_cli(
    store: Path = typer.Argument(help="Store of answers that annotate made"),
    output: Path = typer.Argument(help="JSON Lines with id, text and answer"),
    prompt: str | None = typer.Option(
        None, help="Only answers to this prompt, by its name or hash"
    ),
    model: str | None = typer.Option(None, help="Only answers of this model"),
    overwrite: bool = OVERWRITE,
) -> None:
    """Write the newest answer to each sentence, in the order of the sentences."""
    from ..annotate.accounting import name_counts
    from ..readers.answers import GOOD

    verdicts = export(store, output, prompt=prompt, model=model, overwrite=overwrite)
    msg.good(f"{verdicts.total():,} answers in {output}")
    del verdicts[GOOD]
    if verdicts:
        kinds = name_counts(verdicts)
        msg.warn(Warnings.W204.format(count=verdicts.total(), kinds=kinds))


def export(
    store: Path,
    output: Path,
    *,
    prompt: str | None = None,
    model: str | None = None,
    overwrite: bool = False,
) -> Counter[str]:
    """Write the newest answer to each sentence, in the order of the sentences.

    store (Path): The store of answers that `annotate` made.
    output (Path): JSON Lines with id, text and answer, or entities.
    prompt (str | None): Only answers to this prompt, by its name or hash.
    model (str | None): Only answers of this model.
    overwrite (bool): Replace a file that this did not make, too.
    RETURNS (Counter[str]): The records by the verdict on their answers.
    RAISES (NunerError): N210 for a file that is no store, N211 with answers to several
        prompts or of several models, N212 without answers; what `write_files` raises.
    """
    from ..annotate.store import Store
    from ..outputs import write_files
    from ..readers.answers import judge, to_record

    with (
        write_files(
            [output], command="export", inputs=[store], overwrite=overwrite
        ) as folder,
        closing(Store(store, read_only=True)) as answers,
    ):
        kinds = [
            kind
            for kind in answers.kinds()
            if prompt is None or kind[0] == prompt or kind[1].startswith(prompt)
            if model is None or kind[2] == model
        ]
        if not kinds:
            which = f" to the prompt '{prompt}'" if prompt else ""
            which += f" of the model '{model}'" if model else ""
            raise NunerError(Errors.N212, path=store, which=which)
        if len(kinds) > 1:
            found = ", ".join(
                f"--prompt {name} ({prompt_hash[:8]}) --model {asked}: {count:,} "
                "answers"
                for name, prompt_hash, asked, count in kinds
            )
            raise NunerError(Errors.N211, path=store, found=found)
        _, prompt_hash, asked, _ = kinds[0]
        verdicts: Counter[str] = Counter()
        with (folder / output.name).open("w", encoding="utf8") as f:
            for sentence, answer, structured in answers.best(prompt_hash, asked):
                record = to_record(sentence, answer, structured=structured)
                f.write(json.dumps(record, ensure_ascii=False) + "\n")
                verdicts[judge(answer, text=sentence.text, structured=structured)] += 1
    return verdicts
