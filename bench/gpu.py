"""Four measurements on a GPU, each printed as a line of JSON as soon as it is known. Needs a GPU, no network.

    card        the card itself: bfloat16 matrix products, copies within its memory
    teacher     questions about images, for teachers of published shapes with random weights, by each way of asking
    training    a ResNet18 at 224 px: our training loop, and the model alone on tensors in memory
    proof       Caltech-101 at 224 px from scratch, with and without answers (images and answers from ASPECTS_DATA)

Every part runs in a process of its own for a limited time: one that fails leaves a line with `error`, and the next one
begins. The exit code is 1 then. `--device cpu` runs the same on tiny models where there is no GPU.

    python bench/gpu.py
    python bench/gpu.py --only teacher --shapes 8b --engines vllm
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))  # it also runs where Aspects is not installed

import yaml

from bench.arguments import numbers, one_of, positive, several
from storage.platform.processes import serve_parent
from storage.text import printable

# Seconds for each part, loading and compiling included.
LIMITS = {"card": 90, "teacher": 240, "training": 180, "proof": 420}
SHAPES, ENGINES = ("8b", "2b", "tiny"), ("vllm", "transformers", "plain")
# No network is used, vLLM's process listens on the loopback interface, and its log is shown where it fails.
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_HOST_IP": "127.0.0.1", "VLLM_LOGGING_LEVEL": "INFO"}


def main(arguments: Sequence[str]) -> int:
    asked = _parser().parse_args(arguments)
    if asked.part:
        serve_parent(os.getppid())
        return run_part(asked)
    if asked.device == "cuda" and not _has_gpu():
        print("error: torch finds no CUDA device; --device cpu tries the benchmark out without one", file=sys.stderr)
        return 2
    failed = False
    matrix_rate: list[str] = []
    for part in parts(asked):
        # The process of a part is given all that this one was.
        command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--part", part, *matrix_rate]
        limit = asked.limit or LIMITS[part.split("/")[0]]
        for line in supervise(command, limit, _environment(asked.device)):
            print(json.dumps({"benchmark": "gpu", "part": part, **line}), flush=True)
            failed |= "error" in line
            if "matrix_tflops" in line:
                matrix_rate = ["--matrix-rate", str(line["matrix_tflops"])]
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", type=several(one_of(LIMITS)), default=list(LIMITS), help="measurements, by commas")
    parser.add_argument(
        "--shapes", type=several(one_of(SHAPES)), help="of teachers; 8b and 2b unless given, tiny on a CPU"
    )
    parser.add_argument(
        "--engines", type=several(one_of(ENGINES)), default=list(ENGINES), help="ways of asking a teacher"
    )
    parser.add_argument("--limit", type=float, help=f"seconds for each part, in place of {LIMITS}")
    parser.add_argument("--seconds", type=float, default=15.0, help="for how long a teacher is asked")
    parser.add_argument(
        "--vllm", metavar="NAME=VALUE", type=_argument, action="append", default=[], help="argument of vllm.LLM"
    )
    parser.add_argument("--quantization", help="of the teachers' weights by vLLM, e.g. fp8")
    parser.add_argument("--seeds", type=numbers, default="0", help="of the proof's students, by commas")
    parser.add_argument("--epochs", type=positive, help="of the proof's students; 60 unless given, 1 on a CPU")
    parser.add_argument("--matrix-rate", type=float, help="the card's in TFLOP/s, where it was measured before")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # the part that this process runs
    return parser


def _argument(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"'{printable(text, 40)}' has no value; write e.g. enforce_eager=true")
    return name, yaml.safe_load(value)


def parts(asked: argparse.Namespace) -> list[str]:
    """In the order in which they are worth having: all teachers by one engine before the next."""
    shapes = asked.shapes or (["8b", "2b"] if asked.device == "cuda" else ["tiny"])
    teachers = [f"teacher/{shape}/{engine}" for engine in asked.engines for shape in shapes]
    every = {"card": ["card"], "teacher": teachers, "training": ["training"], "proof": ["proof"]}
    return [part for measurement, own in every.items() if measurement in asked.only for part in own]


def supervise(command: Sequence[str], limit: float, environment: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The lines of a part as they come, and one with `error` where it fails without one of its own or takes longer than
    `limit` seconds."""
    # In a session of its own: the processes that it starts end with it.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True)
    started = time.monotonic()
    timer = threading.Timer(limit, _kill, [process])
    timer.start()
    reported = False
    assert process.stdout is not None
    try:
        for text in process.stdout:
            if text.startswith("{"):
                line = json.loads(text)
                reported |= "error" in line
                yield line
            else:
                print(text, end="", file=sys.stderr)
        code = process.wait()
    finally:
        timer.cancel()
        _kill(process)
        process.stdout.close()
    if code and not reported:
        late = time.monotonic() - started >= limit
        yield {"error": f"ended after its limit of {limit:g} seconds" if late else f"ended with code {code}"}


def _kill(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def run_part(asked: argparse.Namespace) -> int:
    """In a process of its own: print the part's lines."""
    try:
        for line in _measure(asked):
            print(json.dumps(line), flush=True)
    except (Exception, SystemExit) as error:  # of any type; the other parts still run
        traceback.print_exc()
        first = (str(error).strip().splitlines() or [""])[0]
        print(json.dumps({"error": printable(f"{type(error).__name__}: {first}", 300)}), flush=True)
        return 1
    return 0


def _measure(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    # Imported where they are needed: a part whose library is missing does not keep others from theirs.
    measurement, shape, engine = (*asked.part.split("/"), "", "")[:3]
    if measurement == "card":
        from bench.gpu_card import measure_card

        return measure_card(asked.device)
    if measurement == "teacher":
        from bench.gpu_teacher import measure_teacher

        return measure_teacher(
            shape,
            engine,
            asked.device,
            seconds=asked.seconds,
            arguments=dict(asked.vllm),
            quantization=asked.quantization,
            matrix_rate=asked.matrix_rate,
        )
    if measurement == "training":
        from bench.gpu_student import measure_training

        return measure_training(asked.device)
    from bench.gpu_student import prove

    return prove(asked.device, asked.seeds, asked.epochs)


def _environment(device: str) -> dict[str, str]:
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    return {**os.environ, **OFFLINE, **hidden}


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
