"""The services of deploy/compose.yaml as processes of this machine, by the file's own commands and variables."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT
from tests.flows.processes import free_port, started, wait_until

FILE = PROJECT / "deploy" / "compose.yaml"
PORT = re.compile(r"\b\d{4,5}\b")
START = 180  # seconds; a minute is enough on two idle cores
STARTS = 4  # Ray gives its parts little time to start, which a busy machine may exceed


class Composed:
    """Every service is on the loopback interface, at a port of its own; /home/aspects/work is a folder of this machine.

    `environment` is what an image would have.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        text = FILE.read_text(encoding="utf-8")
        self.folder = folder
        for name in ("home", "work"):
            (folder / name).mkdir()
        self._ports = {port: str(free_port()) for port in PORT.findall(text)}
        self._names = "|".join(yaml.safe_load(text)["services"])
        self._services: dict[str, Any] = yaml.safe_load(self.here(text))["services"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        self._environment = {**environment, "PATH": path, "PREFECT_HOME": str(folder / "home")}

    def here(self, text: str) -> str:
        """Text about the services with the addresses and folders of this machine."""
        text = re.sub(rf"\b({self._names}):(?=\d)", "127.0.0.1:", text.replace("0.0.0.0", "127.0.0.1"))
        text = text.replace("/home/aspects/work", str(self.folder / "work"))
        return PORT.sub(lambda port: self._ports.get(port[0], port[0]), text)

    def port(self, port: str) -> int:
        """The port of this machine for one of the file."""
        return int(self._ports[port])

    def command(self, name: str) -> list[str]:
        return [*self._services[name]["entrypoint"], *self._services[name]["command"]]

    def environment(self, name: str) -> dict[str, str]:
        return {**self._environment, **self._services[name]["environment"]}

    @contextmanager
    def up(self, name: str, says: str = "") -> Iterator[None]:
        """A running service, once its check succeeds or, without one, it `says` that; restarted as Docker would."""
        log = self.folder / f"{name}.log"
        check = self._services[name].get("healthcheck", {"test": [""]})["test"][1:]

        def settled(process: subprocess.Popen[bytes]) -> bool:
            if check and self.call(name, *check).returncode == 0:
                return True
            return process.poll() is not None or (not check and says in log.read_text(encoding="utf-8"))

        for _ in range(STARTS):
            with started(self.command(name), log, self.environment(name), PROJECT) as process:
                wait_until(partial(settled, process), START, f"start of {name}")
                if process.poll() is None:
                    yield
                    return
        pytest.fail(f"{name} does not start: {log.read_text(encoding='utf-8')}")

    def run(self, name: str) -> None:
        """A service that ends."""
        self.require(name, *self.command(name))

    def require(self, name: str, *command: str) -> str:
        """What a command that has to succeed prints beside the service `name`."""
        done = self.call(name, *command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def call(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment(name),
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
