"""The benchmark for GPUs, tried out without one: every part prints its line, and one that fails stops no other."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from bench import gpu
from bench.shapes import SHAPES, write_teacher

ON_CPU = ["--device", "cpu", "--seconds", "0.1"]


def lines_of(part: str, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, Any]]:
    """What a part prints, in this process."""
    code = gpu.run_part(gpu._parser().parse_args([*ON_CPU, "--part", part, *more]))
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return [json.loads(text) for text in shown.out.splitlines()]


def test_all_parts_in_the_order_in_which_they_are_worth_having() -> None:
    assert gpu.parts(gpu._parser().parse_args([])) == [
        "card",
        *("teacher/8b/vllm", "teacher/2b/vllm", "teacher/8b/transformers", "teacher/2b/transformers"),
        *("teacher/8b/plain", "teacher/2b/plain"),
        *("training", "proof"),
    ]
    asked = gpu._parser().parse_args(["--device", "cpu", "--only", "proof,teacher", "--engines", "plain"])
    assert gpu.parts(asked) == ["teacher/tiny/plain", "proof"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--only", "card,nonsense"], "'nonsense' is unknown; use card, teacher, training, proof"),
        (["--shapes", "7b"], "'7b' is unknown; use 8b, 2b, tiny"),
        (["--engines", "sglang"], "'sglang' is unknown; use vllm, transformers, plain"),
        (["--vllm", "enforce_eager"], "'enforce_eager' has no value; write e.g. enforce_eager=true"),
    ],
)
def test_unknown_names_are_refused(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        gpu.main(arguments)
    assert named in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_message_names_the_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert capsys.readouterr().err.startswith("error: torch finds no CUDA device; --device cpu")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('noise'); print('{\"rate\": 1}')", [{"rate": 1}]),
        ("print('{\"rate\": 1}', flush=True); import os; os.kill(os.getpid(), 9)", [{"rate": 1}, "ended with code -9"]),
        ("import time; time.sleep(60)", ["ended after its limit of 1 seconds"]),
        ('print(\'{"error": "no memory"}\'); raise SystemExit(1)', ["no memory"]),
    ],
    ids=["good", "killed", "late", "told"],
)
def test_a_part_that_fails_leaves_a_line(code: str, expected: list[Any]) -> None:
    found = list(gpu.supervise([sys.executable, "-c", code], 1.0 if "sleep" in code else 60.0, dict(os.environ)))
    assert found == [line if isinstance(line, dict) else {"error": line} for line in expected]


def test_a_part_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told: dict[str, dict[str, Any]] = {
        "card": {"matrix_tflops": 700.0},
        "teacher/tiny/vllm": {"error": "no memory"},
        "training": {"rate": 1},
    }
    commands: dict[str, Sequence[str]] = {}

    def supervise(command: Sequence[str], limit: float, environment: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        part = command[command.index("--part") + 1]
        commands[part] = command
        yield told[part]

    monkeypatch.setattr(gpu, "supervise", supervise)
    assert gpu.main([*ON_CPU, "--only", "training,teacher,card", "--engines", "vllm"]) == 1
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown == [{"benchmark": "gpu", "part": part, **line} for part, line in told.items()]
    assert "--matrix-rate" not in commands["card"]
    assert commands["training"][-2:] == ["--matrix-rate", "700.0"]


def test_the_card_is_measured_first(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of("card", capsys)
    assert line["device"] == "cpu"
    assert line["matrix_tflops"] > 0
    assert line["copy_terabytes_per_second"] > 0


def test_missing_parts_are_named_in_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ASPECTS_DATA", str(tmp_path))
    assert gpu.run_part(gpu._parser().parse_args([*ON_CPU, "--part", "proof"])) == 1
    assert json.loads(capsys.readouterr().out)["error"].startswith(f"SystemExit: no images at {tmp_path}")


def test_a_teacher_is_asked_by_our_engines(capsys: pytest.CaptureFixture[str]) -> None:
    engine = "transformers" if importlib.util.find_spec("vllm") is None else "vllm"
    (line,) = lines_of(f"teacher/tiny/{engine}", capsys, "--vllm", "max_model_len=512")
    assert line["vllm_arguments"] == {"max_model_len": 512}
    assert line["slow_because"] is None
    assert (line["questions"], line["image_tokens"]) == (50, 64)
    assert line["images"] >= 32
    assert line["questions_per_second"] == pytest.approx(50 * line["images_per_second"], rel=0.01)
    assert line["computed_tokens_per_image"] >= line["prefix_tokens"] + 50 * line["question_tokens"] - 5
    assert line["python_threads"][0]["inside"]
    assert line["tflops"] > 0


def test_training_is_compared_with_the_model_alone(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of("training", capsys)
    assert line["images_per_second"].keys() == {"ours", "alone"}
    assert line["ours_of_alone"] > 0


def test_the_proof_has_a_line_for_each_student(capsys: pytest.CaptureFixture[str], shared_data: Path) -> None:
    if not (shared_data / "caltech101").is_dir():
        pytest.skip(f"no caltech101 in {shared_data}")
    lines = lines_of("proof", capsys)
    assert [line["student"] for line in lines] == ["base", "twin", "lavid", "recommended"]
    assert {line["test_images"] for line in lines} == {36}


@pytest.mark.parametrize(("name", "billions"), [("8b", 8.77), ("2b", 2.13)])
def test_shapes_are_the_published_ones(name: str, billions: float, tmp_path: Path) -> None:
    shape = SHAPES[name]
    write_teacher(shape, tmp_path)
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(tmp_path))
    assert sum(weights.numel() for weights in model.parameters()) == pytest.approx(billions * 1e9, rel=0.01)
    for layers, count, each in (
        (model.model.language_model.layers, shape.layers, shape.layer_weights),
        (model.model.visual.blocks, shape.vision_layers, shape.block_weights),
    ):
        assert sum(weights.numel() for weights in layers.parameters() if weights.ndim == 2) == count * each


def test_a_question_costs_its_own_tokens_alone() -> None:
    shape = SHAPES["8b"]
    alone = shape.flops_per_image(264, [20])
    # Two for each of about 7 billion weights and each of 20 tokens, the scores over the vocabulary and attention.
    assert shape.flops_per_image(264, [20, 20]) - alone == pytest.approx(2 * 20 * 6.95e9 + 1.24e9, rel=0.02)
