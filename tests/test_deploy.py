"""The files in `deploy/` are what their programs read, as far as that can be checked without a cloud."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from typing import Any

import pytest
import yaml
from typer.main import get_command

from flows.cli.app import app
from tests.conftest import PROJECT

DEPLOY = PROJECT / "deploy"
FILES = sorted(path.name for path in DEPLOY.iterdir())
WITH_COMMANDS = [name for name in FILES if name != "compose.yaml"]  # whose commands a test of deployments runs
KEYS = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def test_ray_accepts_the_cluster_file() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = util.fillout_defaults(load("ray-up.yaml"))
    util.validate_config(config)
    assert config["head_node_type"] in config["available_node_types"]


def test_ray_refuses_a_cluster_file_with_an_unknown_field() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    with pytest.raises(Exception, match="worker_nodez"):
        util.validate_config({**util.fillout_defaults(load("ray-up.yaml")), "worker_nodez": {}})


def test_the_manifest_is_a_ray_cluster() -> None:
    manifest = load("kuberay.yaml")
    pin = next(line for line in (PROJECT / "constraints.txt").read_text().split() if line.startswith("ray=="))
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayCluster")
    spec = manifest["spec"]
    assert f"ray=={spec['rayVersion']}" == pin
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        limits = container["resources"]["limits"]
        assert limits == container["resources"]["requests"]
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_task_has_only_fields_of_skypilot() -> None:
    task = load("skypilot.yaml")
    assert task.keys() == {"name", "num_nodes", "resources", "file_mounts", "run"}
    assert task["resources"].keys() == {"accelerators", "use_spot", "image_id"}
    assert all(mount.keys() == {"source", "mode"} for mount in task["file_mounts"].values())


@pytest.mark.parametrize("name", ["slurm.sh", "skypilot.yaml"])
def test_bash_accepts_the_script(name: str) -> None:
    script = load(name)["run"] if name.endswith(".yaml") else (DEPLOY / name).read_text()
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_commands_have_only_options_that_there_are(name: str) -> None:
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    commands: Any = get_command(app)
    options = {flag for parameter in commands.commands["extract"].params for flag in parameter.opts}
    found = re.findall(r"aspects extract (.*)", text)
    assert found
    for line in found:
        given = {word for word in shlex.split(line.replace("...", "")) if word.startswith("--")}
        assert "--cluster" in given
        assert given <= options


@pytest.fixture(scope="module")
def composed() -> Any:
    return load("compose.yaml")


def test_the_services_have_pinned_images_and_ours_is_that_of_the_release(composed: Any) -> None:
    release = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    for service in composed["services"].values():
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+(\.\d+)?", service["image"])
        if "build" in service:
            assert service["image"] == f"aspects:{release}"
            assert (DEPLOY / service["build"] / "Dockerfile").is_file()
            assert service["entrypoint"]  # else the image's would run `aspects`


def test_what_services_use_of_one_another_is_offered(composed: Any) -> None:
    services = composed["services"]
    started = {name: yaml.safe_dump(each.get("entrypoint", []) + each["command"]) for name, each in services.items()}
    used = set()
    for name, service in services.items():
        text = started[name] + yaml.safe_dump(service["environment"])
        used |= set(re.findall(rf"\b({'|'.join(services)}):(\d+)", text))
        for address in service.get("ports", ()):
            host, published, port = address.split(":")
            assert (host, published) == ("127.0.0.1", port)  # the key is no secret
            used.add((name, port))
    assert used == {("prefect", "4200"), ("s3", "8333"), ("ray-head", "6379")}
    for name, port in used | {("ray-head", "10001")}:
        assert re.search(rf"\b{port}\b", started[name])
    keys = [service["environment"][f"AWS_{part}"] for service in services.values() for part in KEYS]
    assert len(set(keys)) == len(KEYS)


def test_services_wait_for_those_that_can_become_ready(composed: Any) -> None:
    services = composed["services"]

    def needed(name: str) -> set[str]:
        direct = services[name].get("depends_on", {})
        for other, wait in direct.items():
            if wait["condition"] == "service_healthy":
                assert services[other]["healthcheck"]["test"][0] == "CMD"
            else:
                assert (wait["condition"], services[other]["restart"]) == ("service_completed_successfully", "no")
        return set(direct).union(*map(needed, direct))

    assert needed("worker") == {"deploy", "prefect", "s3", "ray-head"}
    assert needed("ray-gpu-worker") == needed("ray-worker") == {"ray-head"}


def test_volumes_are_declared_and_belong_to_the_images_user(composed: Any) -> None:
    services = composed["services"]
    mounts = [mount.split(":") for service in services.values() for mount in service["volumes"]]
    assert {name for name, _ in mounts} == composed["volumes"].keys()
    made = re.findall(r'"(/home/[^"]*)"', (PROJECT / "Dockerfile").read_text())
    assert {folder for _, folder in mounts} == {*made, "/data"}


def test_the_page_shows_every_file() -> None:
    page = (PROJECT / "docs" / "clusters.md").read_text()
    assert [name for name in FILES if f"](../deploy/{name})" not in page] == []
