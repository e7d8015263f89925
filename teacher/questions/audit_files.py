"""The files of an audit, beside the question file."""

from __future__ import annotations

import io
import json
from pathlib import Path

from storage.documents import DocumentInvalid, read_json
from storage.errors import InputInvalid
from storage.filesystem import write_file
from teacher.questions.audit import Audit


class AuditUnreadable(InputInvalid):
    """The file beside a question set is not an audit that this release can read."""


def audit_files(questions: Path) -> tuple[Path, Path]:
    """Return the paths of a question file's audit: `NAME.audit.parquet` and `NAME.audit.json` beside `NAME.yaml`."""
    return questions.with_name(f"{questions.stem}.audit.parquet"), questions.with_name(f"{questions.stem}.audit.json")


def write_audit(audit: Audit, questions: Path) -> tuple[Path, Path]:
    """Write both files: the Parquet table has one row per question, the JSON file the whole audit."""
    table, document = audit_files(questions)
    buffer = io.BytesIO()
    audit.frame().write_parquet(buffer)
    write_file(table, buffer.getvalue())
    write_file(document, json.dumps(audit.to_json(), indent=2).encode())
    return table, document


def read_audit(questions: Path) -> Audit | None:
    """Read the audit that `write_audit` wrote; None if there is none. Raises AuditUnreadable."""
    path = audit_files(questions)[1]
    try:
        return Audit.from_json(read_json(path))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = error if isinstance(error, DocumentInvalid) else f"{path} holds something else"
        raise AuditUnreadable(
            f"audit cannot be read: {reason}; run 'aspects questions audit {questions}' again"
        ) from error
