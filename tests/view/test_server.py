"""The command: serves until a signal ends it, and refuses what cannot be served in one line."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from storage.errors import AspectsError
from tests.conftest import PROJECT
from view.server import listen


def test_the_page_is_served_until_ctrl_c(store: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows", "view", str(store), "--no-open"]
    environment = {**os.environ, "ASPECTS_CACHE": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found is not None
        with urllib.request.urlopen(found[0], timeout=60) as answer:
            assert b"flowers" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("host", "taken", "message", "code"),
    [("127.0.0.1", True, "leave --port out", 1), ("no.such.host.invalid", False, "use 127.0.0.1", 2)],
)
def test_an_address_that_cannot_be_served_is_one_line(host: str, taken: bool, message: str, code: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(AspectsError, match=message) as raised:
            listen(host, other.getsockname()[1] if taken else 0)
    assert raised.value.exit_code == code
