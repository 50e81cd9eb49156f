"""Backbones and pipelines go onto a hub, and others can load what is there."""

import getpass
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import zipfile

import pytest
import spacy
import torch
from confection import Config
from huggingface_hub import HfApi
from huggingface_hub.errors import XetAuthorizationError, XetRefreshTokenError
from spacy.training import Example
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.card import card as write_card
from spacy_nuner.cli.push import push
from spacy_nuner.encoders.card import model_card
from spacy_nuner.errors import NunerError
from spacy_nuner.models.backbone import find_backbone, get_shim
from spacy_nuner.publish.upload import upload

from .conftest import PRIVATE, TEXT, read_all
from .hub import TOKEN

REPO = "zofia/flats"


def run(*command, code=0):
    result = CliRunner().invoke(app, ["push", *map(str, command)])
    assert result.exit_code == code, result.output
    return result.output


def test_without_yes_it_is_only_listed(backbone, hub):
    before = read_all(backbone)
    out = run(backbone, REPO)
    assert "Nothing was uploaded" in out and "private" in out
    assert "nuner.json" in out and "masked" in out
    assert hub.sent == [] and read_all(backbone) == before


def test_a_backbone_goes_up_whole_and_without_what_is_private(backbone, hub):
    before = read_all(backbone)
    out = run(backbone, REPO, "--yes")
    assert f"{hub.url}/{REPO}/commit/main/" in out.replace("\n", "")
    repo = hub.repos[REPO]
    assert repo["private"] is True and repo["commits"] == 1
    # The card is new; the rest is there under the same names.
    assert set(repo["files"]) == {*before, "README.md"}
    everything = b"\n".join(repo["files"].values())
    for text in PRIVATE:
        assert text.encode() not in everything, text
    assert str(backbone).encode() not in everything
    for name, content in before.items():
        # Older releases of transformers write a path into config.json.
        if not any(text.encode() in content for text in PRIVATE):
            assert repo["files"][name] == content, name
    assert repo["files"]["nuner.json"] != before["nuner.json"]
    assert read_all(backbone) == before
    assert f'from_pretrained("{REPO}")' in repo["files"]["README.md"].decode()


def test_pushed_again_it_is_another_commit_of_what_is_new(backbone, hub):
    push(backbone, REPO, yes=True, public=True)
    assert hub.repos[REPO]["private"] is False
    assert hub.sent.count("POST /api/repos/create") == 1
    uploads = [one for one in hub.sent if one.startswith("PUT")]
    push(backbone, REPO, yes=True)
    assert hub.repos[REPO]["commits"] == 2
    assert [one for one in hub.sent if one.startswith("PUT")] == uploads
    # It is not made private again: whose repository it is decides.
    assert hub.repos[REPO]["private"] is False


def test_an_upload_that_broke_off_goes_on(backbone, hub):
    hub.cut = 1
    out = run(backbone, REPO, "--yes", code=1)
    assert "[N674]" in out and "Run the same command again" in " ".join(out.split())
    # Nothing of it shows.
    assert hub.repos[REPO]["files"] == {}
    (first,) = hub.objects
    hub.cut = None
    hub.sent.clear()
    run(backbone, REPO, "--yes")
    assert "model.safetensors" in hub.repos[REPO]["files"]
    sent = [one for one in hub.sent if one.startswith("PUT")]
    assert sent and f"PUT /objects/{first}" not in sent


def test_a_commit_that_broke_off_sends_no_large_file_again(backbone, hub):
    hub.fail = {"/commit/": 503}
    with pytest.raises(NunerError, match="N674"):
        push(backbone, REPO, yes=True)
    hub.fail = {}
    hub.sent.clear()
    push(backbone, REPO, yes=True)
    assert not [one for one in hub.sent if one.startswith("PUT")]
    assert hub.repos[REPO]["commits"] == 1


@pytest.mark.parametrize("name", ["flats", "a/b/c", "a b/c", "../x/y", "-a/b", ""])
def test_names_that_the_hub_does_not_take(backbone, hub, name):
    with pytest.raises(NunerError, match="N673"):
        push(backbone, name)
    assert hub.sent == []


