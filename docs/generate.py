"""Write the pages that follow from the code and from project.yml.

    python docs/generate.py

`docs/api.md` comes from the registered functions and the commands, `docs/project.md`
from project.yml, and `docs/decisions.md` gets its entries in the order of the rooms and
its index. A test says when one of them is not current.
"""

import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

# In the order in which data goes through the package.
ROOMS = {
    "package": "the package as a whole",
    "docs": "documentation, benchmarks and tests",
    "encoders": "what an encoder is, on disk and in memory",
    "readers": "bytes from anywhere become records",
    "annotate": "sentences get an LLM's answers",
    "corpus": "records become DocBin shards",
    "stats": "what a corpus is like",
    "pretrain": "a corpus becomes a backbone",
    "models": "thinc layers",
    "pipeline": "the components",
    "configs": "configs of heads",
    "fewshot": "what a backbone is worth",
    "labelling": "which sentences to label",
    "apply": "a corpus through a pipeline",
    "demo": "a page to try a pipeline on",
    "publish": "backbones and pipelines go to others",
    "cli": "the commands",
}


def write_api() -> str:
    """Describe what is registered and the commands."""
    from api import write_api as write

    return write()


def write_project() -> str:
    """The table of project.yml, as `spacy project document` writes it."""
    from weasel.cli.document import project_document

    with redirect_stdout(io.StringIO()) as written:
        project_document(ROOT, Path("-"))
    # The links of the table start from the project's folder.
    table = re.sub(r"\]\((?!http|#)", "](../", written.getvalue().strip())
    return f"{table}\n"


def write_decisions() -> str:
    """Sort the entries by room, those at the end of the file too, and list them."""
    rooms: dict[str, list[tuple[str, str]]] = {room: [] for room in ROOMS}
    text = (DOCS / "decisions.md").read_text(encoding="utf8")
    introduction = text.split("\n\n")[1]
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        room, _, title = heading.partition(": ")
        if title:
            entries = rooms.setdefault(room.strip().split("/")[0], [])
            entries.append((title.strip(), body.strip()))
        else:
            for entry in re.split(r"^### ", body, flags=re.MULTILINE)[1:]:
                title, _, words = entry.partition("\n")
                rooms.setdefault(room, []).append((title.strip(), words.strip()))
    rooms = {room: entries for room, entries in rooms.items() if entries}
    lines = ["# Decisions", "", introduction, ""]
    for room, entries in rooms.items():
        lines += [f"**{room}**: {ROOMS.get(room, room)}", ""]
        lines += [f"- [{title}](#{anchor(title)})" for title, _ in entries]
        lines.append("")
    for room, entries in rooms.items():
        lines += [f"## {room}", ""]
        for title, body in entries:
            lines += [f"### {title}", "", body, ""]
    return "\n".join(lines)


def anchor(title: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


PAGES = {
    "api.md": write_api,
    "project.md": write_project,
    "decisions.md": write_decisions,
}


def main() -> None:
    """Write all pages."""
    for name, write in PAGES.items():
        (DOCS / name).write_text(write(), encoding="utf8")


if __name__ == "__main__":
    main()
