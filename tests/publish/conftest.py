"""A backbone and a pipeline with something private in each, and a hub on loopback."""

import json
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.file_download
import huggingface_hub.utils._http
import pytest
import spacy

from ..util import make_tiny_backbone
from .hub import TOKEN, Hub

TEXT = "Ana Lima left Porto."
TEXTS = [TEXT, "city: a large settlement", "person: somebody with a name"]
# Of the one who trained.
USER, SECRET = "zofia.kowalska", "sk-proj-0123456789abcdefghij"
PRIVATE = (USER, "client-x", SECRET, "buildhost7")
COMMAND = (
    f"spacy nuner pretrain /home/{USER}/configs/pretrain.cfg out --paths.corpus="
    f"'/mnt/team data/client-x/corpus' --api-key {SECRET} --note {USER}@buildhost7"
)


@pytest.fixture
def backbone(tmp_path) -> Path:
    """A backbone folder whose files say where and by whom it was made."""
    folder = make_tiny_backbone(tmp_path / "data" / "client-x", TEXTS)
    path = folder / "nuner.json"
    info = json.loads(path.read_text("utf8"))
    info["base"] = f"/home/{USER}/models/bert"
    info["command"] = COMMAND
    info["settings"]["paths"] = {"corpus": f"C:\\Users\\{USER}\\client-x"}
    info["data"]["files"] = {f"~/{USER}/client-x.jsonl": 3}
    path.write_text(json.dumps(info), encoding="utf8")
    (folder / "README.md").unlink()
    return folder


@pytest.fixture
def pipeline(backbone, tmp_path) -> Path:
    """A saved pipeline that names the folder of its backbone."""
    nlp = spacy.blank("en")
    config = {"labels": ["person", "city"], "backbone": str(backbone)}
    nlp.add_pipe("nuner_concepts", config={**config, "threshold": 0.0})
    nlp.add_pipe("nuner_ner", config=config)
    nlp(TEXT)
    nlp.config["paths"]["train"] = f"/home/{USER}/client-x/train.spacy"
    nlp.to_disk(tmp_path / "flats")
    return tmp_path / "flats"


@pytest.fixture
def hub(monkeypatch):
    """A hub, to which this process talks as to the real one."""
    with Hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(
            huggingface_hub.file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template
        )
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # What it waits before it tries again.
        monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda _: None)
        yield hub


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
