"""Options for running a teacher, each declared once with its limits and its help text."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from storage.parameters import HIDDEN, Option, Parameters
from teacher.engines.config import MIN_ANSWER_MASS, TOP_LOGPROBS

SERVER = "Teacher on a server"  # heading of --help


class EngineOptions(Parameters):
    """Options for running a teacher, which change its speed but not its answers, and are not part of the fingerprint.

    A served teacher's key is read from the environment variable named by `api_key_variable`, and never stored.
    """

    panel: ClassVar[str | None] = "Engine: speed and memory"

    plain: Annotated[bool, Field(description="Use only documented calls of vLLM and transformers; slower."), HIDDEN] = (
        False
    )
    batch_size: Annotated[
        int,
        Field(ge=1, le=100_000, description="Questions at once where transformers cannot pack them."),
        Option(flags=("--engine-batch",)),
    ] = 32
    gpu_memory_utilization: Annotated[
        float,
        Field(gt=0, le=1, description="Share of the GPU's memory that vLLM takes."),
        Option(flags=("--gpu-memory",)),
    ] = 0.9
    max_model_len: Annotated[
        int | None, Field(ge=1, le=100_000_000, description="Longest prompt in tokens that vLLM reserves memory for.")
    ] = None
    # Each engine has an option of its own for them: Engine.flag.
    arguments: Annotated[
        dict[str, Any], Field(description="Passed to vllm.LLM, or put into every request to a server."), HIDDEN
    ] = Field(default_factory=dict)
    base_url: Annotated[
        str | None,
        Field(description="Address of an OpenAI-compatible server that runs the teacher."),
        Option(metavar="URL", panel=SERVER),
    ] = None
    api_key_variable: Annotated[
        str,
        Field(description="Environment variable that holds the server's key."),
        Option(metavar="NAME", panel=SERVER),
    ] = "OPENAI_API_KEY"
    concurrency: Annotated[
        int, Field(ge=1, le=4096, description="Requests to the server at a time."), Option(panel=SERVER)
    ] = 32
    top_logprobs: Annotated[
        int,
        Field(ge=1, le=10_000, description="Most likely tokens that the server is asked for."),
        Option(panel=SERVER),
    ] = TOP_LOGPROBS
    timeout: Annotated[float, Field(gt=0, le=86_400, description="Seconds for each attempt of a request."), HIDDEN] = (
        120.0
    )
    max_retries: Annotated[
        int, Field(ge=0, le=100, description="Further attempts of a request that failed for the time being."), HIDDEN
    ] = 6
    min_answer_mass: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Probability of yes and no together, on average in the first batch, below which a teacher is "
            "refused; 0 takes any.",
        ),
    ] = MIN_ANSWER_MASS
