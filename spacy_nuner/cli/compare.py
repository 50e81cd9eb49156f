"""`spacy nuner compare`: which backbone for one's own labelled texts, and what next."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ._util import LABEL_NAMES, LANG, NAMES, OVERWRITE, SOURCE, msg, split_list

if TYPE_CHECKING:
    from ..fewshot.advice import Candidate

MARKDOWN, NUMBERS, FIGURE = "compare.md", "compare.json", "forecast"
INTERVAL = ("value", "low", "high")


def compare_cli(
    labelled: Path = typer.Argument(
        ..., help=f"Labelled texts, of which no test set was put aside: {SOURCE}"
    ),
    output: Path | None = typer.Argument(
        None, help="Folder for compare.md, compare.json and the figure, if wanted"
    ),
    backbones: str = typer.Option(
        ...,
        help="Encoders to compare, between commas: folders, hub names, "
        "package:NAME/PATH or default",
    ),
    names: str = NAMES,
    layers: str = typer.Option(
        "both",
        help="Layer sets between commas: last, both (last and middle), or indices with "
        "a + between them, such as -1+-4",
    ),
    heads: str = typer.Option(
        "nuner_ner",
        help="Heads to train on the best of them, in each of five parts, some minutes "
        "each: nuner_ner, linear, two-layer, prototype, ner, spancat, between commas; "
        "none for the probe alone",
    ),
    labels: Path | None = LABEL_NAMES,
    seed: int = typer.Option(0, min=0, help="Seed of the order of the texts"),
    lang: str = LANG,
    gpu_id: int = typer.Option(-1, help="GPU to embed on; -1 is the CPU"),
    overwrite: bool = OVERWRITE,
) -> None:
    """Say which backbone and head fit labelled texts, what F1 to expect, what to label.

    There is no test set: a linear probe on the frozen encoders is cross-validated on
    growing shares of the texts, and its learning curve is carried on. Heads are trained
    on the best encoder, in the same folds.
    """
    advice, content = compare(
        labelled,
        output,
        backbones=split_list(backbones),
        names=split_list(names),
        layers=split_list(layers),
        heads=[] if heads == "none" else split_list(heads),
        labels=labels,
        seed=seed,
        lang=lang,
        gpu_id=gpu_id,
        overwrite=overwrite,
    )
    for header, rows in make_tables(content):
        msg.table(rows, header=header, divider=True)
    for line in advice.splitlines():
        msg.info(line)
    if output is not None:
        msg.good(str(output))


def compare(
    labelled: Path,
    output: Path | None = None,
    *,
    backbones: Sequence[str],
    names: Sequence[str] = (),
    layers: Sequence[str] = ("both",),
    heads: Sequence[str] = (),
    labels: Path | None = None,
    seed: int = 0,
    lang: str = "en",
    gpu_id: int = -1,
    overwrite: bool = False,
) -> tuple[str, dict[str, Any]]:
    """Say which backbone and head fit labelled texts, what F1 to expect, what to label.

    labelled (Path): Labelled texts.
    output (Path | None): Folder for compare.md, compare.json and the figure; None for
        no files.
    backbones (Sequence[str]): Encoders to compare.
    names (Sequence[str]): What to call them; made from `backbones` if empty.
    layers (Sequence[str]): Layer sets, see `find_backbones`.
    heads (Sequence[str]): Heads to train on the best backbone, of `heads.TRAINED`.
    labels (Path | None): JSON of what labels are called, for `nuner_ner`.
    seed (int): Seed of the order of the texts.
    lang (str): Language of the tokenizer for texts.
    gpu_id (int): GPU to embed on; -1 is the CPU.
    overwrite (bool): Replace files that this did not make, too.
    RETURNS (tuple[str, dict[str, Any]]): The advice, a sentence a line, and the content
        of compare.json.
    RAISES (NunerError): What `check_heads`, `find_backbones`, `read_docs`,
        `read_labels`, `judge_backbones` and `write_files` raise.
    """
    from spacy import util
    from spacy.cli._util import setup_gpu

    from ..corpus.labelled_docs import read_docs
    from ..fewshot.advice import give_advice, judge_backbones, list_labels, to_json
    from ..fewshot.compare import find_backbones
    from ..fewshot.cross_validation import leave_out_copies
    from ..fewshot.head_choice import judge_heads
    from ..fewshot.heads import check_heads
    from ..outputs import check_output, write_files
    from ..pipeline.labels import read_labels

    check_heads(heads, ["tuned"])
    meanings = read_labels(labels) if labels else {}
    writing: Any = nullcontext()
    if output is not None:
        from ..plotting import get_paths

        inputs: list[str | Path] = [labelled, *backbones]
        inputs += [labels] if labels else []
        output = check_output(output, inputs=inputs, folder=True)
        paths = [output / MARKDOWN, output / NUMBERS, *get_paths(output / FIGURE)]
        writing = write_files(paths, command="compare", overwrite=overwrite)
    with writing as folder:
        found = find_backbones(
            backbones, names=names, layers=layers, trained=layers if heads else ()
        )
        read = read_docs(labelled, lang=lang)
        docs = leave_out_copies(read)
        if copies := len(read) - len(docs):
            util.logger.warning(
                "%d of %d texts stand there before, and are left out.",
                copies,
                len(read),
            )
        setup_gpu(gpu_id)
        candidates = judge_backbones(docs, found, seed=seed)
        best = candidates[0]
        rows = list_labels(best, docs)
        (backbone,) = (one for one in found if one.name == best.backbone)
        judged = judge_heads(
            # As the probe, which sees none without a token.
            [doc for doc in docs if len(doc)],
            *(backbone, best.layers, best.validated, heads),
            seed=seed,
            meanings=meanings,
        )
        advice = give_advice(candidates, rows, judged)
        content = to_json(candidates, rows, judged)
        if folder is not None:
            _write(folder, candidates, advice, content)
    return advice, content


def _write(
    folder: Path,
    candidates: Sequence["Candidate"],
    advice: str,
    content: dict[str, Any],
) -> None:
    from ..fewshot.figures import draw_forecast
    from ..printing import escape_markdown, markdown_table

    lines = [f"- {escape_markdown(line)}" for line in advice.splitlines()]
    parts = ["# Which backbone, and what to label", "\n".join(lines)]
    parts.append(f"![Entity F1 over the number of texts]({FIGURE}.png)")
    parts += [markdown_table(*table) for table in make_tables(content)]
    (folder / MARKDOWN).write_text("\n\n".join(parts) + "\n", encoding="utf8")
    text = json.dumps(content, indent=1) + "\n"
    (folder / NUMBERS).write_text(text, encoding="utf8")
    curves = {f"{one.backbone}, {one.layers}": one.curve for one in candidates}
    draw_forecast(curves, folder / FIGURE)


def make_tables(
    content: dict[str, Any],
) -> list[tuple[list[str], list[list[str]]]]:
    """Lay the numbers out.

    content (dict[str, Any]): The content of compare.json.
    RETURNS (list): Header and rows of the backbones, of heads if there are some, and
        of the labels.
    """
    texts = content["texts"]
    sizes = list(content["backbones"][0]["curve"])
    header = ["backbone, layers", *(f"{size} texts" for size in sizes)]
    header += [f"{texts} expected", f"{2 * texts} expected"]
    rows = []
    for one in content["backbones"]:
        row = [f"{one['backbone']}, {one['layers']}"]
        row += [f"{100 * one['curve'][size]:.1f}" for size in sizes]
        for key in ("expected", "twice"):
            value, low, high = (100 * one[key][name] for name in INTERVAL)
            row.append(f"{value:.0f} ({low:.0f} to {high:.0f})")
        rows.append(row)
    labels = [
        [
            row["label"],
            str(row["mentions"]),
            f"{100 * row['token_f']:.1f}",
            f"{100 * row['rise']:+.1f}",
            "short" if row["short"] else "",
        ]
        for row in content["labels"]
    ]
    titles = ["label", "mentions", "token F1", "last doubling", "examples"]
    tables = [(header, rows), (titles, labels)]
    if content["heads"]:
        of = content["heads"][0]["texts"]
        header = ["head, encoder tuned", f"{of} texts", "over the probe"]
        rows = [[one["head"], *_show_head(one)] for one in content["heads"]]
        tables.insert(1, (header, rows))
    return tables


def _show_head(one: dict[str, Any]) -> list[str]:
    cells = []
    for key, sign in (("score", ""), ("over_the_probe", "+")):
        value, low, high = (100 * one[key][name] for name in INTERVAL)
        cells.append(f"{value:{sign}.0f} ({low:{sign}.0f} to {high:{sign}.0f})")
    return cells
