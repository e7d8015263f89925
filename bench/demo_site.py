"""The page about a store on a free port: for screenshots and for tests in a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from storage.answers.read import Answers
from storage.datasets import FileDataset
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from view.app import create_app
from view.security import Guard
from view.server import listen
from view.sources import Sources


def train_students(
    dataset: FileDataset, answers: Answers, runs: Path, methods: Sequence[str], seeds: Sequence[int], **settings: Any
) -> None:
    """An experiment with a student of each method and seed."""
    config = StudentConfig(**{"val_fraction": 0.0, **settings})
    grid = StudentGrid(settings=config.to_dict(), axes={"method": list(methods)}, seeds=list(seeds))
    run_experiment(grid, dataset, TeacherAnswers(image=answers), runs, progress=False)


@contextmanager
def serving(sources: Sources) -> Iterator[str]:
    """The address at which the page about `sources` is served, without a slash at its end."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    app = create_app(sources, Guard(host="127.0.0.1", port=port))
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="page")
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
