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
    """Read an image to show to the model, scaled down to `max_pixels`. Raises BriefInvalid."""
    try:
        return shrink(decode_image(read_image_file(path)), max_pixels)
    except OSError as error:
        raise BriefInvalid(f"cannot read image {path}: {error.strerror}") from error
    except ImageUnreadable as error:
        raise BriefInvalid(f"image {path} cannot be shown to a model ({error}); leave it out") from error


def draft_file(output: Path) -> Path:
    """Return the file that holds the questions for `output` until the set is complete."""
    return output.with_name(f".{output.name}.unfinished")


def read_draft(output: Path, brief: Brief) -> Draft:
    """Read the draft of an interrupted run for `output`; an empty one if there is none. Raises BriefInvalid for a file
    that is not a draft."""
    path = draft_file(output)
    try:
        return Draft.resume(brief, read_json(path))
    except FileNotFoundError:
        return Draft(brief)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # The questions in it may have been paid for, so it is not overwritten.
        reason = error if isinstance(error, DocumentInvalid) else f"{path} holds something else"
        raise BriefInvalid(f"the draft of questions cannot be read: {reason}; delete it to start anew") from error
