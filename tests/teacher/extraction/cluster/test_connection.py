"""Addresses of clusters, clusters that do not answer, and how their resources are shared out."""

from __future__ import annotations

import importlib.util

import pytest

from teacher.extraction.cluster.connection import (
    ClusterInvalid,
    ClusterUnreachable,
    Node,
    check_address,
    connect,
)
from teacher.extraction.cluster.workers import WorkerResources, share_cluster
from tests.flows.processes import free_port


@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379", "head:6379", "ray://head.example:10001", "[::1]:6379"])
def test_addresses(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize("address", ["head", "http://head:6379", "ray://head", "head:123456", "a b:1", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ClusterInvalid, match=r"no address of a Ray cluster; give ray://HOST:10001, .*auto .*--cluster"):
        check_address(address)


def test_ray_has_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ClusterInvalid, match=r"Ray, which is not installed here; run pip install 'aspects\[ray\]'"):
        check_address("auto")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_port_without_a_server_is_found_at_once(scheme: str) -> None:
    address = f"{scheme}127.0.0.1:{free_port()}"
    with pytest.raises(ClusterUnreachable, match=rf"{address} \(Connection refused\); check 'ray status'"):
        connect(address)


def nodes(*resources: tuple[int, float]) -> list[Node]:
    return [Node(node_id=str(n), name="node", cpus=cpus, gpus=gpus) for n, (cpus, gpus) in enumerate(resources)]


@pytest.mark.parametrize(
    ("cluster", "given", "shared"),
    [
        (nodes((8, 4), (8, 2), (4, 0)), {}, WorkerResources(workers=6, cpus=1, gpus=1)),
        (nodes((8, 4), (8, 1)), {"tensor_parallel": 2}, WorkerResources(workers=2, cpus=1, gpus=2)),
        (nodes((8, 1)), {"gpus_per_worker": 0.25}, WorkerResources(workers=4, cpus=1, gpus=0.25)),
        (nodes((8, 0)), {"gpus_per_worker": 1.0, "workers": 3}, WorkerResources(workers=3, cpus=1, gpus=1)),
        (nodes((8, 0), (4, 0)), {}, WorkerResources(workers=2, cpus=4, gpus=0)),
        (nodes((8, 0), (4, 0)), {"workers": 3}, WorkerResources(workers=3, cpus=4, gpus=0)),
        (nodes((2, 0)), {"workers": 5}, WorkerResources(workers=5, cpus=1, gpus=0)),
        (nodes(), {}, WorkerResources(workers=1, cpus=1, gpus=0)),
        (nodes((8, 4)), {"served": True, "workers": 2}, WorkerResources(workers=2, cpus=1, gpus=0)),
    ],
)
def test_resources_are_shared_out(cluster: list[Node], given: dict[str, object], shared: WorkerResources) -> None:
    options = {"workers": None, "gpus_per_worker": None, "tensor_parallel": 1, "served": False, **given}
    assert share_cluster(cluster, **options) == shared  # type: ignore[arg-type]


def test_a_model_over_several_gpus_needs_all_of_them() -> None:
    with pytest.raises(ClusterInvalid, match="a worker has 1 GPUs, but its model is spread over 4"):
        share_cluster(nodes((8, 4)), None, 1.0, 4, served=False)


@pytest.mark.parametrize(("gpus", "workers_per_gpu"), [(0.0, 0), (0.25, 4), (1.0, 1), (4.0, 1)])
def test_workers_on_one_gpu_share_its_memory(gpus: float, workers_per_gpu: int) -> None:
    assert WorkerResources(workers=1, cpus=1, gpus=gpus).workers_per_gpu == workers_per_gpu
