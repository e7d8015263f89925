"""The report that is written after training."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from flows.option_values import report_place
from flows.parameters.student import STUDENTS
from storage.parameters import Option, Parameters

REPORT_MB = 20  # default limit of a report's size; images beyond it are left out


class ReportParameters(Parameters):
    """The place of the report."""

    panel: ClassVar[str | None] = STUDENTS

    report: Annotated[
        str | None,
        Field(
            description="Write answers and results as one HTML file after training, like aspects report; or an "
            "http(s) address to upload it to (PUT)."
        ),
        Option(metavar="FILE", read=report_place),
    ] = None
