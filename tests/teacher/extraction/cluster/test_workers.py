"""Workers on a real Ray cluster of two nodes on this machine: what is lost, what is kept, and what is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.cluster import add_node
from storage.answers.reuse import KnownAnswers
from storage.datasets import image_folder
from teacher.engines.base import TeacherDied
from teacher.engines.options import EngineOptions
from teacher.extraction.cluster import connection, ray_worker
from teacher.extraction.cluster.nodes import needs_of
from teacher.extraction.cluster.workers import ClusterWorkers, WorkerResources
from teacher.extraction.jobs import Extraction
from teacher.extraction.plan import plan_extraction
from teacher.extraction.pool import WorkerPool
from tests.conftest import PROJECT
from tests.flows.processes import alive, free_port, started, wait_until
from tests.storage.samples import QUESTIONS
from tests.teacher.extraction.asking import ask_all
from tests.teacher.extraction.cluster.held_engine import load_worker, pids
from tests.teacher.extraction.test_plan import TEACHER, Engine
from tests.teacher.extraction.test_processes import Progress
from tests.teacher.images import write_images

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

DRIVER = """
import sys
from pathlib import Path
from flows.cli.errors import explain
from tests.teacher.extraction.cluster.test_workers import Run
run = Run(Path(sys.argv[1]), sys.argv[2])
code = 0
try:
    run.ask_all()
except Exception as error:
    line, code = explain(error)
run.pool.close()
run.workers.close()
if code:
    print(line)
sys.exit(code)
"""


class Run:
    """An extraction of eight images in four shards by two workers of the cluster at `address`."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.said = folder, list[str]()
        connection.connect(address)
        resources = WorkerResources(workers=2, cpus=1, gpus=0)
        self.workers = ClusterWorkers("none", TEACHER, EngineOptions(), resources, self.said.append)
        self.workers._load = partial(load_worker, folder)
        self.extraction = extraction_in(folder)
        self.jobs = self.extraction.jobs(KnownAnswers())
        with needs_of([self.extraction], TEACHER) as needs:  # each actor checks them, too
            self.workers._needs = replace(needs, tokens=())
        self.pool, self.progress = WorkerPool(self.workers.start, 2), Progress()

    def ask(self, number: int) -> Any:
        return self.pool.ask(self.jobs[number], self.progress)

    def ask_all(self) -> None:
        with ThreadPoolExecutor(len(self.jobs)) as threads:
            list(threads.map(self.ask, range(len(self.jobs))))


def extraction_in(folder: Path) -> Extraction:
    dataset = image_folder(write_images(folder / "images"))
    plan = plan_extraction(dataset, ("train",), QUESTIONS, TEACHER, str(folder / "store"), shard_size=2)
    return Extraction(plan=plan, dataset=dataset)


def answers_of(extraction: Extraction) -> list[Any]:
    directory = extraction.plan.directory
    shards = [directory.read_shard(shard.file_name)[1] for shard in extraction.plan.shards]
    return [(shard.records, shard.yes.tolist(), shard.no.tolist(), shard.errors) for shard in shards]


def assert_same_as_local(folder: Path) -> None:
    """The shards are those that this process writes."""
    found = answers_of(extraction_in(folder))
    shutil.rmtree(folder / "store")
    local = extraction_in(folder)
    ask_all(local.plan, local.dataset, TEACHER, Engine(), KnownAnswers())
    assert answers_of(local) == found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_raylet_start_wait_time_s", "120")
        from ray.cluster_utils import Cluster

        cluster: Any = Cluster()
        add_node(cluster, include_dashboard=False)
        add_node(cluster)
        yield cluster
        connection.disconnect()
        cluster.shutdown()


@pytest.fixture
def run(cluster: Any, tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path, cluster.address)
    yield run
    run.pool.close()
    wait_until(lambda: not any(map(alive, pids(tmp_path, "loaded"))), 10, "end of the actors")


