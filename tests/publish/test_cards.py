"""Cards: what the hub reads, what is counted, and that their code runs."""

import getpass
import json
import shutil
import subprocess
import sys

import pytest
import srsly
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.card import card
from spacy_nuner.encoders.card import PLACEHOLDER
from spacy_nuner.encoders.safety import find_weights
from spacy_nuner.errors import NunerError
from spacy_nuner.files import hash_file
from spacy_nuner.publish.cards import make_card

from .conftest import PRIVATE, read_all

REPO = "zofia/flats"
OPTIONS = {"license": "cc-by-4.0", "languages": ["en", "pt"], "datasets": ["a/b"]}


def run(*command, code=0):
    result = CliRunner().invoke(app, ["card", *map(str, command)])
    assert result.exit_code == code, result.output
    return result.output


def write_cell(root, dataset, backbone, k, draw, score, encoder, **more):
    layers = more.get("layers", "last")
    path = root / dataset / backbone / layers / f"k{k}" / f"draw{draw}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"encoder": encoder, "hidden_layers": [-1]}
    cell = {
        **{"dataset": dataset, "backbone": backbone, "layers": "last", "k": k},
        **{"draw": draw, "sentences": 3, "mentions": {"A": k}, "settings": settings},
        **{"macro_token_f": score, "ents_f": score / 2, **more},
    }
    path.write_text(json.dumps(cell))


def write_results(root, folder):
    digest = " ".join(map(hash_file, find_weights(folder)))
    own = {"name": "/home/qzx/mine", "sha256": digest}
    for draw, score in enumerate((0.4, 0.5)):
        write_cell(root, "flats", "nuner", 4, draw, score, own)
        write_cell(root, "flats", "base", 4, draw, 0.25, {"name": "b", "sha256": "1"})
        write_cell(root, "other", "base", 4, draw, 0.125, {"name": "b", "sha256": "1"})
        # Of a trained head, which is no linear classifier on frozen vectors.
        head = {"layers": "mentions-linear-tuned", "protocol": "mentions"}
        write_cell(root, "flats", "nuner", 4, draw, 0.875, own, **head, head="linear")


def test_what_the_hub_reads_of_a_backbone(backbone):
    data = ModelCard(card(backbone, name=REPO, **OPTIONS)).data.to_dict()
    assert data == {
        "library_name": "transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["nuner", "named-entity-recognition", "token-classification", "spacy"],
        "license": "cc-by-4.0",
        "language": ["en", "pt"],
        "datasets": ["a/b"],
    }
    info = json.loads((backbone / "nuner.json").read_text())
    (backbone / "nuner.json").write_text(json.dumps(info | {"base": "someone/bert"}))
    assert ModelCard(card(backbone)).data.base_model == "someone/bert"


def test_what_the_hub_reads_of_a_pipeline(pipeline):
    data = ModelCard(card(pipeline, name=REPO, license="mit")).data.to_dict()
    assert data["library_name"] == "spacy"
    assert data["pipeline_tag"] == "token-classification"
    assert data["language"] == ["en"] and data["license"] == "mit"
    meta = srsly.read_json(pipeline / "meta.json")
    srsly.write_json(pipeline / "meta.json", meta | {"lang": "xx"})
    assert ModelCard(card(pipeline)).data.language == ["multilingual"]
    srsly.write_json(pipeline / "meta.json", meta)
    # Of its meta.json, where nothing else is said.
    meta = srsly.read_json(pipeline / "meta.json")
    for license, expected in (("MIT", "mit"), ("CC BY-SA 4.0", None)):
        meta["license"] = license
        srsly.write_json(pipeline / "meta.json", meta)
        text = card(pipeline)
        assert ModelCard(text).data.to_dict().get("license") == expected
        assert f"Its licence is {license}" in text


def test_counts_and_scores(backbone, pipeline):
    text = card(backbone)
    assert "| sentences | 3 |" in text and "city (2)" in text
    assert "Check the licences" in text
    assert "Its licence, mit, was stated" in card(backbone, license="mit")
    assert "licence |" not in text and "licence of the labelled" not in card(pipeline)
    assert "| licence | cc-by-4.0 |" in card(backbone, data_license="cc-by-4.0")
    text = card(pipeline, data_license="cc-by-4.0")
    assert "The licence of the labelled set is cc-by-4.0." in text
    meta = srsly.read_json(pipeline / "meta.json")
    meta["performance"] = {"ents_f": 0.7512, "ents_p": 0.5, "ents_r": 1.0}
    srsly.write_json(pipeline / "meta.json", meta)
    text = card(pipeline)
    assert "| **`nuner_ner`** | `person`, `city` |" in text
    assert "| `ENTS_F` | 75.12 |" in text


def test_nothing_private_is_in_a_card(backbone, pipeline):
    for folder in (backbone, pipeline):
        text = card(folder, name=REPO)
        for private in (*PRIVATE, str(folder)):
            assert private not in text


def test_the_name_of_a_user_may_be_any_word(backbone, pipeline, monkeypatch):
    """Of the owner of the repository, of what it was trained on."""
    info = json.loads((backbone / "nuner.json").read_text())
    info |= {"base": "zofia/bert", "command": "spacy nuner pretrain zofia/x.cfg out"}
    (backbone / "nuner.json").write_text(json.dumps(info))
    expected = [
        card(one, name=REPO, datasets=["zofia/x"]) for one in (backbone, pipeline)
    ]
    assert "zofia/x.cfg" in expected[0] and "# zofia/flats" in expected[0]
    for user in ("zofia", "training", "entities"):
        monkeypatch.setattr(getpass, "getuser", lambda user=user: user)
        for folder, text in zip((backbone, pipeline), expected, strict=True):
            assert card(folder, name=REPO, datasets=["zofia/x"]) == text
    monkeypatch.setattr(getpass, "getuser", lambda: "zofia")
    text = card(backbone, name="team/flats", datasets=["zofia/x"])
    assert ModelCard(text).data.base_model == "zofia/bert"
    assert ModelCard(text).data.datasets == ["zofia/x"]
    assert "pretrain ***/x.cfg out" in text