def test_without_a_token(backbone, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none")
    )
    push(backbone, REPO)
    with pytest.raises(NunerError, match="N673.*no token.*HF_TOKEN"):
        push(backbone, REPO, yes=True)
    assert hub.sent == []


def test_a_token_that_the_hub_does_not_take(backbone, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong0123456789")
    out = run(backbone, REPO, "--yes", code=1)
    assert "[N673]" in out and "hf_wrong0123456789" not in out
    assert hub.repos == {}


def test_without_a_connection(backbone, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NunerError, match="N674"):
        push(backbone, REPO, yes=True)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        # hf_xet says no more than this where the connection ends.
        (RuntimeError("Data processing error: CAS service error"), "N674"),
        (XetAuthorizationError("no right to use Xet"), "N673"),
        (XetRefreshTokenError("token is invalid"), "N673"),
    ],
)
def test_errors_of_the_storage_of_large_files(
    backbone, hub, monkeypatch, error, number
):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(HfApi, "create_commit", fail)
    with pytest.raises(NunerError, match=number):
        push(backbone, REPO, yes=True)


def test_a_card_that_the_hub_refuses(backbone, hub, tmp_path):
    card = tmp_path / "card.md"
    card.write_text("---\nlicense: mine\n---\n# Mine\n")
    with pytest.raises(NunerError, match='N673.*"license" is mine'):
        push(backbone, REPO, yes=True, card=card)
    assert hub.objects == {} and hub.repos[REPO]["files"] == {}


def test_a_card_of_ones_own(backbone, hub, tmp_path):
    card = tmp_path / "card.md"
    card.write_text("---\nlicense: mit\n---\n# Mine\nLoad path/to/this/folder.\n")
    out = run(backbone, REPO, "--yes", "--card", card)
    assert "names no licence" not in out
    pushed = hub.repos[REPO]["files"]["README.md"].decode()
    assert pushed == card.read_text().replace("path/to/this/folder", REPO)
    assert "names no licence" in run(backbone, REPO)
    with pytest.raises(NunerError, match="N005"):
        push(backbone, REPO, card=tmp_path / "none.md")


def test_a_card_of_a_pipeline_that_was_made_without_a_name(pipeline, hub, tmp_path):
    """It says what one made for this name says: how to load it from the hub."""
    card, named = tmp_path / "card.md", tmp_path / "named.md"
    write_card(pipeline, card)
    write_card(pipeline, named, name=REPO)
    push(pipeline, REPO, yes=True, card=card)
    pushed = hub.repos[REPO]["files"]["README.md"].decode()
    code = f'spacy.load(snapshot_download("{REPO}"))'
    assert code in pushed and code in named.read_text()
    assert code not in card.read_text()


def test_a_card_whose_metadata_hold_something_private(backbone, hub, tmp_path):
    card = tmp_path / "card.md"
    card.write_text("---\nlicense: mit\nbase_model: /mnt/zofia/bert\n---\n# Mine\n")
    with pytest.raises(NunerError, match=r"N679.*card.md.*'base_model: \*\*\*'"):
        push(backbone, REPO, yes=True, card=card)
    assert hub.sent == []


@pytest.mark.parametrize("user", ["zofia", "will", "license", "data"])
def test_what_is_meant_to_be_public_stays(backbone, hub, monkeypatch, user):
    """Whatever the user and the machine are called."""
    monkeypatch.setattr(getpass, "getuser", lambda: user)
    monkeypatch.setattr(socket, "gethostname", lambda: "training.uni.edu")
    license = "Copyright Zofia Will. See /usr/share/common-licenses/GPL-3 for data.\n"
    (backbone / "LICENSE").write_text(license)
    card = (
        "---\nlicense: mit\ndatasets:\n- zofia/data\nbase_model: zofia/bert\n---\n"
        "# zofia/flats\nIt will be of data and training of Zofia's.\n"
    )
    (backbone / "README.md").write_text(card)
    contents, _ = push(backbone, REPO, yes=True)
    files = hub.repos[REPO]["files"]
    assert files["README.md"].decode() == card
    assert files["LICENSE"].decode() == license
    assert contents.find_license() == "mit"
    info = json.loads(files["nuner.json"])
    before = json.loads((backbone / "nuner.json").read_text())
    assert info.keys() == before.keys()
    assert info["data"].keys() == before["data"].keys()
    assert info["template"] == before["template"]


