"""Other sites can neither read the page nor send forms to it; other machines need the token."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from storage.datasets import FileDataset
from tests.view.conftest import Open
from view.security import Guard, split_host

TOKEN = "secret"


@pytest.mark.parametrize(
    ("host", "header", "served"),
    [
        ("127.0.0.1", "127.0.0.1:8000", True),
        ("127.0.0.1", "localhost:8000", True),
        ("127.0.0.1", "[::1]:8000", True),
        ("127.0.0.1", "127.0.0.1:8001", False),
        ("127.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "rebound.example:8000", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "127.0.0.1.example:8000", False),
        ("0.0.0.0", "10.1.2.3:8000", True),
        ("0.0.0.0", "rebound.example:8000", False),
        ("10.1.2.3", "10.1.2.3:8000", True),
        ("10.1.2.3", "10.1.2.4:8000", False),
    ],
)
def test_only_the_served_host_is_answered(host: str, header: str, served: bool) -> None:
    assert Guard(host=host, port=8000).is_served(header) is served


@pytest.mark.parametrize(
    ("header", "expected"),
    [("a:1", ("a", 1)), ("A", ("a", 80)), ("[::1]:7", ("::1", 7)), ("[::1]", ("::1", 80)), ("a:b", ("a", None))],
)
def test_host_headers_are_split(header: str, expected: tuple[str, int | None]) -> None:
    assert split_host(header) == expected


def test_a_rebound_name_is_refused_on_every_path(client: TestClient) -> None:
    for path in ("/", "/static/style.css", "/thumbnail?id=a"):
        answer = client.get(path, headers={"host": "rebound.example:8000"})
        assert (answer.status_code, "aspects" in answer.text.lower()) == (421, False)


@pytest.fixture
def guarded(open_page: Open, store: Path) -> TestClient:
    return open_page(store, guard=Guard(host="127.0.0.1", port=8000, token=TOKEN))


def test_the_token_is_needed_once_and_leaves_the_address(guarded: TestClient) -> None:
    assert guarded.get("/").status_code == 403
    assert guarded.get("/?token=wrong").status_code == 403
    first = guarded.get(f"/questions?sort=bits&token={TOKEN}", follow_redirects=False)
    assert (first.status_code, first.headers["location"]) == (303, "/questions?sort=bits")
    assert "httponly" in first.headers["set-cookie"].lower()
    assert guarded.get("/").status_code == 200


@pytest.mark.parametrize("origin", [None, "http://other.example", "null", "https://127.0.0.1:8000"])
def test_forms_of_other_sites_are_refused(client: TestClient, origin: str | None) -> None:
    headers = {"origin": origin} if origin else {}
    assert client.post("/", headers=headers).status_code == 403


def test_forms_of_the_page_itself_pass_the_guard(client: TestClient) -> None:
    assert client.post("/", headers={"origin": "http://127.0.0.1:8000"}).status_code == 405


def test_scripts_of_other_sites_are_forbidden(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy


@pytest.mark.parametrize(
    "image_id",
    ["../../etc/passwd", "/etc/passwd", "train/daisy/../daisy/0.png", "train/daisy", "", "train/daisy/99.png", "a#0"],
)
def test_only_images_of_the_dataset_are_read(client: TestClient, flowers: FileDataset, image_id: str) -> None:
    assert client.get("/thumbnail", params={"id": image_id}).status_code == 404
    assert client.get("/image", params={"id": image_id}).status_code == 404


def test_static_files_do_not_lead_out_of_their_folder(client: TestClient) -> None:
    assert client.get("/static/style.css").status_code == 200
    assert client.get("/static/..%2f..%2fpyproject.toml").status_code == 404
