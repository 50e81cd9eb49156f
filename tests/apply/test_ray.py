"""The same parts on a Ray cluster of two workers, one of which is killed."""

import subprocess
import sys

import pytest

from spacy_nuner.apply.tag_corpus import tag_corpus
from spacy_nuner.apply.tagger import TagSettings, hash_pipeline
from spacy_nuner.errors import NunerError

from .conftest import contents, make_rows, read_jsonl, write_jsonl

ray = pytest.importorskip("ray", reason="needs spacy-nuner[ray]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes"),
]
# Slow enough that a worker can be killed in the middle.
SLOW = """
import os, time
from pathlib import Path
from spacy.language import Language

@Language.component("tests_slow")
def be_slow(doc):
    folder = Path(os.environ["TESTS_WORKERS"])
    (folder / str(os.getpid())).touch()
    time.sleep(0.05)
    return doc
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster on this machine, whose workers say which processes they are."""
    workers = tmp_path_factory.mktemp("workers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESTS_WORKERS", str(workers))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield workers
        ray.shutdown()


@pytest.fixture
def slow_pipeline(pipeline):
    import spacy

    folder = pipeline.parent
    (folder / "tests_slow.py").write_text(SLOW, encoding="utf8")
    info = folder / "tests_slow-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tests-slow\n")
    points = "[spacy_factories]\ntests_slow = tests_slow:be_slow\n"
    (info / "entry_points.txt").write_text(points)
    __import__("tests_slow")
    nlp = spacy.load(pipeline)
    if "tests_slow" not in nlp.pipe_names:
        nlp.add_pipe("tests_slow")
    nlp.to_disk(folder / "slow")
    return folder / "slow"


def test_one_of_two_workers_is_killed(tag, slow_pipeline, cluster, tmp_path):
    rows = make_rows(120)
    rows[50]["text"] = "It will explode."
    source = write_jsonl(tmp_path / "a.jsonl", rows)
    killer = (
        "import os, signal, sys, time\n"
        "seen = set()\n"
        "while len(seen) < 2:\n"
        "    time.sleep(0.1)\n"
        f"    seen = set(os.listdir({str(cluster)!r}))\n"
        "os.kill(int(min(seen)), signal.SIGKILL)\n"
        "print(min(seen))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", killer], stdout=subprocess.PIPE, text=True
    )
    tag(
        source,
        tmp_path / "ray",
        form="jsonl",
        pipe=slow_pipeline,
        engine="ray",
        n_process=2,
    )
    killed, _ = process.communicate(timeout=60)
    # Another one took its place.
    workers = {path.name for path in cluster.iterdir()}
    assert killed.strip() in workers and len(workers) >= 3
    tag(source, tmp_path / "local", form="jsonl", pipe=slow_pipeline)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert len(read_jsonl(tmp_path / "ray")) == 119


def test_a_run_is_gone_on_with_by_the_other_engine(
    tag, pipeline, cluster, tmp_path, monkeypatch
):
    from .test_resume import break_off

    source = write_jsonl(tmp_path / "a.jsonl", make_rows(30))
    break_off(tag, source, tmp_path / "out", monkeypatch, after=3)
    tag(source, tmp_path / "out", form="jsonl", engine="ray", n_process=1)
    tag(source, tmp_path / "whole", form="jsonl")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_error_of_a_worker_or_of_the_reader_comes_through(
    tag, pipeline, cluster, tmp_path
):
    source = write_jsonl(tmp_path / "a.jsonl", make_rows(3))
    settings = TagSettings(str(pipeline), "of another machine")
    with pytest.raises(NunerError, match="N652"):
        tag_corpus(settings, str(source), tmp_path / "out", engine="ray")
    (tmp_path / "a.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(NunerError, match="N109"):
        tag(tmp_path / "a.jsonl.gz", tmp_path / "out", engine="ray")
    # What is no error of ours has a number too.
    name = str(pipeline)
    settings = TagSettings(name, hash_pipeline(name), form="no such form")
    with pytest.raises(NunerError, match="N655.*KeyError|N655.*no such form"):
        tag_corpus(settings, str(source), tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()


def test_without_ray_it_is_said_what_to_install(tag, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    source = write_jsonl(tmp_path / "a.jsonl", make_rows(3))
    with pytest.raises(NunerError, match=r"N006.*spacy-nuner\[ray\]"):
        tag(source, tmp_path / "out", engine="ray")
