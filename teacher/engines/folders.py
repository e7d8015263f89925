"""Check a model's folder for problems that would otherwise show only after minutes of loading."""

from __future__ import annotations

from pathlib import Path

from storage.documents import read_json
from teacher.engines.config import OTHER_WEIGHTS, WEIGHTS, TeacherConfig, TeacherInvalid, shown_path

IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")  # one of them configures the image processor


def check_folder(folder: Path, config: TeacherConfig, *, takes_images: bool = True) -> None:
    """Raise TeacherInvalid for a folder without a model, or without an image model if one is required."""
    document = read_json(folder / "config.json")
    if not isinstance(document, dict):
        raise TeacherInvalid(
            f"config.json in {shown_path(folder)} describes no model; point to a Hugging Face model's folder"
        )
    if (folder / "adapter_config.json").is_file():
        raise TeacherInvalid(
            f"{shown_path(folder)} holds an adapter, which one engine takes and another leaves out; merge it into its "
            "model first (peft: merge_and_unload), and give the merged model's folder"
        )
    if takes_images and not any((folder / name).is_file() for name in IMAGE_FILES):
        raise TeacherInvalid(
            f"model {shown_path(config.model)} takes no images: it has no {' or '.join(IMAGE_FILES)}; choose a model "
            "for images and text"
        )
    if not any(True for pattern in (*WEIGHTS, *OTHER_WEIGHTS) for _ in folder.glob(pattern)):
        raise TeacherInvalid(f"no weights in {shown_path(folder)} ({', '.join(WEIGHTS)}); download the whole model")