def test_the_card_that_pretrain_wrote_tells_no_more_than_its_json(
    backbone, hub, monkeypatch
):
    monkeypatch.setattr(getpass, "getuser", lambda: "zofia")
    info = json.loads((backbone / "nuner.json").read_text())
    info |= {"base": "../zofia/bert", "command": "spacy nuner pretrain zofia.cfg out"}
    (backbone / "nuner.json").write_text(json.dumps(info))
    (backbone / "README.md").write_text(model_card(info))
    push(backbone, "team/flats", yes=True)
    files = hub.repos["team/flats"]["files"]
    for name in ("README.md", "nuner.json"):
        text = files[name].decode()
        assert "pretrain ***.cfg out" in text and "../***/bert" in text


def test_keys_that_would_be_lost(backbone, hub):
    path = backbone / "nuner.json"
    info = json.loads(path.read_text())
    info["data"]["files"] = {"/mnt/zofia/a.jsonl": 1, "/mnt/zofia/b.jsonl": 2}
    path.write_text(json.dumps(info))
    (backbone / "README.md").write_text("# Mine")
    with pytest.raises(NunerError, match="N678.*nuner.json.*b.jsonl"):
        push(backbone, REPO, yes=True)
    assert hub.sent == []


def test_json_that_utf8_can_not_hold(backbone, hub):
    path = backbone / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config |= {"name_or_path": "/mnt/zofia/bert", "note": "a\ud83d"}
    path.write_text(json.dumps(config))
    push(backbone, REPO, yes=True)
    pushed = json.loads(hub.repos[REPO]["files"]["tokenizer_config.json"])
    assert pushed == config | {"name_or_path": "***"}


def test_files_of_components_that_are_not_ours(pipeline, hub):
    """Their settings, and whatever else lies there."""
    key = "sk-" + "a1" * 12
    config = Config().from_disk(pipeline / "config.cfg", interpolate=False)
    config["components"]["mine"] = {"factory": "sentencizer"}
    text = config.to_str(interpolate=False)
    (pipeline / "config.cfg").write_text(f"# by zofia@gpu7 with {key}\n{text}")
    mine = pipeline / "mine"
    mine.mkdir()
    settings = {"url": f"https://x.org/?a={key}", "password": "tulip", "n": 3}
    settings["file"] = "/data/client-x/secret.spacy"
    (mine / "settings.json").write_text(json.dumps(settings))
    (mine / "patterns.jsonl").write_text(f'{{"key": "{key}", "a": "/x/y/z"}}\n')
    (mine / "data").write_bytes(b"\x93\xa3" + key.encode() + b"\xff\x00end")
    meta = json.loads((pipeline / "meta.json").read_text())
    meta |= {"author": "Zofia", "url": f"https://oauth2:{key}@gitlab.com/zofia"}
    (pipeline / "meta.json").write_text(json.dumps(meta))
    push(pipeline, REPO, yes=True)
    files = hub.repos[REPO]["files"]
    everything = b"\n".join(files.values())
    for private in (key, "tulip", "gpu7", "client-x"):
        assert private.encode() not in everything, private
    assert json.loads(files["mine/settings.json"])["n"] == 3
    hidden = "*" * len(key)
    assert (
        files["mine/patterns.jsonl"].decode()
        == f'{{"key": "{hidden}", "a": "/x/y/z"}}\n'
    )
    assert files["mine/data"] == b"\x93\xa3" + hidden.encode() + b"\xff\x00end"
    pushed = json.loads(files["meta.json"])
    assert pushed["author"] == "Zofia"
    assert pushed["url"] == "https://***@gitlab.com/zofia"
    assert "mine" in Config().from_bytes(files["config.cfg"])["components"]


