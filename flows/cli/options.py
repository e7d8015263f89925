"""The command line's options, and the way from them to the flows' parameters."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from storage.errors import InputInvalid

if TYPE_CHECKING:
    from flows.parameters import DatasetParameters, EngineParameters, StudentParameters, TeacherParameters

# Headings of --help.
TEACHER = "Teacher: what its answers depend on"
ENGINE = "Engine: how it is asked"
SERVER = "A teacher on a server"
STUDENT = "Students"
BOXES = "Detection: what is asked about boxes"

Dataset = Annotated[
    str, typer.Option("--dataset", "-d", help="Folder SPLIT/CLASS/FILE, torchvision:NAME, cub:FOLDER or hf:NAME.")
]
Name = Annotated[str | None, typer.Option(help="Name of the dataset in the store; default: the dataset's own.")]
Root = Annotated[Path | None, typer.Option(help="Where torchvision's and Hugging Face's files lie.")]
Download = Annotated[bool, typer.Option("--download", help="Let torchvision fetch what is missing.")]
Questions = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        "-q",
        help="YAML file with the question set, or a bundled set such as flowers102; for detection: about whole images.",
    ),
]
Task = Annotated[
    Literal["classification", "detection"],
    typer.Option(help="detection: images with boxes, of a COCO or YOLO folder or torchvision:VOCDetection."),
]
BoxQuestions = Annotated[
    Path | None,
    typer.Option("--box-questions", help="Question set about each box.", rich_help_panel=BOXES),
]
BoxView = Annotated[
    Literal["crop", "drawn"],
    typer.Option(help="What the teacher sees of a box: cut out, or drawn onto the image.", rich_help_panel=BOXES),
]
BoxMargin = Annotated[
    float, typer.Option(min=0, help="Around a box that is cut out, as a share of its sides.", rich_help_panel=BOXES)
]
SmallestBox = Annotated[
    float,
    typer.Option(min=0, help="Boxes with a side below so many pixels are not asked about.", rich_help_panel=BOXES),
]
AnyQuestions = Annotated[
    Path | None, typer.Option("--questions", "-q", help="The set, as for extract, where the store has several.")
]
Store = Annotated[str, typer.Option("--store", "-s", help="Folder of the answers, or s3://bucket/path.")]
Splits = Annotated[str, typer.Option(help="Splits to ask about, separated by commas.")]
Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        "-t",
        help="Name of `aspects teachers`, model folder or Hugging Face name; required but for `aspects scenes`: tiny.",
        rich_help_panel=TEACHER,
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a Hugging Face model.", rich_help_panel=TEACHER)
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="vllm, transformers or openai (a server); default: vllm where it is installed.",
        metavar="NAME",
        rich_help_panel=ENGINE,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16 or float16; default: bfloat16, float32 for tiny.",
        metavar="NAME",
        rich_help_panel=TEACHER,
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        help="Scale larger photos down first; default: a megapixel, the model's own size for tiny.",
        rich_help_panel=TEACHER,
    ),
]
ProcessorSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--processor", help="Setting of the model's image processor, NAME=VALUE; repeatable.", rich_help_panel=TEACHER
    ),
]
Quantization = Annotated[
    str | None, typer.Option(help="Weights made smaller by vLLM: fp8, ...", metavar="NAME", rich_help_panel=TEACHER)
]
Prompt = Annotated[
    str | None, typer.Option(help="What the teacher is told, with {question} in it.", rich_help_panel=TEACHER)
]
YesWords = Annotated[
    str | None, typer.Option(help="Words that mean yes, separated by commas.", rich_help_panel=TEACHER)
]
NoWords = Annotated[str | None, typer.Option(help="Words that mean no, separated by commas.", rich_help_panel=TEACHER)]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.", rich_help_panel=TEACHER)
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        help="Address of an OpenAI-compatible server that runs the teacher.", metavar="URL", rich_help_panel=SERVER
    ),
]
ApiKeyVariable = Annotated[
    str, typer.Option(help="Environment variable that holds the server's key.", metavar="NAME", rich_help_panel=SERVER)
]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Requests on their way to the server at a time.", rich_help_panel=SERVER)
]
TopLogprobs = Annotated[
    int, typer.Option(min=1, help="Likeliest tokens that the server is asked for.", rich_help_panel=SERVER)
]
RequestSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--request", help="Field of every request to the server, NAME=VALUE; repeatable.", rich_help_panel=SERVER
    ),
]
MinAnswerMass = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Probability of yes and no together, on average in the first batch, below which a teacher is refused.",
        rich_help_panel=ENGINE,
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--engine-batch", help="Questions at once where transformers cannot pack them.", rich_help_panel=ENGINE
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Engine processes; default: one for each GPU, one on a CPU.", rich_help_panel=ENGINE),
]
PricePerGpuHour = Annotated[
    float | None,
    typer.Option(
        "--gpu-price", min=0, help="Price of a GPU for an hour: the summary then says the cost.", rich_help_panel=ENGINE
    ),
]
GpuMemory = Annotated[
    float, typer.Option("--gpu-memory", help="Share of the GPU's memory that vLLM takes.", rich_help_panel=ENGINE)
]
MaxModelLen = Annotated[
    int | None, typer.Option(help="Longest prompt in tokens that vLLM reserves memory for.", rich_help_panel=ENGINE)
]
VllmSettings = Annotated[
    list[str] | None,
    typer.Option("--vllm", help="Argument of vllm.LLM, NAME=VALUE; may be repeated.", rich_help_panel=ENGINE),
]
ShardSize = Annotated[
    int,
    typer.Option(
        min=1,
        max=1_000_000,
        help="Images in one Parquet file: what a kill can cost at most, twice.",
        rich_help_panel=ENGINE,
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify", help="Read every image to find changes, also where size and modification time are as before."
    ),
]

Recipe = Annotated[
    str, typer.Option(help="Settings to start from: small, paper, finetune, ...", rich_help_panel=STUDENT)
]
Backbone = Annotated[str | None, typer.Option(help="Any model of timm, e.g. resnet18.", rich_help_panel=STUDENT)]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training images.", rich_help_panel=STUDENT)]
ImageSize = Annotated[int | None, typer.Option(help="Side of the student's input in pixels.", rich_help_panel=STUDENT)]
Method = Annotated[
    str | None, typer.Option(help="What is learnt from the answers: recommended, makd, ...", rich_help_panel=STUDENT)
]
Alpha = Annotated[
    float | None, typer.Option(help="Weight of the answers in the loss; else the method's.", rich_help_panel=STUDENT)
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting of the student, NAME=VALUE; may be repeated.", rich_help_panel=STUDENT),
]
Seeds = Annotated[
    str,
    typer.Option(
        help="Seeds, separated by commas; each trains a student without and one with answers.", rich_help_panel=STUDENT
    ),
]
Runs = Annotated[
    str,
    typer.Option(
        help="Folder of the trained students; the same folder goes on where it was.",
        metavar="DIR",
        rich_help_panel=STUDENT,
    ),
]
RunDir = Annotated[Path, typer.Argument(help="Folder of one trained student.", metavar="RUN")]
AnswersBy = Annotated[
    str | None,
    typer.Option("--teacher", "-t", help="Fingerprint or TEACHER/QUESTIONS, where there are several (aspects show)."),
]

ClassAnswersBy = Annotated[
    str | None, typer.Option(help="Fingerprint of answers about the classes, for methods that learn from both.")
]


MOST_SCENES = 100_000  # of a class
MAX_SEED = (1 << 63) - 1  # of torch's generators


class OptionInvalid(InputInvalid):
    """An option's value cannot be read; the message says which and what to write."""


