"""Every benchmark starts: what it imports is there, and is ours."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.arguments import fraction, numbers, one_of, positive, run_benchmark, several
from bench.few_labels import count_of_labels
from student.core.files import RunBusy, only_user
from tests.conftest import PROJECT

SCRIPTS = [path for path in sorted((PROJECT / "bench").glob("*.py")) if ".parse_args(" in path.read_text()]
# Each script runs in a fork of a process that has imported what is large already, which would take seconds each.
# sys.path[0] is the script's folder, as Python sets it.
HELP = """
import json, os, runpy, sys, tempfile, traceback
import storage, torchvision, transformers, flows.work.extraction, teacher.engines.transformers.engine
import student.classification.experiment, student.detection.experiment, teacher.extraction.precomputed
for script in sys.argv[1:]:
    with tempfile.TemporaryFile() as output:
        if (child := os.fork()) == 0:
            os.dup2(output.fileno(), 1), os.dup2(output.fileno(), 2)
            sys.argv, sys.path[0] = [script, "--help"], os.path.dirname(script)
            code = 1
            try:
                runpy.run_path(script, run_name="__main__")
            except SystemExit as end:
                code = end.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                sys.stdout.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        print(json.dumps([script, os.waitstatus_to_exitcode(status), output.read().decode()]), flush=True)
"""


@pytest.fixture(scope="module")
def shown() -> dict[str, tuple[int, str]]:
    """Exit code and output of each script with --help."""
    command = [sys.executable, "-c", HELP, *map(str, SCRIPTS)]
    lines = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=True).stdout
    return {script: (code, output) for script, code, output in map(json.loads, lines.splitlines())}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_it_explains_itself(script: Path, shown: dict[str, tuple[int, str]]) -> None:
    code, output = shown[str(script)]
    assert code == 0, output
    assert output.startswith(f"usage: {script.name}")


@pytest.mark.parametrize("name", ["flowers.py", "caltech.py", "few_labels.py"])
def test_the_backbone_of_a_benchmark_of_methods_can_be_chosen(name: str, shown: dict[str, tuple[int, str]]) -> None:
    _, output = shown[str(PROJECT / "bench" / name)]
    assert all(option in output for option in ("--backbone", "--weights", "--image-size"))


def test_no_benchmark_hides_a_package() -> None:
    # Python looks into the folder of the file that it runs first.
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")}
    assert {"flows", "storage", "student", "teacher"} <= packages
    assert packages & {path.stem for path in (PROJECT / "bench").glob("*.py")} == set()


def test_an_error_that_the_user_can_mend_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        with only_user(tmp_path):
            pass

    with only_user(tmp_path), pytest.raises(SystemExit) as ended:
        run_benchmark(main)
    assert ended.value.code == RunBusy.exit_code == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: another process trains or evaluates in")
    assert printed.count("\n") == 1


def test_a_defect_of_a_benchmark_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_benchmark(lambda: print(1 // 0))


def test_lists_of_numbers_and_names_are_read() -> None:
    assert several(count_of_labels)("1,2,all") == [1, 2, None]
    assert numbers("0,3") == [0, 3]
    assert numbers("") == []
    assert several(fraction)("0.25,1") == [0.25, 1.0]
    assert several(one_of(("large", "thin")))("thin,large") == ["thin", "large"]


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (positive, "0", "'0' is not a whole number of at least 1"),
        (several(positive), "64,,224", "'' is not a whole number"),
        (several(count_of_labels), "1,some", "'some' is not a whole number"),
        (numbers, "0,-1", "'-1' is not a whole number of at least 0"),
        (fraction, "0", "'0' is not a fraction above 0"),
        (several(fraction), "0.1,half", "'half' is not a fraction"),
        (fraction, "nan", "'nan' is not a fraction"),
        (several(one_of(("large", "thin"))), "large,wide", "'wide' is unknown; use large, thin"),
    ],
)
def test_a_wrong_value_of_an_option_is_one_line(read: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        read(text)
