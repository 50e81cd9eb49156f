"""Backbones that are named by their hub name, with caches made by hand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import spacy
from huggingface_hub.utils import filter_repo_objects

from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.encoders.names import resolve_weights
from spacy_nuner.errors import NunerError
from spacy_nuner.models.backbone import find_backbone
from spacy_nuner.pipeline.label_vectors import find_label_vectors

from .conftest import make_zero_shot, spans_of

pytestmark = pytest.mark.slow


NAME = "someone/nuner-tiny"


def fill_cache(home: Path, source: str) -> None:
    """Lay a backbone into a cache as huggingface_hub does."""
    repo = home / "hub" / f"models--{NAME.replace('/', '--')}"
    commit = "0" * 40
    shutil.copytree(source, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)


def run_offline(home: Path, code: str) -> str:
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env
    )
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_a_backbone_of_the_cache_is_used_offline(backbone, tmp_path):
    fill_cache(tmp_path, backbone)
    config = {"backbone": NAME, "labels": ["area"]}
    printed = run_offline(
        tmp_path,
        "import spacy\n"
        "nlp = spacy.blank('en')\n"
        f"pipe = nlp.add_pipe('nuner_concepts', config={config!r})\n"
        "nlp('Leyton')\n"
        "pipe.add_label('price')\n"
        "doc = nlp('Leyton costs 900')\n"
        "print([(s.text, s.label_) for s in doc.spans['concepts']])\n"
        "from spacy_nuner.models.backbone import find_backbone\n"
        "print(find_backbone(pipe.model).shims[0].hidden_layers)\n",
    )
    spans, layers = printed.strip().splitlines()
    assert spans == "[('Leyton', 'area'), ('900', 'price')]"
    # What nuner.json recommends, not what holds for any encoder.
    here = make_zero_shot(backbone, labels=["area"])
    here("Leyton")
    model = here.get_pipe("nuner_concepts").model
    assert layers == str(find_backbone(model).shims[0].hidden_layers)


def test_without_the_backbone_the_error_names_the_three_forms(tmp_path):
    printed = run_offline(
        tmp_path,
        "import spacy\n"
        "nlp = spacy.blank('en')\n"
        "pipe = nlp.add_pipe('nuner_concepts', config={'backbone': 'some/nuner'})\n"
        "print(pipe.backbone)\n"
        "pipe.add_label('AREA')\n"
        "try:\n"
        "    nlp.initialize()\n"
        "except ValueError as error:\n"
        "    print(error)\n",
    )
    name, error = printed.strip().splitlines()
    assert name == "some/nuner"
    assert error.startswith("[N001] Can't find the encoder 'some/nuner'")
    for form in ("a folder", "a name on the Hugging Face hub", "package:NAME/PATH"):
        assert form in error


@pytest.fixture()
def hub(backbone, tmp_path, monkeypatch):
    """A hub with one repository; it records what is downloaded from it."""
    repo = shutil.copytree(backbone, tmp_path / "repo")
    (repo / "onnx").mkdir()
    for name in ("pytorch_model.bin", "onnx/model.onnx", "onnx/config.json"):
        (repo / name).write_bytes(b"not wanted")
    cache = tmp_path / "cache"

    def snapshot_download(name, *, allow_patterns, ignore_patterns):
        if name != NAME:
            raise OSError(f"404: no {name}\nmore of this")
        files = [str(p.relative_to(repo)) for p in repo.rglob("*") if p.is_file()]
        for file in filter_repo_objects(
            files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ):
            (cache / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repo / file, cache / file)
        return str(cache)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return repo, cache


def downloaded(cache):
    return {str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file()}


def test_only_what_is_needed_is_downloaded(hub):
    _, cache = hub
    assert find_label_vectors(NAME) == cache
    assert {name.split("/")[0] for name in downloaded(cache)} == {
        "nuner.json",
        "concept_encoder",
    }
    assert resolve_weights(NAME) == str(cache)
    own = {name for name in downloaded(cache) if "/" not in name}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= own
    assert not {"pytorch_model.bin", "onnx/config.json"} & downloaded(cache)


def test_named_concepts_with_a_backbone_of_the_hub(hub):
    nlp = make_zero_shot(NAME, labels=["area"])
    assert spans_of(nlp("Leyton costs 900")) == [("Leyton", "area")]


def test_a_pickle_is_not_even_downloaded(hub):
    repo, cache = hub
    (repo / "model.safetensors").unlink()
    with pytest.raises(NunerError, match="N019.*no model.safetensors.*save it anew"):
        load_encoder(NAME)
    assert "pytorch_model.bin" not in downloaded(cache)


def test_a_repository_without_concept_encoder(hub):
    repo, _ = hub
    shutil.rmtree(repo / "concept_encoder")
    assert find_label_vectors(NAME) is None


def test_an_unknown_repository_is_told(hub):
    with pytest.raises(NunerError, match="N001.*404: no someone/else$"):
        find_label_vectors("someone/else")
    nlp = spacy.blank("en")
    nlp.add_pipe("nuner_concepts", config={"backbone": "someone/else"})
    nlp.get_pipe("nuner_concepts").add_label("AREA")
    with pytest.raises(NunerError, match="N001.*folder.*hub.*package:.*default"):
        nlp.initialize()


def test_a_folder_that_is_misspelt_is_told_from_a_name_of_the_hub(
    tmp_path, monkeypatch
):
    def unreachable(*args, **kwargs):
        raise OSError("offline")

    (tmp_path / "training" / "backbone").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(NunerError, match="N001.*'training' has no 'backbon'"):
        resolve_weights("training/backbon")