Shared = Mapping[str, tuple[Any, Any]]  # options that several commands have: name -> (annotation, default)
SAME_NAMES = ("base_url", "api_key_variable", "concurrency", "top_logprobs", "min_answer_mass")  # in EngineParameters
Given = Mapping[str, Any]  # what a command was given for them

DATASET: Shared = {"name": (Name, None), "root": (Root, None), "download": (Download, False)}
ASKING: Shared = {
    "teacher": (Teacher, None),
    "revision": (Revision, None),
    "engine": (Engine, None),
    "base_url": (BaseUrl, None),
    "api_key_variable": (ApiKeyVariable, "OPENAI_API_KEY"),
    "concurrency": (Concurrency, 32),
    "top_logprobs": (TopLogprobs, 20),
    "request": (RequestSettings, None),
    "dtype": (Dtype, None),
    "max_pixels": (MaxPixels, None),
    "processor": (ProcessorSettings, None),
    "quantization": (Quantization, None),
    "prompt": (Prompt, None),
    "yes_words": (YesWords, None),
    "no_words": (NoWords, None),
    "trust_remote_code": (TrustRemoteCode, False),
    "workers": (Workers, None),
    "min_answer_mass": (MinAnswerMass, 1e-3),
    "engine_batch": (BatchSize, 32),
    "gpu_memory": (GpuMemory, 0.9),
    "max_model_len": (MaxModelLen, None),
    "vllm": (VllmSettings, None),
    "gpu_price": (PricePerGpuHour, None),
}
BOXES_ASKED: Shared = {"box_questions": (BoxQuestions, None), "box_view": (BoxView, "crop")}
ASKED_BOXES: Shared = {**BOXES_ASKED, "box_margin": (BoxMargin, 0.25), "smallest_box": (SmallestBox, 8.0)}
TRAINING: Shared = {
    "recipe": (Recipe, "small"),
    "seeds": (Seeds, "0,1,2"),
    "runs": (Runs, "runs"),
    "backbone": (Backbone, None),
    "epochs": (Epochs, None),
    "image_size": (ImageSize, None),
    "method": (Method, None),
    "alpha": (Alpha, None),
    "settings": (Settings, None),
}


