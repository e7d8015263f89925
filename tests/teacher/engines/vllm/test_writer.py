"""A language model that writes in vLLM's offline engine, in a process of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from teacher.engines.config import TeacherConfig, resolve
from teacher.engines.options import EngineOptions
from teacher.engines.process import WriterProcess
from teacher.engines.writer import Writer
from tests.teacher.text_model import build_text_model
from tests.teacher.writer_contract import WriterContract

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM has no packages for this machine; see install.py"
)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    folder = build_text_model(tmp_path_factory.mktemp("model"))
    writer = WriterProcess(
        "vllm", resolve(TeacherConfig(model=str(folder), dtype="float32")), EngineOptions(), images=1
    )
    yield writer
    writer.close()


class TestVllmWriter(WriterContract):
    pass
