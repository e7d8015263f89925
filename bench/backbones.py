"""Which backbones can be trained by which methods? A small model of every architecture of timm and torchvision: one
step of training and one of evaluation for each kind of method, each model in a process with a limit on time and memory.

Prints a line of JSON for each architecture, then a summary. Lines are kept in --out: the same command resumes.

    python bench/backbones.py --out runs/backbones.jsonl
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from storage.platform import torchvision_ops

torchvision_ops.install()  # before torchvision is imported

import timm
import torch
import torchvision

from bench.arguments import positive, run_benchmark
from storage.errors import InputInvalid
from student.classification.config import TORCHVISION, StudentConfig
from student.classification.trainable import require_trainable

PROJECT = Path(__file__).parents[1]
# A method of each kind: the last layer widened, a head of its own, two inner stages, one inner stage.
METHODS = ("base", "makd", "makd-dual", "recommended", "recommended-classes")
SMALL_SIDE = 64
LARGEST = 60_000_000  # parameters
MEMORY = 10 * 2**30  # bytes of address space
CANDIDATES = 3  # of a module of timm, by their names
SMALL_NAMES = (
    "test",
    "atto",
    "zepto",
    "femto",
    "pico",
    "nano",
    "xxt",
    "xxs",
    "xs",
    "tiny",
    "mini",
    "small",
    "_t",
    "_s",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "runs" / "backbones.jsonl", help="lines that are kept")
    parser.add_argument("--only", default="", help="architectures to try again, separated by commas")
    parser.add_argument("--workers", type=positive, default=1)
    parser.add_argument("--seconds", type=positive, default=300, help="limit for one backbone")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(try_backbone(asked.one)))
        return
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    again = set(asked.only.split(",")) - {""}
    kept = [line for line in read_lines(asked.out) if line["architecture"] not in again]
    asked.out.write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    done = {line["architecture"] for line in kept}
    families = {name: models for name, models in architectures().items() if name not in done}

    def measure(item: tuple[str, list[str]]) -> dict[str, object]:
        name, models = item
        return {"architecture": name, **run_limited(",".join(models), asked.seconds)}

    with ThreadPoolExecutor(asked.workers) as pool, asked.out.open("a") as out:
        for line in pool.map(measure, families.items()):
            for file in (out, sys.stdout):
                print(json.dumps(line), file=file, flush=True)
    summarise(read_lines(asked.out))


def architectures() -> dict[str, list[str]]:
    """The modules of timm and torchvision, each with models that may be its smallest: those whose names say so."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in timm.list_models():
        module = timm.model_entrypoint(name).__module__.rpartition(".")[2]
        found[f"{module}-distilled" if "distilled" in name else module].append(name)
    for name in torchvision.models.list_models(module=torchvision.models):
        module = torchvision.models.get_model_builder(name).__module__.rpartition(".")[2]
        found[f"{TORCHVISION}{module}"].append(f"{TORCHVISION}{name}")
    chosen = {module: sorted(names, key=size_by_name) for module, names in sorted(found.items())}
    # A model that timm made for tests is the smallest of its kind; there is no need to count.
    return {module: names[: 1 if "test_" in names[0] else CANDIDATES] for module, names in chosen.items()}


def size_by_name(name: str) -> tuple[int, int, str]:
    marks = [place for place, mark in enumerate(SMALL_NAMES) if mark in name]
    return min(marks, default=len(SMALL_NAMES)), len(name), name


def run_limited(models: str, seconds: int) -> dict[str, object]:
    command = [sys.executable, __file__, "--one", models]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, preexec_fn=limit_memory)
    except subprocess.TimeoutExpired:
        return {"models": models, "failed": f"took longer than {seconds} s"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()[-1:]
        return {"models": models, "failed": f"exit code {done.returncode}: {''.join(lines)[:200]}"}
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def try_backbone(models: str) -> dict[str, object]:
    """The smallest of `models`, at SMALL_SIDE pixels or, where it cannot be built for those, at its own."""
    torch.set_num_threads(1)
    sizes = {name: parameters(name) for name in models.split(",")}
    backbone = min(sizes, key=lambda name: sizes[name])
    tried: dict[str, object] = {"backbone": backbone, "parameters": sizes[backbone]}
    if sizes[backbone] > LARGEST:
        return {**tried, "skipped": f"more than {LARGEST:,} parameters"}
    for side in dict.fromkeys((SMALL_SIDE, own_side(backbone))):
        results = {method: outcome(backbone, side, method) for method in METHODS}
        if results["base"] == "ok":
            break
    return {**tried, "image_size": side, "results": results}


def parameters(backbone: str) -> int:
    with torch.device("meta"):
        try:
            if backbone.startswith(TORCHVISION):
                network = torchvision.models.get_model(backbone.removeprefix(TORCHVISION))
            else:
                network = timm.create_model(backbone)
        except Exception:  # some compute with their weights while they are built
            return LARGEST
    return sum(parameter.numel() for parameter in network.parameters())


def own_side(backbone: str) -> int:
    if backbone.startswith(TORCHVISION):
        return 224
    known = timm.get_pretrained_cfg(backbone)
    assert known is not None, f"timm knows no weights of {backbone}"
    return int(known.input_size[-1])


def outcome(backbone: str, side: int, method: str) -> str:
    try:
        require_trainable(StudentConfig(backbone=backbone, image_size=side, epochs=1, method=method))
    except InputInvalid as error:
        return str(error)
    return "ok"


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def summarise(lines: list[dict[str, object]]) -> None:
    counts: dict[str, Counter[str]] = {method: Counter() for method in METHODS}
    refused: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        results = line.get("results")
        for method in METHODS:
            works = isinstance(results, dict) and results[method] == "ok"
            counts[method]["works" if works else "refused" if results else "not tried"] += 1
            if results and not works:
                refused[method].append(str(line["backbone"]))
    print(json.dumps({"architectures": len(lines), "counts": counts, "refused": refused}))


if __name__ == "__main__":
    run_benchmark(main)