def with_options(**groups: Shared) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `groups` after its own; each group reaches it as the keyword-only argument of that
    name, a mapping of its options to what was given."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for name, parameter in signature.parameters.items() if name not in groups]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        shared = [
            inspect.Parameter(name, kind, default=default, annotation=annotation)
            for group in groups.values()
            for name, (annotation, default) in group.items()
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            shares = {name: {option: given.pop(option) for option in group} for name, group in groups.items()}
            command(**given, **shares)

        run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        return run

    return decorate


def dataset_parameters(source: str, name: str | None, root: Path | None, download: bool) -> DatasetParameters:
    from flows.parameters import DatasetParameters

    return DatasetParameters(source=source, name=name, root=str(root) if root else None, download=download)


def asking_parameters(given: Given) -> dict[str, Any]:
    """The parameters of a flow that asks, by their names, from the options of `extract`."""
    teacher, engine = teacher_parameters(given)
    return {
        "dataset": dataset_parameters(given["dataset"], given["name"], given["root"], given["download"]),
        "splits": split_names(given["splits"]),
        "verify": given["verify"],
        "teacher": teacher,
        "engine": engine,
        "store": given["store"],
        "shard_size": given["shard_size"],
    }


def teacher_parameters(given: Given) -> tuple[TeacherParameters, EngineParameters]:
    """From the options of ASKING."""
    from flows.parameters import EngineParameters, TeacherParameters

    teacher = TeacherParameters(
        model=given["teacher"],
        yes_words=_answer_words(given["yes_words"]),
        no_words=_answer_words(given["no_words"]),
        processor=assignments("--processor", given["processor"]) or None,
        **{name: given[name] for name in ("revision", "prompt", "dtype", "max_pixels", "quantization")},
        trust_remote_code=given["trust_remote_code"],
    )
    engine = EngineParameters(
        name=given["engine"],
        workers=given["workers"],
        price_per_gpu_hour=given["gpu_price"],
        batch_size=given["engine_batch"],
        gpu_memory_utilization=given["gpu_memory"],
        max_model_len=given["max_model_len"],
        arguments=engine_arguments(given["engine"], given["base_url"], given["vllm"], given["request"]),
        **{name: given[name] for name in SAME_NAMES},
    )
    return teacher, engine


