"""The Hugging Face Hub: whether something can be downloaded from it."""

from __future__ import annotations

from typing import Literal

SECONDS = 8.0


class HubUnreachable(Exception):
    """The Hub does not answer, or has nothing of that name; the message says which."""


def find_on_hub(name: str, kind: Literal["model", "dataset"], revision: str | None = None) -> None:
    """Raises HubUnreachable within seconds where the Hub is out of reach or has no such thing: what downloads from it
    tries again for most of a minute. Nothing is asked under HF_HUB_OFFLINE=1, where downloads fail at once."""
    # Slow to import, and seldom needed.
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
    # Its own errors and those of the HTTP library of the day share no base class.
    except Exception as error:
        raise HubUnreachable(" ".join(str(error).split())[:300]) from error
