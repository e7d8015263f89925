"""Draw every view of the page, wide and narrow, into docs/: small WebP images of rendered scenes with planted errors.

    python bench/screenshots.py

The bundled teacher answers 50 questions about each scene; 12 training scenes are filed under a wrong class. A run takes
minutes; what --work holds already is not made again. Needs the package chromium of Debian, or a Google Chrome.
"""

from __future__ import annotations

import argparse
import io
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from bench.demo_site import serving, train_students
from storage.answers.read import load_answers
from storage.answers.store import answer_directories
from storage.datasets import DetectionDataset, image_folder, open_detection_dataset
from storage.datasets.scenes.classification import write_scenes
from storage.datasets.scenes.detection import write_detection_scenes
from view.sources import Sources

PROJECT = Path(__file__).parents[1]
MOVED = 12  # training scenes that are filed under another class
LARGEST = 150_000  # bytes of a screenshot
WIDTHS = {"": (1400, 900), "-narrow": (390, 844)}
# The name of each screenshot, and the address; MOVED_IMAGE stands for one that was moved.
VIEWS: Mapping[str, str] = {
    "overview": "/",
    "questions": "/questions?sort=bits",
    "question": "/question?key=has_red",
    "classes": "/classes",
    "images": "/images?key=has_red&order=surprise",
    "image": "/image?id=MOVED_IMAGE",
    "labels": "/labels",
    "student": "/student",
    "run": "/run",
    "queue": "/queue",
    "detection": "/detection",
}
STUDENT = {"backbone": "test_resnet", "epochs": 10, "warmup": 1, "image_size": 32, "cache_size": 32, "lr": 0.05}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=PROJECT / "runs" / "screenshots", help="scenes, store and students"
    )
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs" / "images")
    parser.add_argument("--only", help="names of views, separated by commas")
    asked = parser.parse_args()
    chosen = asked.only.split(",") if asked.only else list(VIEWS)
    if unknown := set(chosen) - set(VIEWS):
        parser.error(f"no view {', '.join(sorted(unknown))}; there are {', '.join(VIEWS)}")
    asked.docs.mkdir(parents=True, exist_ok=True)
    sources = demo_sources(asked.work)
    boxed = Sources(sources.store, asked.work / "cache", dataset=boxed_scenes(asked.work / "boxes"))
    assert sources.dataset is not None
    moved = next(record.image_id for record in sources.dataset.records if "/moved-" in record.image_id)
    with started_browser() as browser, serving(sources) as site, serving(boxed) as boxed_site:
        for name in chosen:
            address = (boxed_site if name == "detection" else site) + VIEWS[name].replace("MOVED_IMAGE", quote(moved))
            for ending, (width, height) in WIDTHS.items():
                path = asked.docs / f"view-{name}{ending}.webp"
                path.write_bytes(screenshot(browser, address, width, height))
                print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def boxed_scenes(folder: Path) -> DetectionDataset:
    if not folder.is_dir():
        write_detection_scenes(folder, train=12, test=4, seed=0)
    return open_detection_dataset(str(folder))


def demo_sources(folder: Path) -> Sources:
    """Scenes, their answers and students of two methods in `folder`, made where they are not there."""
    scenes, store, runs = folder / "scenes", folder / "store", folder / "runs"
    if not scenes.is_dir():
        unfinished = folder / "unfinished"
        write_scenes(unfinished, train_per_class=30, test_per_class=10, seed=0)
        move_some(unfinished)
        unfinished.rename(scenes)
    words = [
        "extract",
        "-d",
        scenes,
        "-q",
        "scenes",
        "-t",
        "tiny",
        "--engine",
        "transformers",
        "--splits",
        "train,test",
    ]
    subprocess.run([sys.executable, "-m", "flows", *map(str, words), "-s", str(store)], cwd=PROJECT, check=True)
    dataset = image_folder(scenes)
    answers = load_answers(answer_directories(str(store))[0].path)
    train_students(dataset, answers, runs, ["base", "recommended-without-answers", "recommended"], [0, 1, 2], **STUDENT)
    return Sources(str(store), folder / "cache", runs=(runs,), dataset=dataset)


def move_some(scenes: Path) -> None:
    """File MOVED training scenes under the class behind theirs."""
    chance = random.Random(0)
    classes = sorted(path for path in (scenes / "train").iterdir() if path.is_dir())
    for place in chance.sample(range(len(classes)), MOVED):
        wrong = classes[(place + 1) % len(classes)]
        path = chance.choice(sorted(classes[place].glob("*.png")))
        path.rename(wrong / f"moved-{path.name}")


@contextmanager
def started_browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("error: no Chromium on this machine; install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def screenshot(browser: Browser, address: str, width: int, height: int) -> bytes:
    """The first screen of a page as WebP, below LARGEST bytes."""
    tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    tab.goto(address, wait_until="networkidle")
    drawn = Image.open(io.BytesIO(tab.screenshot()))
    tab.close()
    for quality in (85, 70, 55, 40):
        file = io.BytesIO()
        drawn.save(file, "WEBP", quality=quality, method=6)
        if file.tell() < LARGEST:
            break
    return file.getvalue()


if __name__ == "__main__":
    main()
