"""Files onto the hub, in one commit."""

from ..errors import Errors, NunerError
from .cards import check_repo
from .contents import Contents


def upload(contents: Contents, repo: str, *, private: bool = True) -> str:
    """Upload files to a repository of the hub, which is made if it is not there.

    They change all at once: either the commit is there, or the repository is as it was.
    What has arrived of a run that broke off is not sent again.

    contents (Contents): The files.
    repo (str): The name of the repository.
    private (bool): Whether a repository that is made is private. One that is there
        stays as it is.
    RETURNS (str): The address of the commit.
    RAISES (NunerError): N673 for a name, a token or a card that the hub does not take,
        N674 if the connection broke off.
    """
    import requests
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import XetAuthorizationError, XetRefreshTokenError

    check_repo(repo)
    if get_token() is None:
        raise NunerError(Errors.N673, repo=repo, reason="There is no token.")
    # Of each file, large ones too, the hub is told the hash first.
    operations = [
        CommitOperationAdd(
            path_in_repo=file.name,
            path_or_fileobj=str(file.path) if file.content is None else file.content,
        )
        for file in contents.files
    ]
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.create_commit(
            repo,
            operations,
            commit_message=f"Upload {contents.kind} with spacy_nuner",
        )
    except (
        *(requests.RequestException, OSError, RuntimeError, ValueError),
        *(XetAuthorizationError, XetRefreshTokenError),
    ) as error:
        # What the hub says about a card is a ValueError, and what a thread of
        # huggingface_hub ends with, or hf_xet, a RuntimeError.
        number = Errors.N674 if _broke_off(error) else Errors.N673
        reason = " ".join(str(error).split())[:500]
        raise NunerError(number, repo=repo, reason=reason) from error
    return str(commit.commit_url)


def _broke_off(error: BaseException) -> bool:
    """Whether it was the connection or the server, and not what was asked for."""
    import requests
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, RuntimeError) and error.__cause__ is None:
        # Of hf_xet, which knows no other.
        return True
    cause = error.__cause__ if isinstance(error, RuntimeError) else error
    if isinstance(cause, HfHubHTTPError) and cause.response is not None:
        # Too late, or too many requests; or the server's own fault.
        status = cause.response.status_code
        return status >= 500 or status in (408, 429)
    return isinstance(cause, requests.RequestException | OSError)