def wait_for_asked(folder: Path, count: int) -> set[int]:
    wait_until(lambda: len(pids(folder, "asked")) >= count, 60, f"asking {count} actors")
    return pids(folder, "asked")


def test_the_store_is_that_of_one_process_and_each_engine_is_loaded_once(run: Run, tmp_path: Path) -> None:
    run.workers.check([run.extraction])
    run.ask_all()
    assert len(pids(tmp_path, "loaded")) == len(run.pool.ready) == 2
    assert run.progress.images == 8
    assert_same_as_local(tmp_path)


def test_an_actor_that_is_killed_or_breaks_is_replaced_until_the_run_is_stopped(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(run.ask, 0)
        (first,) = wait_for_asked(tmp_path, 1)
        os.kill(first, signal.SIGKILL)
        (tmp_path / "break").touch()
        (tmp_path / "hold").unlink()
        error = asked.exception(timeout=60)
    assert isinstance(error, TeacherDied)
    assert "a worker of the cluster ended: " in str(error)
    with pytest.raises(TeacherDied, match="RuntimeError: out of memory"):
        run.ask(0)
    (tmp_path / "break").unlink()
    assert run.ask(0).images == 2
    assert len(pids(tmp_path, "loaded")) == 3
    (tmp_path / "hold").touch()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(run.ask, 1)
        run.pool.stop()
        assert str(asked.exception(timeout=60)) == "the run was stopped"
    assert Path(run.jobs[0].path).exists()


def test_a_shard_of_a_node_that_goes_away_is_asked_again_when_another_comes(
    cluster: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_worker, "WAITING_SECONDS", 0.0)
    (tmp_path / "hold").touch()
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(run.ask, number) for number in range(4)]
        wait_for_asked(tmp_path, 2)
        cluster.remove_node(next(iter(cluster.worker_nodes)))
        (tmp_path / "hold").unlink()
        assert all(future.result(timeout=120).images == 2 for future in asked)
    assert len(pids(tmp_path, "loaded")) == 2
    wait_until(lambda: "waiting for the cluster: 1 of 2 workers have no 1 CPU yet" in run.said, 10, "a line")
    add_node(cluster)
    wait_until(lambda: not run.workers._waiting, 60, "start of the new actor")


def test_actors_end_with_a_driver_that_is_killed(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    command = [sys.executable, "-c", DRIVER, str(tmp_path), cluster.address]
    driver = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        actors = wait_for_asked(tmp_path, 2)
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: not any(map(alive, actors)), 20, "end of the actors")


def test_a_command_elsewhere_says_that_the_head_is_gone_and_succeeds_when_it_is_back(
    cluster: Any, tmp_path: Path
) -> None:
    """Through Ray's client, in a folder that is not the repository's."""
    port = free_port()
    command = [sys.executable, "-c", DRIVER, str(tmp_path), f"ray://127.0.0.1:{port}"]
    environment = {**os.environ, "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "1"}
    (tmp_path / "hold").touch()
    with (
        client_server(cluster, port, tmp_path) as head,
        started(command, tmp_path / "log", environment, tmp_path) as driver,
    ):
        wait_for_asked(tmp_path, 2)
        head.kill()
        assert driver.wait(timeout=60) == 1
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith("the connection to the Ray cluster is lost; check 'ray status' on its head node")
    (tmp_path / "hold").unlink()
    with client_server(cluster, port, tmp_path):
        again = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    assert_same_as_local(tmp_path)


@contextmanager
def client_server(cluster: Any, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """What Ray's clients connect to at the head, without a process for each of them, which takes long to start."""
    command = [sys.executable, "-m", "ray.util.client.server", "--mode=legacy", f"--address={cluster.address}"]
    command += ["--host=127.0.0.1", f"--port={port}"]
    with started(command, folder / "server.log", os.environ, folder) as server:
        wait_until(lambda: answers_at(port), 120, "the client server's start", server)
        yield server


def answers_at(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
