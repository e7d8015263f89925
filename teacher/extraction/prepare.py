"""Prepare the directory of a plan for new shards: nothing that an unfinished run needs is lost."""

from __future__ import annotations

from functools import partial

from storage.answers.manifest import span_of
from storage.answers.replaced import copy_shards
from storage.answers.writing import write_patiently, writing
from teacher.extraction.plan import ExtractionPlan
from teacher.extraction.stored import rows_of


def prepare_directory(plan: ExtractionPlan) -> None:
    """Mark the directory as not complete, copy the files that will be written again, and divide compacted ones.

    Can be repeated after a kill. Raises DirectoryChanged if another run has changed the files since the plan, and
    StorageUnavailable.
    """
    directory = plan.directory
    with writing(directory.manifest_path):
        directory.reopen()
    copy_shards(directory, plan.replaced)
    for name in plan.divided:
        _divide(plan, name)


def _divide(plan: ExtractionPlan, name: str) -> None:
    """Write the unchanged shards of a compacted file as files of their own, then delete it."""
    directory = plan.directory
    stored, (first, _) = directory.load_shard(name), span_of(name)
    for shard in plan.divided[name]:
        answers = rows_of(stored, shard.index - first, plan.shard_size).answers
        write_patiently(partial(directory.write_shard, shard, plan.header, answers), f"{directory.path}/{name}")
    with writing(directory.path):
        directory.remove_file(f"{directory.path}/{name}")
