"""Commands without a Prefect server, and what is said where the named one does not answer."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.server import address
from flows.server.address import ServerUnreachable, check_server
from tests.conftest import PROJECT
from tests.flows.conftest import Aspects
from tests.flows.processes import alive, free_port, wait_until

RUN = """
import sys
from flows.__main__ import main
try:
    main()
finally:
    print("prefect is imported" if "prefect" in sys.modules else "no prefect", file=sys.stderr)
"""


def session_of(group: int) -> list[int]:
    """Living processes that were started in the session `group`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group and alive(int(path.parent.name)):
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_a_plain_command_needs_no_server_no_network_and_no_home(
    scenes: Path, few_questions: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    black_hole = "http://10.255.255.1:9"
    (tmp_path / "home").write_text("a file, so that nothing can be written in it")
    settings = {
        **{name: value for name, value in environment.items() if name.lower() != "no_proxy"},
        **dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"), black_hole),
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(PROJECT),
    }
    options = ["extract", "-d", scenes, "-q", few_questions, "--engine", "transformers", "-s", tmp_path / "store"]
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, options)],
        env=settings,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "no prefect" in said
    # Python's resource tracker notices the end a moment later.
    wait_until(lambda: session_of(process.pid) == [], 5, "the end of all its processes")
    assert len(list(tmp_path.glob("store/answers/*/*/*.json"))) == 1


@contextmanager
def web_server(status: int) -> Iterator[str]:
    """Answers everything with `status`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [200, 401, 403])
def test_a_server_of_this_machine_is_asked_past_all_proxies(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with web_server(status) as server:
        check_server(f"{server}/api")
    assert os.environ["no_proxy"] == "example.org,127.0.0.1"
    assert os.environ["NO_PROXY"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("localhost:4200", "is no address; write e.g. http://127.0.0.1:4200/api, or unset it"),
        ("ftp://127.0.0.1/api", "is no address"),
        ("http://", "is no address"),
        ("http://[::1/api", "is no address"),
        ("http://127.0.0.1:99999/api", "no Prefect server answers at http://127.0.0.1:99999/api"),
        ("http://127.0.0.1:FREE/api", "no Prefect server answers at http://127.0.0.1:"),
        ("http://127.0.0.1:SILENT/api", "timed out"),
        ("http://127.0.0.1:OTHER", r"\(HTTP 404\); its address ends in /api"),
        ("http://127.0.0.1:BROKEN/api", r"\(HTTP 500\)"),
    ],
)
def test_a_server_that_does_not_answer_is_named(given: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, web_server(404) as other, web_server(500) as broken:
        ports = {
            "FREE": free_port(),
            "SILENT": silent.getsockname()[1],
            "OTHER": other.rpartition(":")[2],
            "BROKEN": broken.rpartition(":")[2],
        }
        for name, port in ports.items():
            given = given.replace(name, str(port))
        with pytest.raises(ServerUnreachable, match=wanted):
            check_server(given)


@pytest.mark.parametrize(
    ("status", "reason"), [(200, "Failed to reach API at"), (401, "Client error '401 Unauthorized'")]
)
def test_a_server_that_refuses_the_client_is_one_line(status: int, reason: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.server.flow_runs import connect

    with web_server(status) as server, temporary_settings({PREFECT_API_URL: f"{server}/api"}):
        with pytest.raises(ServerUnreachable, match=f"^{reason}.*; start it, or unset PREFECT_API_URL") as caught:
            connect()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        ["extract", "-d", "SCENES", "-q", "QUESTIONS", "--engine", "transformers"],
        ["questions", "publish", "QUESTIONS"],
        ["questions", "audit", "QUESTIONS", "-d", "SCENES", "--engine", "transformers"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_command_whose_server_is_out_of_reach_ends_with_one_line(
    aspects: Aspects, scenes: Path, few_questions: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    places = {"SCENES": scenes, "QUESTIONS": few_questions}
    outcome = aspects(*(places.get(part, part) for part in command))
    assert outcome.code == 1
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: no Prefect server answers at http://127.0.0.1:")
    assert line.endswith("start it, or unset PREFECT_API_URL to run without one")
    assert len(outcome.err.splitlines()) <= 4