def test_what_is_not_of_it_stays_here(backbone, pipeline, hub, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    for folder in (backbone, pipeline):
        (folder / ".git").mkdir()
        (folder / ".git" / "config").write_text("secret")
        (folder / ".spacy_nuner.json").write_text("{}")
        (folder / "checkpoint-10").mkdir()
        (folder / "checkpoint-10" / "optimizer.pt").write_bytes(pickle.dumps({}))
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
        (folder / "notes.txt").write_text("secret")
        (folder / "LICENSE").symlink_to(tmp_path / "secret.txt")
        (folder / "linked").symlink_to(tmp_path)
        (folder / "checkpoint-10" / "config.json").symlink_to(tmp_path / "secret.txt")
    (backbone / "concept_encoder" / "vocab.json").symlink_to(tmp_path / "secret.txt")
    (pipeline / "vocab" / ".hidden").write_text("secret")
    for folder in (backbone, pipeline):
        contents, _ = push(folder, REPO)
        assert {
            ".git/config": "hidden",
            ".spacy_nuner.json": "hidden",
            "LICENSE": "a link",
            "linked": "a link",
        }.items() <= contents.left_out.items()
        reason = f"no part of a {contents.kind}"
        for name in ("checkpoint-10/optimizer.pt", "pytorch_model.bin", "notes.txt"):
            assert contents.left_out[name] == reason
        names = {file.name for file in contents.files}
        assert not names & set(contents.left_out)
        assert names | set(contents.left_out) >= set(read_all(folder))
    upload(push(backbone, REPO)[0], REPO)
    assert b"secret" not in b"".join(hub.repos[REPO]["files"].values())


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_parts_that_are_files_or_folders_of_other_names(hub, tmp_path, lang):
    from huggingface_hub import snapshot_download

    # A sentencizer is a file with a suffix, the tokenizer of Chinese a folder.
    nlp = spacy.blank(lang)
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path / "pipe")
    push(tmp_path / "pipe", REPO, yes=True)
    again = spacy.load(snapshot_download(REPO, cache_dir=tmp_path / "cache"))
    assert len(list(again("One. Two.").sents)) == len(list(nlp("One. Two.").sents))


def test_a_folder_of_links_is_no_upload(backbone, pipeline, hub, tmp_path):
    """The hub's own cache is one."""
    for folder, name in (
        (backbone, "model.safetensors"),
        (backbone, "nuner.json"),
        (pipeline, "config.cfg"),
        (pipeline, "nuner_ner/model"),
    ):
        there = tmp_path / "there"
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(folder, there)
        (there / name).unlink()
        (there / name).symlink_to(folder / name)
        with pytest.raises(NunerError, match=f"N676.*{name}"):
            push(there, REPO, yes=True)
    assert hub.sent == []


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch in MessagePack"])
def test_pickles_are_refused(pipeline, hub, tmp_path, kind):
    content = pickle.dumps({"a": 1})
    if kind != "pickle":
        torch.save({"a": torch.zeros(3)}, tmp_path / "x.pt")
        content = (tmp_path / "x.pt").read_bytes()
    if kind == "torch in MessagePack":
        import srsly

        content = srsly.msgpack_dumps({"shims": [content]})
    (pipeline / "nuner_ner" / "model").write_bytes(content)
    with pytest.raises(NunerError, match="N671.*nuner_ner/model"):
        push(pipeline, REPO, yes=True)
    assert hub.sent == []


@pytest.mark.parametrize("made", ["nothing", "empty", "file", "encoder"])
def test_what_is_neither(tmp_path, backbone, made):
    path = {"encoder": backbone / "concept_encoder"}.get(made, tmp_path / made)
    if made == "empty":
        path.mkdir()
    elif made == "file":
        path.write_text("x")
    with pytest.raises(NunerError, match="N670"):
        push(path, REPO)


def test_where_the_weights_were_is_not_saved_with_them(backbone):
    """It may be a cache, which no config names: nobody would know of it to mask it."""
    nlp = spacy.blank("en")
    nlp.add_pipe("nuner_ner", config={"backbone": str(backbone), "labels": ["city"]})
    nlp.initialize()
    node = find_backbone(nlp.get_pipe("nuner_ner").model)
    assert str(backbone).encode() not in get_shim(node).to_bytes()


