"""The project's own prefect.yaml on a real server with a real worker, started by deploy/compose.yaml's commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from flows.cli.markup import artifact_rows
from storage.answers.read import find_answers, read_answers
from storage.datasets.folder import image_folder
from storage.questions import load_questions
from teacher.questions.rounds import read_rounds
from tests.conftest import PROJECT
from tests.flows.composed import START, Composed
from tests.flows.processes import wait_until
from tests.storage.faulty_s3 import serving_s3

PREFECT = [sys.executable, "-m", "prefect"]
BUSY = (1, 2, 4, 8)  # seconds between requests to a busy server
SETTINGS = {"epochs": 1, "warmup": 0, "image_size": 32, "cache_size": 32, "val_fraction": 0.0, "threads": 1}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def composed(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """The services of deploy/compose.yaml but those of Ray, with moto's object store."""
    settings = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_WORKER_QUERY_SECONDS": "2"}
    of_image = dict(re.findall(r"(GRPC_\w+)=(\w+)", (PROJECT / "Dockerfile").read_text(encoding="utf-8")))
    services = Composed(tmp_path_factory.mktemp("composed"), {**environment, **settings, **of_image})
    with services.up("prefect"), serving_s3(services.port("8333")):
        services.run("deploy")
        with services.up("worker"):
            yield services


@pytest.fixture(scope="module")
def served(composed: Composed) -> Mapping[str, str]:
    """Environment of a running server with its own database, and of a worker on the pool `aspects`."""
    return composed.environment("worker")


def prefect(environment: Mapping[str, str], *arguments: str) -> str:
    """A command of Prefect; as `run`."""
    return run(environment, *PREFECT, "--no-prompt", *arguments)


def aspects(environment: Mapping[str, str], *arguments: str) -> str:
    """A command of ours; as `run`."""
    return run(environment, sys.executable, "-m", "flows", *arguments)


