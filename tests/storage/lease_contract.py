"""What a lease promises in every kind of store; `LeaseContract` is for stores that a fixture `store` names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from storage.answers.lease import DirectoryBusy, free, lease
from storage.answers.prune import find_unreferenced, remove, sweep
from storage.answers.store import AnswerDirectory
from storage.errors import RunFailed
from storage.filesystem import list_folder, unfinished_prefix, write_whole
from tests.conftest import PROJECT
from tests.storage.contract import write_directory

HOLD = """
import sys
from storage.answers.lease import lease
from storage.answers.store import AnswerDirectory
with lease(AnswerDirectory.at(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(address: str) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lease of the directory at `address`."""
    command = [sys.executable, "-c", HOLD, address]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def address_of(store: str, directory: AnswerDirectory) -> str:
    return store + directory.path[directory.path.index("/answers/") :]


def beside(directory: AnswerDirectory) -> list[str]:
    return [info.base_name for info in list_folder(directory.filesystem, directory.parent)]


class LeaseContract:
    def test_two_runs_cannot_hold_one_directory(self, store: str) -> None:
        directory = write_directory(store)
        whole = [directory.folder, f"{directory.folder}.json"]
        with lease(directory):
            with pytest.raises(DirectoryBusy, match=f"process {os.getpid()} on .*{directory.folder}"), lease(directory):
                pass
            assert sorted(beside(directory)) != whole
        assert sorted(beside(directory)) == whole
        with lease(directory):
            pass

    def test_directories_are_held_one_by_one(self, store: str) -> None:
        one, two = write_directory(store), write_directory(store, teacher="f" * 12)
        with lease(one, one), lease(two):
            assert list(free([one, two])) == []
        assert [directory.path for directory in free([one, two])] == [one.path, two.path]

    def test_a_killed_run_does_not_block_the_next(self, store: str) -> None:
        directory = write_directory(store)
        with held_elsewhere(address_of(store, directory)) as process:
            with pytest.raises(RunFailed, match=f"process {process.pid} on "), lease(directory):
                pass
            process.send_signal(signal.SIGKILL)
            process.wait()
            with lease(directory):
                pass
        assert sorted(beside(directory)) == [directory.folder, f"{directory.folder}.json"]

    def test_files_of_killed_runs_are_removed_and_those_of_live_runs_stay(self, store: str) -> None:
        directory, other = write_directory(store), write_directory(store, teacher="f" * 12)
        left = []
        for each in (directory, other):
            above, _, teacher = each.parent.rpartition("/")
            left.append(f"{each.parent}/{unfinished_prefix(each.folder)}part-00000.parquet.0123")
            left.append(f"{each.parent}/.probe-{each.folder}-0123")
            left.append(f"{above}/{unfinished_prefix(teacher)}.probe-{each.folder}-0123.0123")
            left.append(f"{above}/{unfinished_prefix(teacher)}{each.folder}.json.0123")
        for path in left:
            write_whole(directory.filesystem, path, b"half")

        def there() -> list[bool]:
            return [info.type.name != "NotFound" for info in directory.filesystem.get_file_info(left)]

        with held_elsewhere(address_of(store, other)):
            for path in left[4:]:  # the lease began with removing them
                write_whole(directory.filesystem, path, b"half")
            sweep(store)
            assert there() == [False] * 4 + [True] * 4
        sweep(store)
        assert there() == [False] * 8
        assert directory.is_complete()

    def test_the_manifest_of_a_killed_run_is_kept(self, store: str) -> None:
        directory = write_directory(store)
        directory.reopen()
        with lease(directory):
            assert directory.last_manifest() is not None

    def test_nothing_is_pruned_under_a_run(self, store: str) -> None:
        directory = write_directory(store)
        (found,) = find_unreferenced(store, [])
        with held_elsewhere(address_of(store, directory)):
            assert [kept.path for kept in remove([found.directory])] == [directory.path]
        assert directory.is_complete()
        assert remove([found.directory]) == []
        assert find_unreferenced(store, []) == []