def test_a_pipeline_predicts_the_same_from_there(pipeline, hub, tmp_path):
    from huggingface_hub import snapshot_download

    push(pipeline, REPO, yes=True)
    files = hub.repos[REPO]["files"]
    everything = b"\n".join(files.values())
    for text in (*PRIVATE, str(tmp_path)):
        assert text.encode() not in everything, text
    folder = snapshot_download(REPO, endpoint=hub.url, cache_dir=tmp_path / "cache")
    nlp, expected = spacy.load(folder), spacy.load(pipeline)
    doc, wanted = nlp(TEXT), expected(TEXT)
    assert len(doc.spans["concepts"]) > 0
    for one, other in zip(doc.spans["concepts"], wanted.spans["concepts"], strict=True):
        assert (one.text, one.label_) == (other.text, other.label_)
    scores = [each.spans["concepts"].attrs["scores"] for each in (doc, wanted)]
    assert (scores[0] == scores[1]).all()
    # What was masked is no setting that somebody else could use.
    assert nlp.get_pipe("nuner_ner").backbone == "***"
    nlp.to_disk(tmp_path / "again")
    spacy.load(tmp_path / "again")


def test_a_pipeline_whose_labels_look_like_paths(pipeline, hub, tmp_path):
    """As those of FIGER do, and some that could be of a home folder."""
    labels = {
        "/person/artist": "who paints",
        "/location/city": None,
        "/home/garden": None,
    }
    nlp = spacy.load(pipeline)
    pipe = nlp.get_pipe("nuner_concepts")
    for label, description in labels.items():
        pipe.add_label(label, description)
    ner = nlp.add_pipe("ner")
    for label in labels:
        ner.add_label(label)
    nlp.add_pipe("textcat_multilabel")
    example = Example.from_dict(
        nlp.make_doc(TEXT), {"cats": dict.fromkeys(labels, 1.0)}
    )
    nlp.initialize(lambda: [example])
    nlp.to_disk(tmp_path / "figer")
    # As they stand there if the component was made with them.
    path = tmp_path / "figer" / "config.cfg"
    config = Config().from_disk(path, interpolate=False)
    thresholds = dict.fromkeys(pipe.labels, 0.0)
    settings = {"labels": labels, "threshold": thresholds}
    config["components"]["nuner_concepts"] |= settings
    config.to_disk(path)
    push(tmp_path / "figer", REPO, yes=True)
    for name, content in hub.repos[REPO]["files"].items():
        path = tmp_path / "there" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    there = spacy.load(tmp_path / "there")
    assert there.pipe_labels == nlp.pipe_labels
    assert there.get_pipe("nuner_concepts").label_data == pipe.label_data
    assert there.meta["labels"] == nlp.meta["labels"]
    assert "`/person/artist`" in (tmp_path / "there" / "README.md").read_text()
    config = Config().from_disk(tmp_path / "there" / "config.cfg", interpolate=False)
    assert settings.items() <= config["components"]["nuner_concepts"].items()
    texts = [
        [(span.text, span.label_) for span in doc.spans["concepts"]]
        for doc in (nlp(TEXT), there(TEXT))
    ]
    assert texts[0] == texts[1] and texts[0]


@pytest.mark.weekly
@pytest.mark.slow
def test_the_code_of_the_cards_runs_from_there(backbone, pipeline, hub, tmp_path):
    """Pushed and loaded by another process, by the environment alone."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path / "home"),
    }
    environment.pop("HF_HUB_OFFLINE", None)

    def execute(*command):
        out = subprocess.run(
            [sys.executable, *map(str, command)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        assert out.returncode == 0, out.stdout + out.stderr
        return out.stdout

    for folder, repo in ((backbone, "zofia/backbone"), (pipeline, REPO)):
        execute("-m", "spacy", "nuner", "push", folder, repo, "--yes")
        card = hub.repos[repo]["files"]["README.md"].decode()
        blocks = card.split("```python\n")[1:]
        assert len(blocks) == (2 if repo == "zofia/backbone" else 1)
        for block in blocks:
            code = block.partition("```")[0]
            assert f'"{repo}"' in code
            execute("-c", code)
    # And as a package that pip installs.
    out = execute(
        "-c",
        f"from huggingface_hub import snapshot_download as d\nprint(d({REPO!r}))",
    )
    execute("-m", "spacy", "package", out.strip(), tmp_path, "--build", "none")
    (made,) = tmp_path.glob("en_pipeline-*")
    # What `--build wheel` runs, but with the setuptools that stand here.
    execute("-m", "build", "--wheel", "--no-isolation", made)
    (wheel,) = (made / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    execute(
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r})\n"
        f"import en_pipeline; en_pipeline.load()({TEXT!r})",
    )
