"""Engines and writers beside others in one process: importing vLLM takes longer than loading a small model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from teacher.engines.base import EngineUsage, TeacherEngine
from teacher.engines.config import ResolvedTeacher
from teacher.engines.options import EngineOptions
from teacher.engines.process import ModelProcess, load_engine, load_writer
from teacher.engines.writer import Writer, WritingRequest, WrittenReply

Answers = tuple[NDArray[np.float32], NDArray[np.float32]]
_engines: list[TeacherEngine] = []
_writers: list[Writer] = []


class Host:
    """A model that is none, whose process holds engines."""

    calls_at_once = 1
    slow_because: str | None = None

    def __init__(self) -> None:
        self.usage = EngineUsage()

    def close(self) -> None:
        pass


class EngineBeside:
    """A vLLM engine in the process of another one, or of a `Host`. Follows `TeacherEngine`; ends with the process."""

    calls_at_once = 1

    def __init__(self, process: ModelProcess, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        self._process = process
        self._number, self.slow_because = process.call(_load, teacher, options)
        self.usage = EngineUsage()

    def answer(self, images: Sequence[Image.Image], questions: Sequence[str]) -> Answers:
        return self._process.call(_answer, self._number, [np.asarray(image) for image in images], list(questions))

    def close(self) -> None:
        pass


class WriterBeside:
    """A vLLM writer in the process of an engine. Follows `Writer`; ends with the process."""

    def __init__(self, process: ModelProcess, teacher: ResolvedTeacher, options: EngineOptions, images: int) -> None:
        self._process = process
        self._number: int = process.call(_load_writer, teacher, options, images)

    def write(self, request: WritingRequest) -> WrittenReply:
        return self._process.call(_write, self._number, request)

    def close(self) -> None:
        pass


def _load(_: Any, teacher: ResolvedTeacher, options: EngineOptions) -> tuple[int, str | None]:
    _engines.append(load_engine("vllm", teacher, options))
    return len(_engines) - 1, _engines[-1].slow_because


def _answer(_: Any, number: int, pixels: Sequence[NDArray[np.uint8]], questions: Sequence[str]) -> Answers:
    return _engines[number].answer([Image.fromarray(array) for array in pixels], questions)


def _load_writer(_: Any, teacher: ResolvedTeacher, options: EngineOptions, images: int) -> int:
    _writers.append(load_writer("vllm", teacher, options, images))
    return len(_writers) - 1


def _write(_: Any, number: int, request: WritingRequest) -> WrittenReply:
    return _writers[number].write(request)
