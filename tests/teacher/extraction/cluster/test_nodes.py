"""What a node lacks is found on the node, and said with what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.datasets import image_folder
from teacher.engines.config import resolve, tiny_teacher
from teacher.extraction.cluster.nodes import NodeNeeds, compare_versions, find_problem, needs_of
from teacher.extraction.jobs import Extraction
from teacher.extraction.plan import plan_extraction
from tests.storage.samples import QUESTIONS
from tests.teacher.images import write_images


@pytest.fixture
def needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeNeeds]:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", good=2)
    teacher = resolve(tiny_teacher())
    dataset = image_folder(Path("images"))
    plan = plan_extraction(dataset, ("train",), QUESTIONS, teacher, "store")
    with needs_of([Extraction(plan=plan, dataset=dataset)], teacher) as needs:
        yield needs
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_node_that_sees_everything_has_no_problem(needs: NodeNeeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")  # relative paths start at the driver's folder
    assert find_problem(needs) is None


def remove_image(folder: Path) -> None:
    (folder / "images" / "train" / "a" / "00.png").unlink()


def exchange_image(folder: Path) -> None:
    shutil.copy(folder / "images" / "train" / "a" / "01.png", folder / "images" / "train" / "a" / "00.png")


def exchange_store(folder: Path) -> None:
    (token,) = (path for path in (folder / "store").rglob(".probe-*"))
    token.write_bytes(b"another machine's")


def remove_store(folder: Path) -> None:
    shutil.rmtree(folder / "store")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            remove_image,
            r"image train/a/00.png of dataset 'images' cannot be read there \(.*No such file.*\); if it",
        ),
        (exchange_image, "image train/a/00.png of dataset 'images' is another image there; all nodes"),
        (
            exchange_store,
            r"the store's folder .*store.* is not the same there; put it .*--store",
        ),
        (remove_store, "the store's folder .* is not the same there"),
    ],
)
def test_images_and_store_have_to_be_the_same(
    needs: NodeNeeds, tmp_path: Path, change: Callable[[Path], None], problem: str
) -> None:
    change(tmp_path)
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(find_problem(needs))


def test_the_teacher_has_to_be_there(needs: NodeNeeds, tmp_path: Path) -> None:
    config = replace(needs.teacher.config, model=str(tmp_path / "model"))
    teacher = replace(needs.teacher, config=config, path=tmp_path / "model")
    problem = find_problem(replace(needs, teacher=teacher))
    assert problem is not None
    assert problem.startswith(f"the teacher is not there: no model at {tmp_path}/model")


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ({"python": "3.11", "ray": "2.60.0"}, None),
        ({"python": "3.12", "ray": "2.60.0"}, "python 3.12 there, 3.11 here; install the same versions on all nodes"),
        ({"python": "3.11"}, "ray missing there, 2.60.0 here"),
        ({"python": "3.11", "ray": "2.60.0", "vllm": "0.32.0"}, "vllm 0.32.0 there, missing here"),
    ],
)
def test_versions_have_to_be_equal(node: dict[str, str], problem: str | None) -> None:
    found = compare_versions({"python": "3.11", "ray": "2.60.0"}, node)
    assert found == problem if problem is None or found is None else found.startswith(problem)