def engine_arguments(
    engine: str | None, base_url: str | None, vllm: list[str] | None, request: list[str] | None
) -> dict[str, Any]:
    """The settings of --vllm or --request, whichever the engine takes. Raises OptionInvalid for options of another
    engine: they would change nothing."""
    served = engine == "openai" or (engine is None and base_url is not None)
    if base_url is not None and not served:
        raise OptionInvalid(
            f"--base-url is the address of a server, but engine {engine} runs the model here; "
            "leave one of them out, or give --engine openai"
        )
    if request and not served:
        raise OptionInvalid("--request is for a teacher on a server; give its address with --base-url")
    if vllm and (served or engine == "transformers"):
        instead = "a server's requests take --request" if served else "leave it out, or give --engine vllm"
        raise OptionInvalid(f"--vllm is for engine vllm alone; {instead}")
    return {**assignments("--vllm", vllm), **assignments("--request", request)}


def refuse_boxes(given: Given, why: str = "needs --task detection; add that, or leave it out") -> None:
    """Raises OptionInvalid where options about boxes are given that nothing would come of."""
    for name, (_, default) in ASKED_BOXES.items():
        if given.get(name, default) != default:
            raise OptionInvalid(f"--{name.replace('_', '-')} {why}")


def folder_to_write(option: str, folder: str) -> str:
    """Raises OptionInvalid where no folder can be made: better before hours of asking than after them."""
    if not folder.strip():
        raise OptionInvalid(f"{option} is empty; name a folder, e.g. {option} runs/first")
    place = Path(folder).expanduser()
    existing = next(parent for parent in (place, *place.parents) if parent.exists())
    if not existing.is_dir():
        raise OptionInvalid(f"{option} {folder}: {existing} is a file; name a folder")
    if not os.access(existing, os.W_OK):
        raise OptionInvalid(f"{option} {folder}: {existing} cannot be written to; name another folder")
    return folder


def student_parameters(given: Given) -> StudentParameters:
    """From the options of TRAINING."""
    from flows.parameters import StudentParameters

    named = ("recipe", "seeds", "runs", "settings")
    shortcuts = {name: value for name, value in given.items() if name not in named and value is not None}
    return StudentParameters(
        recipe=given["recipe"],
        seeds=seed_numbers(given["seeds"]),
        runs=folder_to_write("--runs", given["runs"]),
        settings={**assignments("--set", given["settings"]), **shortcuts},
    )


def seed_numbers(text: str) -> list[int]:
    """The numbers of --seeds."""
    try:
        numbers = [int(seed) for seed in words(text)]
    except ValueError as error:
        raise OptionInvalid(f"--seeds {text!r} are no whole numbers; write e.g. --seeds 0,1,2") from error
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0 or max(numbers) > MAX_SEED:
        raise OptionInvalid(f"--seeds {text!r} must be different numbers from 0 to 2^63 - 1; write e.g. --seeds 0,1,2")
    return numbers


def split_names(text: str) -> list[str]:
    if not (names := words(text)):
        raise OptionInvalid(f"--splits {text!r} names none; write e.g. --splits train,test")
    return names


def words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _answer_words(text: str | None) -> list[str] | None:
    # Empty ones stay, to be refused: without them the default would be taken in silence.
    return None if text is None else [word.strip(" ") for word in text.split(",")]


def assignments(option: str, given: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE pairs, the values read as YAML: 0.1, true, [150, 180], cosine. Raises OptionInvalid."""
    from storage.documents import DocumentInvalid, parse_yaml  # takes time that --help has no use for

    read: dict[str, Any] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise OptionInvalid(f"{option} {text[:100]!r} is no pair; write {option} NAME=VALUE")
        try:
            number = _number(value)
            read[name.strip().replace("-", "_")] = parse_yaml(value, "the value") if number is None else number
        except DocumentInvalid as error:
            raise OptionInvalid(f"{option} {text[:100]!r} cannot be read: {error}; put the value in quotes") from error
    return read


def _number(value: str) -> float | None:
    """A number that YAML takes for a word: 1e-3."""
    try:
        return float(value) if "e" in value.lower() else None
    except ValueError:
        return None
