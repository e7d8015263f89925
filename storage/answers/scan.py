"""Scan the answers of a store in long form, by Polars."""

from __future__ import annotations

import polars as pl

from storage.answers.read import listed_shards, narrowed
from storage.answers.schema import AnswerHeader
from storage.answers.store import AnswerDirectory, AnswersMissing
from storage.filesystem import read_file


def scan_answers(
    store: str, *, dataset: str | None = None, teacher: str | None = None, questions: str | None = None
) -> pl.LazyFrame:
    """Scan every answer of complete directories in long form, one row per image, or box, and question.

    Columns: dataset, teacher, questions (fingerprints), image_id, box_id (null for whole images), split, label,
    label_name, key, text, group, p_yes (float32, null where there is no answer), yes, no (log-probabilities, nats),
    error.

    Filter by dataset name, teacher fingerprint and question set fingerprint. Raises AnswersMissing if nothing matches,
    and the same errors as `load_answers`.
    """
    frames = []
    for directory in narrowed(store, dataset, teacher, questions):
        manifest = directory.manifest()
        if manifest is None:
            continue
        header = AnswerHeader.from_json(manifest)
        for _ in listed_shards(directory, manifest):
            pass  # Polars reads them without checks
        frames.append(_long_form(directory, header, list(manifest["shards"])))
    if not frames:
        raise AnswersMissing(f"no complete answers in store {store} fit; 'aspects show --store {store}' lists it")
    return pl.concat(frames)


def _long_form(directory: AnswerDirectory, header: AnswerHeader, shards: list[str]) -> pl.LazyFrame:
    if directory.filesystem.type_name == "local":
        wide = pl.scan_parquet([f"{directory.path}/{name}" for name in shards], hive_partitioning=False)
    else:
        files = [read_file(directory.filesystem, f"{directory.path}/{name}") for name in shards]
        wide = pl.concat([pl.scan_parquet(file) for file in files])
    if "box_id" not in wide.collect_schema().names():
        wide = wide.with_columns(pl.lit(None, pl.String).alias("box_id"))
    image_columns = ["image_id", "box_id", "split", "label", "label_name", "error"]
    texts = {question.key: question.text for question in header.questions.questions}
    groups = {question.key: question.group for question in header.questions.questions}
    answer = pl.col("answer").struct
    return (
        wide.select(*image_columns, *header.questions.keys)
        .unpivot(index=image_columns, on=list(header.questions.keys), variable_name="key", value_name="answer")
        .select(
            pl.lit(header.dataset).alias("dataset"),
            pl.lit(header.teacher_fingerprint).alias("teacher"),
            pl.lit(header.questions.fingerprint).alias("questions"),
            *image_columns[:-1],
            "key",
            pl.col("key").replace_strict(texts, return_dtype=pl.String).alias("text"),
            pl.col("key").replace_strict(groups, return_dtype=pl.String).alias("group"),
            (1 / (1 + (answer.field("no") - answer.field("yes")).exp())).cast(pl.Float32).alias("p_yes"),
            answer.field("yes").alias("yes"),
            answer.field("no").alias("no"),
            "error",
        )
    )