def test_labels_that_look_like_paths_stay(pipeline):
    meta = srsly.read_json(pipeline / "meta.json")
    meta["labels"]["nuner_ner"] = ["/person/artist", "/location/city hall"]
    srsly.write_json(pipeline / "meta.json", meta)
    assert "`/person/artist`, `/location/city hall`" in card(pipeline)


def test_metadata_that_hold_something_private(backbone):
    with pytest.raises(NunerError, match=r"N679.*'- \*\*\*' when.*Expected are names"):
        card(backbone, datasets=["/mnt/zofia/x"])


def test_results_of_these_weights_are_shown(backbone, tmp_path):
    assert "## Results" not in make_card(backbone)
    root = tmp_path / "somewhere"
    write_results(root, backbone)
    text = make_card(backbone, metrics=root)
    assert "This backbone is called nuner." in text
    assert "| base | 25.0 ± 0.0 |" in text
    assert "| nuner | 45.0 ± 7.1 |" in text
    assert "| gain over base | +20.0 |" in text
    # Where this backbone was not measured, nothing is compared.
    assert "other" not in text and "12.5" not in text and "qzx" not in text
    assert "87.5" not in text
    # Those that lie beside are found, and those of a project: training/backbone,
    # metrics/probe. What is nearer and of other weights does not hide them.
    root.rename(backbone.parent / "metrics")
    assert make_card(backbone) == text
    (backbone.parent / "metrics").rename(backbone.parents[1] / "metrics")
    write_cell(backbone.parent / "metrics", "flats", "x", 4, 0, 0.5, {"name": "x"})
    assert make_card(backbone) == text
    shutil.rmtree(backbone.parent / "metrics")
    (backbone.parents[1] / "metrics").rename(backbone.parent / "metrics")
    # Of other weights they say nothing.
    weights = backbone / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert "## Results" not in make_card(backbone)
    with pytest.raises(NunerError, match="N672.*no result of the weights"):
        make_card(backbone, metrics=backbone.parent / "metrics")


def test_experiments_that_nobody_named_are_no_error(backbone, caplog):
    near, far = backbone.parent / "metrics", backbone.parents[1] / "metrics"
    for name in ("monday", "tuesday"):
        write_cell(near / name, "flats", "x", 4, 0, 0.5, {"name": "x", "sha256": name})
    assert "## Results" not in make_card(backbone)
    assert "The card has no results. [N629]" in caplog.text
    # They hide none that can be read.
    write_results(far, backbone)
    assert "| nuner | 45.0 ± 7.1 |" in make_card(backbone)
    with pytest.raises(NunerError, match="N629"):
        make_card(backbone, metrics=near)


def test_it_is_printed_or_written(backbone, tmp_path):
    before = read_all(backbone)
    out = run(backbone, "--license", "mit", "--languages", "en, pt")
    assert ModelCard(out).data.language == ["en", "pt"]
    target = tmp_path / "card.md"
    run(backbone, target, "--name", REPO)
    assert target.read_text("utf8") == card(backbone, name=REPO)
    run(backbone, target, "--name", REPO)
    target.write_text("mine")
    assert "[N110]" in run(backbone, target, code=1)
    assert target.read_text() == "mine"
    # What was made in one piece stays so.
    assert "[N030]" in run(backbone, backbone / "README.md", code=1)
    assert read_all(backbone) == before


def test_results_of_a_pipeline(pipeline, tmp_path):
    with pytest.raises(NunerError, match="N677.*meta.json"):
        card(pipeline, metrics=tmp_path)


@pytest.mark.parametrize("license", ["MIT", "my own", "mit\nx: y", '"'])
def test_licences_of_another_form(backbone, license):
    with pytest.raises(NunerError, match="N675.*mit, apache-2.0"):
        card(backbone, license=license)


@pytest.mark.parametrize("name", ['x"y/z', "a\nb/c", "flats"])
def test_names_of_another_form(backbone, pipeline, name):
    for folder in (backbone, pipeline):
        with pytest.raises(NunerError, match="N673"):
            card(folder, name=name)


@pytest.mark.parametrize("damage", [{"data": {}}, {"settings": {}}, {"versions": {}}])
def test_a_backbone_that_lacks_what_a_card_has(backbone, damage):
    path = backbone / "nuner.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(NunerError, match="N303"):
        card(backbone)


@pytest.mark.parametrize("meta", ["", "[]", "{}", '{"lang": "en"}', '{"lang": 3}'])
def test_a_pipeline_that_lacks_what_a_card_has(pipeline, meta):
    (pipeline / "meta.json").write_text(meta)
    with pytest.raises(NunerError, match="N005.*meta.json"):
        card(pipeline)


@pytest.mark.weekly
@pytest.mark.slow
def test_the_code_of_the_cards_runs(backbone, pipeline, tmp_path):
    """Of a folder that has no name on the hub; with one: tests/publish/test_push.py."""
    for folder in (backbone, pipeline):
        blocks = card(folder).split("```python\n")[1:]
        assert blocks
        for block in blocks:
            code = block.partition("```")[0]
            assert PLACEHOLDER in code
            code = code.replace(PLACEHOLDER, str(folder))
            if "AutoModel" in code:
                # Without this package.
                code += "import sys; assert 'spacy_nuner' not in sys.modules\n"
                code += "assert vectors.shape[2] == 64\n"
            subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
