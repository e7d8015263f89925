"""Check that a repository of the Hugging Face Hub can be downloaded, and upload folders to one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from storage.errors import InputInvalid, RunFailed

SECONDS = 8.0


class HubUnreachable(Exception):
    """The Hub does not answer, or has no repository of that name; the message says which."""


def find_on_hub(name: str, kind: Literal["model", "dataset"], revision: str | None = None) -> None:
    """Raise HubUnreachable within seconds if the Hub is out of reach or has no such repository.

    Downloads themselves retry for most of a minute. Under HF_HUB_OFFLINE=1 nothing is checked, since downloads fail at
    once.
    """
    # Slow to import and rarely needed.
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return
    api = HfApi()
    try:
        if kind == "dataset":
            api.dataset_info(name, revision=revision, timeout=SECONDS)
        else:
            api.model_info(name, revision=revision, timeout=SECONDS)
    # The Hub's errors and those of its HTTP library, which changes between releases, share no base class.
    except Exception as error:
        raise HubUnreachable(" ".join(str(error).split())[:300]) from error


class PushInvalid(InputInvalid):
    """A folder cannot be uploaded; the message says why and what to do."""


def require_pushable(repository: str) -> None:
    """Raise PushInvalid for an invalid name of a repository, without a token, and under HF_HUB_OFFLINE=1."""
    from huggingface_hub import get_token
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise PushInvalid(f"{repository[:100]!r} names no repository of the Hub; write OWNER/NAME") from error
    if HF_HUB_OFFLINE:
        raise PushInvalid("HF_HUB_OFFLINE is set, so nothing can be pushed to the Hub; unset it")
    if get_token() is None:
        raise PushInvalid("no token of the Hugging Face Hub; run 'hf auth login' or set HF_TOKEN")


def push_folder(folder: Path, repository: str) -> str:
    """Upload the files of `folder` in one commit to a model repository, and return its address.

    A missing repository is created, as a private one. Raises PushInvalid like `require_pushable`, and RunFailed if the
    Hub is out of reach or rejects the upload.
    """
    from huggingface_hub import HfApi

    require_pushable(repository)
    api = HfApi()
    try:
        place = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=place.repo_id, commit_message="Upload an export of Aspects")
    except Exception as error:  # as above
        why = " ".join(str(error).split())[:300]
        raise RunFailed(
            f"cannot push to {repository} on the Hugging Face Hub ({why}); the export is in {folder}: push it again by "
            f"'hf upload {repository} {folder}'"
        ) from error
    return str(place)
