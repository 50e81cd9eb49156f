"""`spacy nuner push`: a backbone or a pipeline onto the Hugging Face hub."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ._util import msg

if TYPE_CHECKING:
    from ..publish.contents import Contents


def push_cli(
    folder: str = typer.Argument(
        ..., help="A backbone or a saved pipeline: its folder, or default"
    ),
    repo: str = typer.Argument(..., help="Repository, such as your-name/flats-ner"),
    yes: bool = typer.Option(
        False, "--yes", help="Upload; without it, what would be is only listed"
    ),
    public: bool = typer.Option(
        False, "--public", help="Make the repository public if it is not there yet"
    ),
    card: Path | None = typer.Option(
        None,
        help="Model card that `card` wrote [default: README.md of the folder, or a new "
        "one]",
    ),
) -> None:
    """Upload a backbone or a pipeline to the Hugging Face hub, private at first.

    Absolute paths, user@host, keys, and in the account of a run the names of user and
    host are masked in what is uploaded; the files of the folder stay as they are. The
    token comes from HF_TOKEN, or from `hf auth login`. A run that broke off goes on if
    it is run again.
    """
    contents, address = push(folder, repo, yes=yes, public=public, card=card)
    show_contents(contents)
    if address is None:
        visibility = "public" if public else "private"
        msg.info(
            f"Nothing was uploaded. To upload this to {repo} ({visibility}, if it "
            "is not there yet), add --yes."
        )
    else:
        msg.good(address)


def push(
    folder: str | Path,
    repo: str,
    *,
    yes: bool = False,
    public: bool = False,
    card: Path | None = None,
) -> tuple["Contents", str | None]:
    """Upload a backbone or a pipeline to the Hugging Face hub.

    folder (str | Path): Its folder, or "default".
    repo (str): The repository, which is made if it is not there.
    yes (bool): Whether to upload; if not, nothing is asked of the hub.
    public (bool): Whether a repository that is made is public.
    card (Path | None): The model card, if not the README.md of the folder.
    RETURNS (tuple[Contents, str | None]): What is uploaded, and the address of the
        commit, None for none.
    RAISES (NunerError): What `find_share`, `find_contents`, `check_repo` and `upload`
        raise.
    """
    from ..publish.cards import check_repo, find_share
    from ..publish.contents import find_contents
    from ..publish.upload import upload

    check_repo(repo)
    contents = find_contents(find_share(folder), name=repo, card=card)
    address = upload(contents, repo, private=not public) if yes else None
    return contents, address


def show_contents(contents: "Contents") -> None:
    """Print what is uploaded, and what is not."""
    rows = [
        (file.name, f"{file.size:,}", "masked" if file.masked else "")
        for file in contents.files
    ]
    total = sum(file.size for file in contents.files)
    rows.append((f"{contents.kind}, {len(contents.files)} files", f"{total:,}", ""))
    header = ("file", "bytes", "private")
    msg.table(rows, header=header, aligns=("l", "r", "l"), max_col=60)
    for name, reason in contents.left_out.items():
        msg.text(f"Left out: {name} ({reason})")
    if contents.find_license() is None:
        msg.warn(
            "The card names no licence: write one with `spacy nuner card --license`, "
            "and give it with --card."
        )
    if contents.kind == "pipeline":
        msg.info("vocab/strings.json holds words of all texts that it was trained on.")
