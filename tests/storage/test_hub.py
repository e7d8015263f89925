"""A Hub that is out of reach, or has nothing of that name: said at once, and by everything that downloads from it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from storage import hub
from storage.datasets.base import DatasetInvalid
from storage.datasets.hugging_face.dataset import hugging_face_dataset
from storage.errors import RunFailed
from storage.hub import HubUnreachable, PushInvalid, find_on_hub, push_folder, require_pushable
from student.classification.config import StudentConfig
from student.classification.model import create_network
from student.classification.trainable import require_trainable
from student.core.setting_errors import ConfigInvalid
from student.detection.config import DetectorConfig
from student.detection.networks import build_network
from student.detection.trainable import require_trainable_detector


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path.endswith("/known/one")
        body = json.dumps({"id": "known/one", "siblings": [], "tags": []} if known else {"error": "not found"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api(endpoint=url))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        point_to(f"http://127.0.0.1:{server.server_address[1]}", monkeypatch)
        yield
        server.shutdown()


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        point_to(f"http://127.0.0.1:{closed.getsockname()[1]}", monkeypatch)


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_existing_repositories_are_found(served: None, kind: str) -> None:
    find_on_hub("known/one", kind)  # type: ignore[arg-type]
    with pytest.raises(HubUnreachable, match="404"):
        find_on_hub("unknown/one", kind)  # type: ignore[arg-type]


def test_offline_nothing_is_asked(unreachable: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    find_on_hub("known/one", "model")


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_to(f"http://127.0.0.1:{silent.getsockname()[1]}", monkeypatch)
        with pytest.raises(HubUnreachable, match="timed out"):
            find_on_hub("known/one", "dataset")


def test_a_dataset_is_refused_in_one_line(unreachable: None, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetInvalid, match=r"cannot load hf:owner/name \(.*refused.*\); check .*HF_HUB_OFFLINE"
    ) as caught:
        hugging_face_dataset("owner/name", cache=tmp_path)
    assert "\n" not in str(caught.value)


def test_pretrained_weights_are_refused_in_one_line(unreachable: None) -> None:
    said = r"cannot get the weights of backbone 'resnet18.a1_in1k' .*; check the network, or give --set "
    config = StudentConfig(backbone="resnet18.a1_in1k", image_size=32, epochs=1, pretrained=True)
    for start in (partial(create_network, config, outputs=3), partial(require_trainable, config)):
        with pytest.raises(ConfigInvalid, match=f"{said}weights=FILE"):
            start()
    detector = DetectorConfig(backbone="resnet18.a1_in1k", image_size=64, epochs=1, pretrained=True)
    for begin in (partial(build_network, detector, classes=3), partial(require_trainable_detector, detector)):
        with pytest.raises(ConfigInvalid, match=f"{said}pretrained=false"):
            begin()


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_something")


@pytest.mark.parametrize("name", ["", "a/b/c", "a b", "-a/b"])
def test_invalid_repository_names_are_not_pushed_to(token: None, name: str) -> None:
    with pytest.raises(PushInvalid, match="names no repository of the Hub; write OWNER/NAME"):
        require_pushable(name)


def test_pushing_needs_a_token_and_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(PushInvalid, match="no token of the Hugging Face Hub; run 'hf auth login' or set HF_TOKEN"):
        require_pushable("me/model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PushInvalid, match="HF_HUB_OFFLINE is set"):
        require_pushable("me/model")


def test_a_hub_out_of_reach_leaves_the_export(unreachable: None, token: None, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"cannot push to me/model .*: push it again by 'hf upload me/model"):
        push_folder(tmp_path, "me/model")


def test_a_folder_is_pushed_in_one_commit_to_a_private_repository(
    token: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    called: list[tuple[str, object]] = []

    class Api:
        def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> huggingface_hub.RepoUrl:
            called.append((name, (private, exist_ok)))
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{name}")

        def upload_folder(self, *, folder_path: Path, repo_id: str, commit_message: str) -> None:
            called.append((repo_id, folder_path))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert push_folder(tmp_path, "me/model") == "https://huggingface.co/me/model"
    assert called == [("me/model", (True, True)), ("me/model", tmp_path)]
