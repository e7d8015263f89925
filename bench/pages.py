"""Speed and memory of the pages of `aspects view`.

Writes synthetic answers about --images images to --questions questions with the project's own writer, a student's
predictions and small real images (flowers102_64, one hard link for each synthetic image) whose thumbnails are made.
Then a server in a process of its own is asked for each page --repeat times; the page of detections has a server of its
own, about 5,000 images with boxes. Prints one line of JSON for each page: milliseconds to the first byte, cold and the
warm median, processor time of the server, and the most memory it has taken so far.

    python bench/pages.py --images 100000
    python bench/pages.py --images 1000000 --no-files
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from bench.arguments import positive, run_benchmark
from bench.data import PROJECT
from bench.page_sources import BOXED, link_images, records_of, write_boxes, write_runs, write_store
from storage.datasets.base import ImageRecord

THUMBNAILS = 60  # of a page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, default=100_000)
    parser.add_argument("--questions", type=positive, default=50)
    parser.add_argument("--repeat", type=positive, default=15)
    parser.add_argument("--folder", type=Path, default=None, help="where store and images are kept and found again")
    parser.add_argument("--no-files", action="store_true", help="without images")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        records = records_of(asked.images)
        made = {"store": write_store, "runs": write_runs}
        for name, write in made.items():
            if not (folder / name).is_dir():
                write(folder / name, records, asked.questions)
        options = ["--runs", str(folder / "runs")]
        if not asked.no_files:
            if not (folder / "images").is_dir():
                link_images(folder / "images", [record.image_id for record in records])
            options += ["-d", str(folder / "images")]
        measure(folder, options, pages(records), asked, [] if asked.no_files else records)
        if not asked.no_files:
            if not (folder / "boxes").is_dir():
                write_boxes(folder / "boxes")
            boxes = ["--runs", str(folder / "boxes"), "-d", str(folder / "boxes" / "scenes"), "--task", "detection"]
            measure(folder, boxes, ["/detection", "/detection?show=missed&page=3"], asked, [], images=BOXED)


def measure(
    folder: Path,
    options: list[str],
    addresses: list[str],
    asked: argparse.Namespace,
    thumbnails: list[ImageRecord],
    images: int | None = None,
) -> None:
    """Serve the store and time each address."""
    command = [sys.executable, "-m", "flows", "view", str(folder / "store"), "--no-open", *options]
    environment = {**os.environ, "ASPECTS_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = next((match for line in process.stdout if (match := re.search(r"http://\S+", line))), None)
            assert found is not None, "the server did not start"
            site = found[0].rstrip("/")
            start = {"images": images or asked.images, "start_seconds": round(time.perf_counter() - started, 1)}
            print(json.dumps(start), flush=True)
            for page in addresses:
                print(json.dumps(time_page(site + page, process.pid, asked.repeat) | {"page": page}), flush=True)
            if thumbnails:
                measure_thumbnails(site, thumbnails)
        finally:
            process.terminate()


def time_page(address: str, pid: int, repeat: int) -> dict[str, object]:
    cold = first_byte(address)
    while "Judging the labels" in text_of(address):
        time.sleep(1)
    used = processor_ms(pid)
    warm = [first_byte(address) for _ in range(repeat)]
    used = (processor_ms(pid) - used) / repeat
    status = Path(f"/proc/{pid}/status").read_text()
    peak = {name: int(value) // 1024 for name, value in re.findall(r"(VmHWM|RssAnon):\s+(\d+)", status)}
    memory = {"peak_mb": peak["VmHWM"], "anonymous_mb": peak["RssAnon"]}
    return {"cold_ms": round(cold), "warm_ms": round(median(warm), 1), "cpu_ms": round(used), **memory}


def text_of(address: str) -> str:
    with urllib.request.urlopen(address, timeout=600) as answer:
        return str(answer.read(100_000).decode(errors="replace"))


def pages(records: list[ImageRecord]) -> list[str]:
    image = records[len(records) // 2].image_id
    key, label = "question_07", records[0].label_name
    return [
        "/",
        "/questions",
        f"/question?key={key}",
        "/classes",
        "/images",
        f"/images?{urlencode({'key': key, 'label': label, 'order': 'surprise'})}",
        f"/images?{urlencode({'key': key, 'order': 'surprise', 'page': 5})}",
        f"/image?{urlencode({'id': image})}",
        "/student",
        f"/predictions?{urlencode({'run': 'student', 'split': 'train', 'wrong': '1'})}",
        "/run",
        "/corrections",
        "/queue",
        "/labels",
        f"/labels?{urlencode({'label': label, 'least': 0.5})}",
    ]


def measure_thumbnails(address: str, records: list[ImageRecord]) -> None:
    """One page of thumbnails, made and from the cache."""
    ids = [record.image_id for record in records[:: max(1, len(records) // THUMBNAILS)][:THUMBNAILS]]
    for state in ("made", "cached"):
        started = time.perf_counter()
        for image_id in ids:
            first_byte(f"{address}/thumbnail?{urlencode({'id': image_id})}")
        seconds = time.perf_counter() - started
        print(json.dumps({"thumbnails": len(ids), "state": state, "ms": round(1000 * seconds)}), flush=True)


def processor_ms(pid: int) -> float:
    """The processor time of a process so far, which other programs do not lengthen, in ms."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return 1000 * (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def first_byte(address: str) -> float:
    """Milliseconds until the first byte of the answer; the rest is read too."""
    started = time.perf_counter()
    with urllib.request.urlopen(address, timeout=600) as answer:
        answer.read(1)
        milliseconds = 1000 * (time.perf_counter() - started)
        answer.read()
    return milliseconds


if __name__ == "__main__":
    run_benchmark(main)
