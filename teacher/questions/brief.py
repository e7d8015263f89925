"""The files that questions are written from: images, and the draft of an interrupted run."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from storage.documents import DocumentInvalid, read_json
from storage.errors import InputInvalid
from storage.images.decode import ImageUnreadable, decode_image, read_image_file, shrink
from teacher.questions.generation import Brief, Draft


class BriefInvalid(InputInvalid):
    """A file cannot be used; the message says which, why and what to do."""


def read_image(path: Path, max_pixels: int | None) -> Image.Image:
    """An image to show to the model, scaled down to `max_pixels`. Raises BriefInvalid."""
    try:
        return shrink(decode_image(read_image_file(path)), max_pixels)
    except OSError as error:
        raise BriefInvalid(f"cannot read image {path}: {error.strerror}") from error
    except ImageUnreadable as error:
        raise BriefInvalid(f"image {path} cannot be shown to a model ({error}); leave it out") from error


def draft_file(output: Path) -> Path:
    """Where the questions for `output` are kept until the set is complete."""
    return output.with_name(f".{output.name}.unfinished")


def read_draft(output: Path, brief: Brief) -> Draft:
    """The draft of an interrupted run for `output`; an empty one where there is none. Raises BriefInvalid for a file
    that is not a draft."""
    path = draft_file(output)
    try:
        return Draft.resume(brief, read_json(path))
    except FileNotFoundError:
        return Draft(brief)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # It may hold answers that were paid for, so it is not overwritten.
        reason = error if isinstance(error, DocumentInvalid) else f"{path} holds something else"
        raise BriefInvalid(f"questions found before cannot be read: {reason}; delete it to begin anew") from error
