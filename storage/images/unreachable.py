"""Images that cannot be read because a server or the network fails, which is not the images' fault."""

from __future__ import annotations

from collections.abc import Sequence

from storage.errors import RunFailed
from storage.filesystem import reason
from storage.retries import may_pass

IN_A_ROW = 8  # so many images that fail one after the other count as a server out of reach


class ImagesUnreachable(RunFailed):
    """A server, or the network, fails for one image after the other. Nothing is written about them."""

    may_pass = True


def passing_reason(error: BaseException) -> str | None:
    """Why a server or the network did not give an image, on one short line; None where trying again would not help."""
    return reason(error.__cause__ or error) if may_pass(error) else None


def require_reachable(reasons: Sequence[str | None]) -> None:
    """Raise ImagesUnreachable if a server or the network failed for each of at least IN_A_ROW images, by what
    `passing_reason` returned for them; None also for images that could be read."""
    if len(reasons) >= IN_A_ROW and None not in reasons:
        raise ImagesUnreachable(
            f"{len(reasons)} images in a row cannot be read ({reasons[0]}); run the same command again later"
        )
