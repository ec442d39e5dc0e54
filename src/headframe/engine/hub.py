"""Model bundles on the Hugging Face hub: one repository a bundle, its three files at the root."""

from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from headframe.core.errors import JobError, UnknownNameError

SCHEME = "hf://"


def fetch_files(source: str, names: Sequence[str]) -> Path:
    """Fetch files of a repository into the hub's cache.

    Args:
        source: ``hf://owner/name``.
        names: files at its root.

    Returns:
        The folder they lie in.

    Raises:
        UnknownNameError: ``source`` is no such name.
        JobError: the hub cannot be reached, or has no such repository.
    """
    repo = source.removeprefix(SCHEME)
    try:
        return Path(huggingface_hub.snapshot_download(repo, allow_patterns=list(names)))
    except HFValidationError as exc:
        raise UnknownNameError(f"{SCHEME}{repo}: write hf://owner/name.") from exc
    except (HfHubHTTPError, OSError, ValueError) as exc:
        raise JobError(f"{SCHEME}{repo}: cannot be fetched ({_reason(exc)}).") from exc


def push_files(folder: Path, target: str, names: Sequence[str], *, private: bool = False) -> str:
    """Put files into a repository of the hub, which is made if need be.

    Args:
        folder: where the files lie.
        target: ``hf://owner/name``.
        names: files straight in ``folder``; others stay here.
        private: make a new repository private; one that is there stays as it is.

    Returns:
        Address of the repository.

    Raises:
        UnknownNameError: ``target`` is no such name.
        JobError: the hub cannot be reached, or nobody is logged in who may write there.
    """
    repo = target.removeprefix(SCHEME)
    api = huggingface_hub.HfApi(library_name="headframe")
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=list(names),
            commit_message=f"Add {folder.name}",
        )
    except HFValidationError as exc:
        raise UnknownNameError(f"{SCHEME}{repo}: write hf://owner/name.") from exc
    except LocalTokenNotFoundError as exc:
        raise JobError(f"{SCHEME}{repo}: nobody is logged in. Run: hf auth login") from exc
    except (HfHubHTTPError, OSError, ValueError) as exc:
        raise JobError(f"{SCHEME}{repo}: cannot be written ({_reason(exc)}).") from exc
    return str(address)


def _reason(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]
