"""Check that a repository of the Hugging Face Hub can be downloaded."""

from __future__ import annotations

from typing import Literal

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
