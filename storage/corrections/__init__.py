"""Corrections: people's changes of labels and of single answers, in an append-only table beside the answers.

`STORE/corrections/dataset=<name>/*.parquet`
"""

from storage.corrections.current import CurrentCorrections as CurrentCorrections
from storage.corrections.current import current_corrections as current_corrections
from storage.corrections.folder import CorrectionFolder as CorrectionFolder
from storage.corrections.rows import Correction as Correction
from storage.corrections.rows import CorrectionInvalid as CorrectionInvalid
from storage.corrections.rows import Shown as Shown
