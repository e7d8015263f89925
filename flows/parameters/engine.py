"""The engine that runs the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import Field, create_model

from flows.option_values import OptionInvalid
from storage.parameters import HIDDEN, Option, Parameters
from teacher.engines.config import TeacherInvalid
from teacher.engines.options import SERVER, EngineOptions
from teacher.engines.registry import Engine, engines, find_engine

if TYPE_CHECKING:
    from teacher.engines.devices import Devices
    from teacher.extraction.cluster.workers import WorkerResources

    EngineName = str
else:  # every engine that is registered: choices of --engine and of Prefect's pages
    EngineName = Literal[tuple(engines())]

MAX_WORKERS = 512
PRICES = ("price_per_gpu_hour", "price_per_million_tokens")
DEFAULT_ENGINE, FALLBACK_ENGINE = "vllm", "transformers"


class EngineParameters(EngineOptions):
    """The engine of the teacher: its options, number of workers, and prices."""

    name: Annotated[
        EngineName | None,
        Field(description="Engine; default: vllm where it is installed, openai where a server's address is given."),
        Option(flags=("--engine",)),
    ] = None
    workers: Annotated[
        int | None,
        Field(ge=1, le=MAX_WORKERS, description="Engine processes; default: one for each GPU, one on a CPU."),
    ] = None
    cluster: Annotated[
        str | None,
        Field(description="Ray cluster that runs the workers: ray://HOST:10001, HOST:6379 or auto (of this machine)."),
        Option(metavar="ADDRESS"),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        Field(gt=0, le=64, description="GPUs of each worker on a cluster, e.g. 0.5; default: 1, 0 if it has none."),
    ] = None
    price_per_gpu_hour: Annotated[
        float | None,
        Field(ge=0, description="Price of a GPU for an hour, in any currency: the summary then has the cost."),
        Option(flags=("--gpu-price",)),
    ] = None
    price_per_million_tokens: Annotated[
        float | None, Field(ge=0, description="Price of a million prompt tokens, in any currency."), HIDDEN
    ] = None

    @property
    def chosen(self) -> Engine:
        """Return the chosen engine. Raises TeacherInvalid like `choose`."""
        return find_engine(self.choose()[0])

    def choose(self) -> tuple[str, str]:
        """Return the engine's name and why it was chosen. Raises TeacherInvalid if it cannot be used here."""
        name, why = self._choose()
        find_engine(name).check(self)
        return name, why

    def _choose(self) -> tuple[str, str]:
        if self.base_url is not None and (self.name is None or find_engine(self.name).served):
            return self.name or self._served(), "a server's address is given"
        if self.name is not None:
            return self.name, "as requested"
        try:
            find_engine(DEFAULT_ENGINE).check(self)
        except TeacherInvalid:
            return FALLBACK_ENGINE, f"{DEFAULT_ENGINE} is not installed"
        return DEFAULT_ENGINE, "it is installed"

    @staticmethod
    def _served() -> str:
        return next(name for name, engine in engines().items() if engine.served)

    def settings(self) -> dict[str, Any]:
        """Return the engine settings that change answers. Raises TeacherInvalid for settings that the engine
        rejects."""
        return self.chosen.answer_settings(self)

    def devices(self) -> Devices:
        """Return the devices of each worker. Raises TeacherInvalid if the machine has too few."""
        from teacher.engines.devices import Devices, share_devices

        if self.chosen.served:
            return Devices([{}] * (self.workers or 1), gpus=0, workers_per_gpu=0)
        return share_devices(self.workers, self._tensor_parallel())

    def cluster_resources(self) -> WorkerResources:
        """Connect to the cluster and share it out. Raises ClusterInvalid, ClusterUnreachable and TeacherInvalid."""
        from teacher.extraction.cluster.connection import alive_nodes, connect
        from teacher.extraction.cluster.workers import share_cluster

        assert self.cluster is not None, "the workers run on a cluster"
        spread, served = self._tensor_parallel(), self.chosen.served
        connect(self.cluster)
        return share_cluster(alive_nodes(), self.workers, self.gpus_per_worker, spread, served=served)

    def check_workers(self) -> None:
        """Raise the errors of `devices` or `cluster_resources`."""
        if self.cluster is not None:
            self.cluster_resources()
            return
        if self.gpus_per_worker is not None:
            raise TeacherInvalid("--gpus-per-worker is for workers on a cluster; give its address (--cluster)")
        self.devices()

    def _tensor_parallel(self) -> int:
        wanted = self.arguments.get("tensor_parallel_size", 1)
        if type(wanted) is not int or wanted < 1:
            raise TeacherInvalid(f"--vllm tensor_parallel_size is {str(wanted)[:60]!r}; it is a number of GPUs from 1")
        return wanted

    def options(self, workers_per_gpu: int = 1) -> EngineOptions:
        """Return the options of one engine process; workers on the same GPU share its memory."""
        given = self.model_dump(include=set(EngineOptions.model_fields))
        given["gpu_memory_utilization"] /= max(1, workers_per_gpu)
        return EngineOptions(**given)

    def prices(self) -> dict[str, float | None]:
        return {name: getattr(self, name) for name in PRICES}

    def with_arguments(self, given: EngineArguments) -> EngineParameters:
        """Return the parameters with the arguments given by the engine's own option.

        Raises OptionInvalid for arguments of another engine, which would have no effect, and for a server's address
        with a local engine.
        """
        name = self.name or (self._served() if self.base_url is not None else None)
        served = name is not None and find_engine(name).served
        if self.base_url is not None and not served:
            raise OptionInvalid(
                f"--base-url is the address of a server, but engine {name} runs the model here; "
                "leave one of them out, or give --engine openai"
            )
        arguments = dict(self.arguments)
        for engine, values in given.model_dump(exclude_none=True).items():
            # Whether the default engine is installed is checked later.
            if engine != (name or DEFAULT_ENGINE):
                _refuse(find_engine(engine), served)
            arguments.update(values)
        return self.model_copy(update={"arguments": arguments})


def _refuse(engine: Engine, served: bool) -> NoReturn:
    if engine.served:
        raise OptionInvalid(f"{engine.flag} is for a teacher on a server; give its address with --base-url")
    instead = "a server's requests take --request" if served else f"leave it out, or give --engine {engine.name}"
    raise OptionInvalid(f"{engine.flag} is for engine {engine.name} alone; {instead}")


def _arguments_option(engine: Engine, flag: str) -> Any:
    panel = SERVER if engine.served else EngineOptions.panel
    description = Field(description=engine.flag_help)
    return Annotated[dict[str, Any] | None, description, Option(flags=(flag,), panel=panel)], None


if TYPE_CHECKING:

    class EngineArguments(Parameters):
        """Arguments for each engine that has an option for them: a field by the engine's name."""

else:
    EngineArguments = create_model(
        "EngineArguments",
        __base__=Parameters,
        **{name: _arguments_option(engine, engine.flag) for name, engine in engines().items() if engine.flag},
    )
