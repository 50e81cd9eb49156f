"""Pages that follow from the code and from project.yml are current."""

import sys

import pytest

from ..conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import api  # noqa: E402
import generate  # noqa: E402

PAGES = generate.PAGES


@pytest.mark.parametrize("name", PAGES)
def test_page_is_current(name):
    path = ROOT / "docs" / name
    written = path.read_text(encoding="utf8") if path.exists() else ""
    if written != PAGES[name]():
        pytest.fail(f"docs/{name} is not current. Run: python docs/generate.py")


def test_entries_at_the_end_are_sorted_into_their_rooms(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    text = "# Decisions\n\nHello.\n\n## models\n\n### Old\n\nWords.\n\nCost: some.\n\n"
    added = "## pretrain: New one\n\nBecause.\n\n## models/shim: `Two`\n\nToo.\n"
    (tmp_path / "decisions.md").write_text(text + added)
    page = generate.write_decisions()
    order = [
        "## pretrain\n",
        "### New one\n",
        "## models\n",
        "### Old\n",
        "### `Two`\n",
    ]
    assert [page.index(part) for part in order] == sorted(map(page.index, order))
    assert "- [`Two`](#two)" in page
    (tmp_path / "decisions.md").write_text(page)
    assert generate.write_decisions() == page


def test_every_decision_says_what_it_costs():
    text = (ROOT / "docs" / "decisions.md").read_text("utf8")
    for entry in text.split("\n### ")[1:]:
        assert "cost" in entry.lower(), entry.partition("\n")[0]


def test_settings_and_options_are_explained():
    """No row of a table ends without a meaning."""
    empty = [
        line
        for part in api.write_api().split("\n## ")
        if part.startswith(("Components", "Architectures", "Commands"))
        for line in part.splitlines()
        if line.startswith("| `") and line.split(" | ")[-1].strip(" |") == ""
    ]
    assert not empty, "\n".join(empty)


def test_docstrings_are_cut_into_their_parts():
    found = api.read_docstring(
        """Do a thing.

        one (str | None): The first, which
            goes on.
        two and all others: As elsewhere.
        RETURNS (dict[str, int]): What comes out.
        """
    )
    assert found.text == "Do a thing."
    assert found.arguments["one"] == ("str | None", "The first, which goes on.")
    assert found.arguments["RETURNS"] == ("dict[str, int]", "What comes out.")
    assert found.others == "As elsewhere."
