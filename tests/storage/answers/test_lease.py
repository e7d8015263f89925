"""Leases on a local disk, and what a plan that was overtaken by another run may still do."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from storage.answers import lease as leases
from storage.answers.damage import DirectoryChanged
from storage.answers.lease import DirectoryBusy, lease
from storage.answers.shards import cut_shards
from tests.storage.contract import write_directory
from tests.storage.lease_contract import LeaseContract
from tests.storage.samples import HEADER, answers_for, records
from tests.storage.shards import files_of


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


class TestLocalLease(LeaseContract):
    pass


def without_locks(*given: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_a_disk_without_locks_has_claims_instead(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_directory(store)
    monkeypatch.setattr(fcntl, "flock", without_locks)
    before = files_of(Path(store))
    with lease(directory):
        assert [path.name.startswith(".claim-") for path in Path(directory.parent).glob(".*")] == [True]
        with pytest.raises(DirectoryBusy, match="wait until it is done"), lease(directory):
            pass
    assert files_of(Path(store)) == before


def test_of_many_at_once_one_wins(store: str) -> None:
    directory = write_directory(store)
    inside, most, busy = [0], [0], [0]
    guard = threading.Lock()

    def run() -> None:
        for _ in range(30):
            try:
                with lease(directory):
                    with guard:
                        inside[0] += 1
                        most[0] = max(most[0], inside[0])
                    with guard:
                        inside[0] -= 1
            except DirectoryBusy:
                with guard:
                    busy[0] += 1

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert busy[0] < 180


@pytest.mark.parametrize("look", [1, 2])
def test_another_run_can_end_while_its_lock_is_checked(look: int, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_directory(store)
    lock = Path(directory.parent) / f".lock-{directory.folder}"
    looks = []
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path == lock:
            looks.append(path)
            if len(looks) == look:
                lock.unlink()
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    with lease(directory), pytest.raises(DirectoryBusy), lease(directory):
        pass
    assert not lock.exists()


def test_a_claim_that_is_not_renewed_ends(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_directory(store)
    monkeypatch.setattr(fcntl, "flock", without_locks)
    monkeypatch.setattr(leases, "TRIES", 1)
    foreign = Path(directory.parent) / f".claim-{directory.folder}-0.json"
    foreign.write_text('{"host": "far", "machine": "another", "pid": 1}')
    with pytest.raises(DirectoryBusy, match=r"process 1 on far.* ends within 90 s"), lease(directory):
        pass
    monkeypatch.setattr(leases, "LIFETIME_SECONDS", -1)
    with lease(directory):
        assert not foreign.exists()


def test_an_outdated_plan_changes_nothing(store: str) -> None:
    shards = cut_shards(records(5), 3)
    early = write_directory(store).as_seen()
    early.filesystem.delete_dir_contents(early.path)
    early = early.as_seen()
    write_directory(store)  # by another run
    before = files_of(Path(store))
    with pytest.raises(DirectoryChanged, match="run the same command again"):
        early.reopen()
    with pytest.raises(DirectoryChanged, match="part-00000"):
        early.write_shard(shards[0], HEADER, answers_for(shards[0].records))
    with pytest.raises(DirectoryChanged, match="part-00001"):
        early.complete(HEADER, shards[:1], {})
    assert files_of(Path(store)) == before