def run(environment: Mapping[str, str], *command: str) -> str:
    """What a command in the project's folder prints; fails with that where the command does."""
    done = subprocess.run(
        command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def request(
    environment: Mapping[str, str], path: str, body: dict[str, Any], *, method: str = "POST"
) -> list[dict[str, Any]]:
    call = urllib.request.Request(
        f"{environment['PREFECT_API_URL']}/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method=method,
    )
    # A server on SQLite says 503 while its database is locked, and Prefect's own clients ask again.
    for seconds in BUSY:
        try:
            return answer_of(call)
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
        time.sleep(seconds)
    return answer_of(call)


def answer_of(call: urllib.request.Request) -> list[dict[str, Any]]:
    with urllib.request.urlopen(call, timeout=30) as response:
        return list(json.loads(response.read() or "[]"))


def test_the_flows_are_deployed_with_parameters_that_they_accept(served: Mapping[str, str]) -> None:
    deployments = {found["name"]: found for found in request(served, "deployments/filter", {})}
    from flows.auditing import audit_questions
    from flows.detection import detect_aspects, train_detectors
    from flows.experiment import run_experiment
    from flows.extraction import extract_aspects
    from flows.generation import generate_questions
    from flows.improving import improve_questions
    from flows.training import train_student

    flows: dict[str, Any] = {
        "extract-aspects": extract_aspects,
        "audit-questions": audit_questions,
        "train-student": train_student,
        "run-experiment": run_experiment,
        "detect-aspects": detect_aspects,
        "train-detector": train_detectors,
        "generate-questions": generate_questions,
        "improve-questions": improve_questions,
    }
    assert set(deployments) == set(flows)
    for name, flow in flows.items():
        flow.validate_parameters(deployments[name]["parameters"])
    assert (PROJECT / deployments["extract-aspects"]["parameters"]["questions"]).is_file()


def test_the_nights_to_come_are_planned(served: Mapping[str, str]) -> None:
    wait_until(lambda: any(run["auto_scheduled"] for run in request(served, "flow_runs/filter", {})), START, "planning")


@pytest.fixture(scope="module")
def extracted(
    served: Mapping[str, str], scenes: Path, few_questions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder in which a run of the deployment has left its store and its students."""
    folder = tmp_path_factory.mktemp("extracted")
    parameters = {
        "dataset": {"source": str(scenes)},
        "questions": str(few_questions),
        "engine": {"name": "transformers"},
        "store": str(folder / "store"),
        "shard_size": 16,
        "student": {"settings": SETTINGS, "seeds": [0], "runs": str(folder / "runs")},
        "report": str(folder / "report.html"),
    }
    given = [f"--param={name}={json.dumps(value)}" for name, value in parameters.items()]
    prefect(served, "deployment", "run", "extract-aspects/extract-aspects", "--watch", *given)
    return folder


def test_a_deployment_run_writes_its_shards_and_its_results(
    served: Mapping[str, str], extracted: Path, scenes: Path
) -> None:
    states = {run["state"]["name"] for run in request(served, "flow_runs/filter", {})}
    assert states - {"Scheduled"} == {"Completed"}  # nights to come may be planned already
    training = [record.image_id for record in image_folder(scenes).records if record.split == "train"]
    shards = sorted(extracted.glob("store/answers/*/*/*/*.parquet"))
    assert [path.name for path in shards] == [f"part-{number:05}.parquet" for number in range(2)]
    table = pl.read_parquet(shards)
    assert table["image_id"].to_list() == training
    assert table[table.columns[-1]].struct.field("yes").null_count() == 0
    artifacts = {found["key"]: found for found in request(served, "artifacts/latest/filter", {})}
    assert artifacts["extraction"]["data"] == 100
    runs = {run["id"]: run for run in request(served, "flow_runs/filter", {})}
    (page,) = {artifacts[key]["flow_run_id"] for key in ("extraction", "ledger", "results", "report", "html-report")}
    assert runs[page]["name"] == "extract scenes x few by tiny"
    assert set(runs[page]["tags"]) == {"dataset:scenes", "questions:few", "teacher:tiny"}
    assert artifacts["ledger"]["data"].startswith("| | |\n")
    assert f"aspects view {extracted / 'store'} --runs {extracted / 'runs'}" in artifacts["html-report"]["data"]
    assert (extracted / "report.html").is_file()
    rows = json.loads(artifacts["results"]["data"])
    assert [row["method"] for row in rows] == ["base", "recommended-without-answers", "recommended"]
    assert rows[1].keys() >= {"top-1", "top-5", "gain (95 %)", "of the answers (95 %)"}
    tasks = {task["name"] for task in request(served, "task_runs/filter", {})}
    assert tasks == {"shard-0", "shard-1"}


def test_a_published_change_is_asked_at_once_and_nothing_else(
    served: Mapping[str, str], extracted: Path, scenes: Path, few_questions: Path, tmp_path: Path
) -> None:
    store = extracted / "store"
    (deployment,) = [found for found in request(served, "deployments/filter", {}) if found["name"] == "extract-aspects"]
    assert [schedule["parameters"] for schedule in deployment["schedules"]] == [{"train": False}]
    own = {
        "dataset": {"source": str(scenes)},
        "questions": str(few_questions),
        "engine": {"name": "transformers"},
        "store": str(store),
    }
    parameters = {**deployment["parameters"], **own}
    request(served, f"deployments/{deployment['id']}", {"parameters": parameters}, method="PATCH")

    document = yaml.safe_load(few_questions.read_text(encoding="utf-8"))
    document["questions"][1] = {"key": "at_night", "text": "Does the picture show a starry night?"}
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    said = aspects(served, "questions", "publish", str(changed), "--store", str(store))
    assert "1 new (at_night); 1 gone (has_yellow)" in said
    fingerprint = load_questions(changed).fingerprint
    wait_until(lambda: any(store.glob(f"answers/*/*/questions={fingerprint}.json")), START, "the change's answers")
    (manifest,) = store.glob(f"answers/*/*/questions={fingerprint}.json")
    (account,) = json.loads(manifest.read_text(encoding="utf-8"))["runs"]
    images = sum(record.split == "train" for record in image_folder(scenes).records)
    assert (account["questions"], account["reused"]) == (images, 3 * images)
    assert "nothing published" in aspects(served, "questions", "publish", str(changed), "--store", str(store))


def test_a_question_set_is_improved_and_its_rounds_are_on_the_page(
    served: Mapping[str, str], scenes: Path, few_questions: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start.yaml"
    document = yaml.safe_load(few_questions.read_text(encoding="utf-8"))
    start.write_text(yaml.safe_dump({"questions": document["questions"][:2]}), encoding="utf-8")
    parameters = {
        "dataset": {"source": str(scenes)},
        "questions": str(start),
        "pool": str(few_questions),
        "count": 2,
        "sample": 12,
        "rounds": 1,
        "engine": {"name": "transformers"},
        "store": str(tmp_path / "store"),
        "student": {
            "recipe": "demo",
            "settings": {**SETTINGS, "method": "makd"},
            "seeds": [0],
            "runs": str(tmp_path / "runs"),
        },
    }
    given = [f"--param={name}={json.dumps(value)}" for name, value in parameters.items()]
    prefect(served, "deployment", "run", "improve-questions/improve-questions", "--watch", *given)
    (run,) = [one for one in request(served, "flow_runs/filter", {}) if one["name"].startswith("improve")]
    assert run["state"]["name"] == "Completed"
    of_run = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    artifacts = {one["key"]: one["data"] for one in request(served, "artifacts/latest/filter", of_run)}
    record = read_rounds(tmp_path / "runs" / "rounds.json")
    assert record is not None
    rows = json.loads(artifacts["rounds"])
    assert rows == artifact_rows(record.rows)
    assert [row["round"] for row in rows] == ["0", "1"]
    assert f"Stopped: {record.stopped}" in artifacts["rounds-report"]
    assert len(load_questions(tmp_path / "runs" / "questions.yaml")) == 2


def test_the_documented_run_asks_on_the_cluster_about_images_of_the_object_store(composed: Composed) -> None:
    pytest.importorskip("ray")
    page = (PROJECT / "docs" / "clusters.md").read_text(encoding="utf-8").replace("\\\n", "")
    commands = re.findall(r"^docker compose exec worker (.*)$", page, flags=re.MULTILINE)
    with composed.up("ray-head"), composed.up("ray-worker", "Ray runtime started"):
        for command in commands:
            said = composed.require("worker", "sh", "-c", composed.here(command))
    assert "Completed" in said
    store = f"s3://key:secret@aspects/store?scheme=http&endpoint_override=127.0.0.1:{composed.port('8333')}"
    answers = read_answers(find_answers(store, "scenes"))
    assert len(answers.image_ids) == 4 * 12
    assert not any(answers.errors)
