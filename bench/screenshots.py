"""Draw every view of the page, wide and narrow, into docs/: small WebP images of rendered scenes with planted errors.

    python bench/screenshots.py

The bundled teacher answers 50 questions about each scene; 12 training scenes are filed under a wrong class. Students
are trained by the recipe `demo`, and a detector by the recipe of the same name. A run takes minutes; what --work holds
already is not made again (bench/screenshot_sources.py). Needs the package chromium of Debian, or a Google Chrome.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from bench.arguments import numbers, one_of, positive, run_benchmark, several
from bench.demo_site import serving
from bench.screenshot_sources import SEEDS, boxed_sources, corrected_sources, demo_sources, running_sources

PROJECT = Path(__file__).parents[1]
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
    "corrections": "/corrections",
    "detection": "/detection",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=PROJECT / "runs" / "screenshots", help="scenes, store and students"
    )
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs" / "images")
    parser.add_argument(
        "--seeds", type=numbers, default=",".join(map(str, SEEDS)), help="of the students, separated by commas"
    )
    parser.add_argument("--epochs", type=positive, help="of the students; the recipe's unless given")
    parser.add_argument(
        "--only", type=several(one_of(VIEWS)), default=list(VIEWS), help="names of views, separated by commas"
    )
    asked = parser.parse_args()
    asked.docs.mkdir(parents=True, exist_ok=True)
    settings = {} if asked.epochs is None else {"epochs": asked.epochs}
    sources = demo_sources(asked.work, asked.seeds, **settings)
    others = {"run": running_sources(asked.work, sources), "detection": boxed_sources(asked.work)}
    others |= dict.fromkeys(("corrections", "queue"), corrected_sources(asked.work, sources))
    assert sources.dataset is not None
    moved = next(record.image_id for record in sources.dataset.records if "/moved-" in record.image_id)
    with started_browser() as browser, ExitStack() as stack:
        site_of = {one: stack.enter_context(serving(one)) for one in {sources, *others.values()}}
        for name in asked.only:
            address = site_of[others.get(name, sources)] + VIEWS[name].replace("MOVED_IMAGE", quote(moved))
            for ending, (width, height) in WIDTHS.items():
                path = asked.docs / f"view-{name}{ending}.webp"
                path.write_bytes(screenshot(browser, address, width, height))
                print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


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
    run_benchmark(main)
