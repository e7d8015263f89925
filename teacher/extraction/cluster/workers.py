"""Workers that are actors of a Ray cluster."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from storage.answers.reuse import KnownAnswers
from teacher.engines.config import ResolvedTeacher
from teacher.engines.options import EngineOptions
from teacher.engines.process import secrets_of
from teacher.extraction.cluster import connection
from teacher.extraction.cluster.actor import METHODS_AT_ONCE, ModelActor
from teacher.extraction.cluster.connection import ClusterInvalid, ClusterUnreachable, Node
from teacher.extraction.cluster.nodes import NodeNeeds, find_problem, find_teacher, needs_of
from teacher.extraction.cluster.ray_worker import RayWorker, cause_of
from teacher.extraction.jobs import Extraction
from teacher.extraction.processes import readers_of
from teacher.extraction.shard_calls import load_worker
from teacher.extraction.worker import ShardWorker

CHECK_SECONDS = 120.0  # for all nodes to be checked
# Variables of the driver for the workers: access to object stores and to the Hugging Face Hub.
PASSED_VARIABLES = ("AWS_", "HF_TOKEN", "HF_ENDPOINT")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerResources:
    """The number of workers, and the CPUs and GPUs that each of them occupies on its node."""

    workers: int
    cpus: int
    gpus: float

    @property
    def workers_per_gpu(self) -> int:
        return max(1, round(1 / self.gpus)) if self.gpus else 0

    def __str__(self) -> str:
        return f"{self.gpus:g} GPU" if self.gpus else f"{self.cpus} CPU"


def share_cluster(
    nodes: Sequence[Node], workers: int | None, gpus_per_worker: float | None, tensor_parallel: int, *, served: bool
) -> WorkerResources:
    """Return the resources of each worker: GPUs where the cluster has some or `gpus_per_worker` is given, else CPUs.

    By default there is a worker for each GPU, or for each node where there is none. A served teacher runs elsewhere:
    its workers occupy one CPU. Raises ClusterInvalid if a worker has fewer GPUs than its model is spread over.
    """
    if served:
        return WorkerResources(workers=workers or 1, cpus=1, gpus=0)
    gpus = gpus_per_worker or (float(tensor_parallel) if any(node.gpus for node in nodes) else 0.0)
    if gpus_per_worker is not None and gpus_per_worker < tensor_parallel and tensor_parallel > 1:
        raise ClusterInvalid(
            f"a worker has {gpus_per_worker:g} GPUs, but its model is spread over {tensor_parallel} "
            "(tensor_parallel_size); leave out --gpus-per-worker"
        )
    if gpus:
        places = sum(math.floor(node.gpus / gpus + 1e-9) for node in nodes)
        return WorkerResources(workers=workers or max(1, places), cpus=1, gpus=gpus)
    count = workers or max(1, sum(node.cpus > 0 for node in nodes))
    return WorkerResources(workers=count, cpus=connection.cpus_for(count, nodes), gpus=0)


class ClusterWorkers:
    """Starts the workers of one run. `say` is called with one line when workers wait for resources."""

    def __init__(
        self,
        name: str,
        teacher: ResolvedTeacher,
        options: EngineOptions,
        resources: WorkerResources,
        say: Callable[[str], None],
    ) -> None:
        import ray

        self.workers = resources.workers
        self.gpus = math.ceil(resources.workers * resources.gpus)
        self._nodes = connection.alive_nodes()
        cores = sum(node.cpus for node in self._nodes)
        readers = readers_of(resources.workers, max(1, cores))
        self._load = partial(_load_on_node, name, teacher, options, readers)
        self._teacher, self._resources, self._say = teacher, resources, say
        self._secrets = secrets_of(options)
        self._environment = _environment(options, resources)
        self._needs: NodeNeeds | None = None
        self._waiting: set[int] = set()
        self._reporting = threading.Lock()
        self._known: tuple[KnownAnswers, Any] | None = None
        self._actors = ray.remote(ModelActor).options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_concurrency=METHODS_AT_ONCE,
            scheduling_strategy="SPREAD",
        )

    def check(self, extractions: Sequence[Extraction]) -> None:
        """Check every node that could run a worker.

        Raises ClusterInvalid, ClusterUnreachable, and StorageUnavailable if the store cannot be written.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        needed = self._resources
        nodes = [node for node in self._nodes if node.cpus >= needed.cpus and node.gpus >= needed.gpus]
        inspect: Any = ray.remote(find_problem)
        with needs_of(extractions, self._teacher) as needs:
            self._needs = NodeNeeds(
                versions=needs.versions, folder=needs.folder, teacher=needs.teacher, samples=needs.samples
            )
            asked = {
                inspect.options(num_cpus=0, max_retries=0, scheduling_strategy=On(node.node_id, soft=False)).remote(
                    needs
                ): node
                for node in nodes
            }
            answered, silent = ray.wait([*asked], num_returns=len(asked), timeout=CHECK_SECONDS) if asked else ([], [])
            for reference in answered:
                _require_usable(reference, asked[reference])
            for reference in silent:
                raise ClusterUnreachable(
                    f"node {asked[reference].name} of the cluster did not answer within {CHECK_SECONDS:.0f} s; check "
                    "'ray status', then run the same command again"
                )

    def start(self, number: int, cancelled: threading.Event) -> RayWorker:
        """Start worker `number`; it is pending until the cluster has a place for it. Raises ClusterUnreachable."""
        assert self._needs is not None, "the nodes have been checked"
        with connection.reaching_cluster():
            actor: Any = self._actors.remote(self._environment, self._secrets)
            started = actor.start.remote(self._needs, self._load)
        return RayWorker(actor, started, self._secrets, partial(self._report, number), self._reference)

    def close(self) -> None:
        """Leave the cluster; it ends the actors of this process that still run."""
        connection.disconnect()

    def _report(self, number: int, waits: bool) -> None:
        """Note that a worker waits for resources, or no longer does, and say so when that begins."""
        with self._reporting:
            if waits == (number in self._waiting):
                return
            self._waiting ^= {number}
            count, workers = len(self._waiting), self._resources.workers
        if waits:
            self._say(f"waiting for the cluster: {count} of {workers} workers have no {self._resources} yet")

    def _reference(self, known: KnownAnswers) -> Any:
        """Return the known answers as an object of the cluster, which each node fetches once."""
        import ray

        with self._reporting, connection.reaching_cluster():
            if self._known is None or self._known[0] is not known:
                self._known = known, ray.put(known)
            return self._known[1]


def _load_on_node(name: str, teacher: ResolvedTeacher, options: EngineOptions, readers: int) -> ShardWorker:
    return load_worker(name, find_teacher(teacher), options, readers)


def _environment(options: EngineOptions, resources: WorkerResources) -> dict[str, str]:
    names = [name for name in os.environ if name.startswith(PASSED_VARIABLES) or name == options.api_key_variable]
    threads = {} if resources.gpus else {"OMP_NUM_THREADS": str(resources.cpus)}
    return {**{name: os.environ[name] for name in names}, **threads}


def _require_usable(reference: Any, node: Node) -> None:
    import ray

    try:
        problem = ray.get(reference)
    except Exception as error:  # Ray's errors wrap those of the node, e.g. that this package is missing there
        problem = f"{cause_of(error)}; install aspects on all nodes, in the same version"
    if problem is not None:
        raise ClusterInvalid(f"node {node.name} of the cluster: {problem}")
