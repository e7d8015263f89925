"""The teacher: a model and the settings that change its answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from flows.option_values import words
from flows.parameters.dataset import DatasetParameters
from flows.parameters.engine import EngineParameters
from storage.parameters import Option, Parameters
from teacher.engines.config import (
    LARGEST_IMAGE,
    Dtype,
    ResolvedTeacher,
    TeacherConfig,
    TeacherInvalid,
    find_folder,
    resolve,
    resolve_served,
)
from teacher.engines.presets import PRESETS, TINY
from teacher.engines.registry import find_engine


class TeacherMissing(TeacherInvalid):
    """No model was given; the message says how to give one."""

    def __init__(self, about: str) -> None:
        super().__init__(
            f"no teacher is given for {about}; choose one, e.g. --teacher Qwen/Qwen3-VL-8B-Instruct, "
            "or a name that 'aspects teachers' lists"
        )


class TeacherParameters(Parameters):
    """The model, and all other settings that change answers. None stands for the teacher's own default."""

    panel: ClassVar[str | None] = "Teacher: changes the answers"

    model: Annotated[
        str | None,
        Field(
            description="Name of `aspects teachers`, model folder or Hugging Face name; required except for images of "
            "`aspects scenes`: tiny."
        ),
        Option(flags=("--teacher", "-t")),
    ] = None
    revision: Annotated[str | None, Field(description="Branch, tag or commit of a Hugging Face model.")] = None
    prompt: Annotated[str | None, Field(description="The user's message, with {question} in it.")] = None
    yes_words: Annotated[
        list[str] | None, Field(description="Words that mean yes, separated by commas."), Option(read=words)
    ] = None
    no_words: Annotated[
        list[str] | None, Field(description="Words that mean no, separated by commas."), Option(read=words)
    ] = None
    dtype: Annotated[
        Dtype | None, Field(description="Data type of the weights; default: bfloat16, float32 for tiny.")
    ] = None
    max_pixels: Annotated[
        int | None,
        Field(
            ge=1,
            le=LARGEST_IMAGE,
            description="Larger images are scaled down first; default: a megapixel, the model's own size for tiny.",
        ),
    ] = None
    draft: Annotated[
        bool,
        Field(
            description="Decode JPEG files at 1/2, 1/4 or 1/8 of their size if that has the wanted pixels: faster for "
            "images of cameras, with slightly other answers."
        ),
    ] = False
    processor: Annotated[
        dict[str, Any] | None, Field(description="Setting of the model's image processor, NAME=VALUE; repeatable.")
    ] = None
    quantization: Annotated[
        str | None, Field(description="Quantization of the weights by vLLM: fp8, ..."), Option(metavar="NAME")
    ] = None
    trust_remote_code: Annotated[bool, Field(description="Run code that comes with the model.")] = False

    def answering(self, dataset: DatasetParameters) -> TeacherParameters:
        """Return the parameters with a model: the given one, or the bundled one for rendered scenes.

        Raises TeacherMissing for other images.
        """
        if self.model is not None:
            return self
        if not dataset.is_rendered():
            raise TeacherMissing(f"dataset {dataset.source}")
        return self.model_copy(update={"model": TINY})

    def resolve(self, engine: str, settings: Mapping[str, Any] | None = None) -> ResolvedTeacher:
        """Find the weights; a model on a server is known only by name.

        `settings` are the engine's that change answers. Raises TeacherInvalid.
        """
        if self.model is None:
            raise TeacherMissing("this command")
        if find_engine(engine).served:
            return resolve_served(self.config(served=True), settings)
        return resolve(self.config(), settings)

    def check_writer(self, engine: EngineParameters) -> None:
        """Like `check`, for a writing model, which need not take images; also check that its server answers."""
        self.check(engine, takes_images=False)
        if engine.chosen.served:
            from teacher.engines.openai.client import check_server

            check_server(self.config(served=True).model, engine.options())

    def check(self, engine: EngineParameters, *, takes_images: bool = True) -> None:
        """Raise the errors that loading the model would raise after a minute, as far as its files show them.

        Downloads a missing model.
        """
        from teacher.engines.folders import check_folder

        chosen = engine.chosen
        engine.settings()
        if chosen.served:
            self.config(served=True)
            return
        config = self.config()
        if (folder := find_folder(config)) is None:
            folder = resolve(config).path
        assert folder is not None
        check_folder(folder, config, takes_images=takes_images)

    def config(self, *, served: bool = False) -> TeacherConfig:
        model = self.model or ""
        preset = None if served else PRESETS.get(model)
        base = preset or TeacherConfig(model=model)
        return dataclasses.replace(base, **self.settings())

    def settings(self) -> dict[str, Any]:
        """Return the settings that are given, as fields of TeacherConfig."""
        given = self.model_dump(exclude={"model"}, exclude_none=True)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
