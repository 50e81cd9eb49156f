"""Scores of trained heads, as `spacy evaluate --output` wrote them."""

from pathlib import Path

from .cells import Point, read_json, summarise

HEADS = "heads"
SCORES = ("ents_p", "ents_r", "ents_f")


def read_heads(root: Path) -> dict[str, dict[str, Point]]:
    """Read the scores of every head.

    root (Path): The folder of metrics. `heads/<name>.json` is a head that was trained
        once, `heads/<name>/draw<d>.json` one that was trained on several draws. A name
        is `<backbone>-<head>`, such as `nuner-ner`; the head has no hyphen.
    RETURNS (Dict[str, Dict[str, Point]]): Name -> score -> its mean and spread.
    RAISES (NunerError): N631 if a file has no entity scores.
    """
    files: dict[str, list[Path]] = {}
    for path in sorted((root / HEADS).glob("*.json")):
        files.setdefault(path.stem, []).append(path)
    for path in sorted((root / HEADS).glob("*/draw*.json")):
        files.setdefault(path.parent.name, []).append(path)
    heads = {}
    for name, paths in sorted(files.items()):
        scores = [read_json(path, "ents_f") for path in paths]
        # spaCy writes null where there was nothing to score.
        heads[name] = {
            key: summarise(score.get(key) or 0.0 for score in scores) for key in SCORES
        }
    return heads


def split_name(name: str) -> tuple[str, str]:
    """Split the name of a head.

    name (str): Such as "nuner-ner".
    RETURNS (Tuple[str, str]): Backbone and head: "nuner" and "ner".
    """
    backbone, _, head = name.rpartition("-")
    return backbone, head
