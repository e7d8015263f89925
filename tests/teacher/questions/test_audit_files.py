"""The files of an audit are read as they were written."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from teacher.questions.audit import audit
from teacher.questions.audit_files import AuditUnreadable, audit_files, read_audit, write_audit
from tests.teacher.questions.test_audit import CLASSES, MOSTLY, answers_of, coins, probes_of


def test_an_audit_is_read_as_it_was_written(tmp_path: Path) -> None:
    questions = tmp_path / "trees.yaml"
    assert read_audit(questions) is None
    answers = answers_of({"lobes": MOSTLY, "tall": coins(1)})
    written = audit(answers, probes_of(answers), CLASSES)
    assert write_audit(written, questions) == (tmp_path / "trees.audit.parquet", tmp_path / "trees.audit.json")
    assert read_audit(questions) == written
    assert pl.read_parquet(tmp_path / "trees.audit.parquet").equals(written.frame())


def test_a_file_that_is_no_audit_is_named(tmp_path: Path) -> None:
    questions = tmp_path / "trees.yaml"
    audit_files(questions)[1].write_text("[]")
    with pytest.raises(AuditUnreadable, match=r"trees\.audit\.json holds something else; run 'aspects questions audit"):
        read_audit(questions)
