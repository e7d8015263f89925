from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from teacher.engines.config import TeacherInvalid
from teacher.engines.options import EngineOptions
from teacher.engines.registry import EngineUnknown, engines, find_engine

# All that there is to write for another engine.
ECHO = """
from teacher.engines.registry import Engine, engine

@engine("echo")
class Echo(Engine):
    flag, flag_help = "--echo", "Setting of echo, NAME=VALUE."
    speed_arguments = frozenset({"threads"})

    def load(self, teacher, options):
        return f"echo of {teacher.config.model}"
"""
# Uses it as the command and a worker process do; the first argument is the folder that holds it.
USE = """
import sys
import teacher.engines
teacher.engines.__path__.append(sys.argv.pop(1))
from flows.parameters import EngineArguments, EngineParameters
from teacher.engines.config import TeacherConfig, resolve_served
from teacher.engines.process import load_engine

engine = EngineParameters(name="echo").with_arguments(EngineArguments(echo={"threads": 2, "loud": True}))
teacher = resolve_served(TeacherConfig(model="tiny"))
print(engine.choose(), engine.settings(), load_engine("echo", teacher, engine.options()))
"""
HEAVY = "{'torch', 'vllm', 'transformers', 'httpx', 'numpy'}"


def test_an_engine_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "echo").mkdir()
    (tmp_path / "echo" / "__init__.py").write_text(ECHO)
    done = subprocess.run([sys.executable, "-c", USE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "('echo', 'as requested') {'echo': {'loud': True}} echo of tiny\n", done.stderr


def test_registering_imports_no_library_of_an_engine() -> None:
    code = f"import sys; from teacher.engines.registry import engines; engines(); print({HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


def test_an_unknown_engine_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(EngineUnknown, match="no engine 'vlm'; choose openai, transformers, vllm"):
        find_engine("vlm")


def test_engines_with_a_writer_are_known() -> None:
    assert {name for name, engine in engines().items() if engine.served} == {"openai"}
    for name in ("vllm", "openai"):
        find_engine(name).check_writing()
    with pytest.raises(TeacherInvalid, match="engine transformers cannot keep an answer to a JSON schema"):
        find_engine("transformers").check_writing()


def test_an_engine_without_arguments_ignores_them() -> None:
    assert find_engine("transformers").answer_settings(EngineOptions(arguments={"seed": 1})) == {}
