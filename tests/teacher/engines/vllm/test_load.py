"""What vLLM leaves behind where its process is killed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from torch.distributed import FileStore  # type: ignore[attr-defined]

from teacher.engines.vllm.load import _keep_no_meeting_file


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="files without a name are opened through /proc")
def test_processes_meet_at_a_file_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    executor = SimpleNamespace(get_file_store_init_method=lambda: f"file://{tmp_path}/vllm_dist")
    for name in ("vllm", "vllm.v1", "vllm.v1.executor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["vllm.v1.executor"], "uniproc_executor", executor, raising=False)
    _keep_no_meeting_file()
    store = FileStore(executor.get_file_store_init_method().removeprefix("file://"), 1)
    store.set("key", "value")
    assert store.get("key") == b"value"
    assert not list(tmp_path.iterdir())
