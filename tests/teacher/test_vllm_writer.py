"""A language model that writes in vLLM's offline engine, in a process of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
from PIL import Image

from teacher.candidates import read_reply, reply_schema
from teacher.config import EngineOptions, TeacherConfig, resolve, tiny_teacher
from teacher.process import WriterProcess
from teacher.writer import Writer, WritingRequest
from tests.teacher.text_model import build_text_model
from tests.teacher.writer_contract import WriterContract

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM has no packages for this machine; see install.py"
)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    folder = build_text_model(tmp_path_factory.mktemp("model"))
    writer = WriterProcess(resolve(TeacherConfig(model=str(folder), dtype="float32")), EngineOptions(), photos=1)
    yield writer
    writer.close()


class TestVllmWriter(WriterContract):
    pass


def test_a_model_with_eyes_is_shown_the_photos() -> None:
    photos = [Image.new("RGB", (80, 60), color) for color in ("red", "blue")]
    writer = WriterProcess(resolve(tiny_teacher()), EngineOptions(), photos=2)
    try:
        blind = writer.write(WritingRequest(prompt="Write.", schema=reply_schema(1), length=400))
        tokens = writer.usage.prompt_tokens
        reply = writer.write(WritingRequest(prompt="Write.", schema=reply_schema(1), length=400, photos=photos))
        assert writer.usage.prompt_tokens > 2 * tokens + 2 * 16  # of an image
    finally:
        writer.close()
    assert (blind.saw_photos, reply.saw_photos) == (False, True)
    assert len(read_reply(reply.text)) == 1
