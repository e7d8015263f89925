"""`aspects export`: a trained student for timm, transformers and onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.cli.markup import echo
from flows.cli.model_options import with_models
from flows.option_values import OptionInvalid
from flows.parameters import DatasetParameters
from storage.parameters import Only

if TYPE_CHECKING:
    from student.core.export_folder import Export, Int8

app = typer.Typer()


@app.command(epilog="Example: aspects export runs/recommended/seed-0 exported --format safetensors --format onnx")
@with_models
def export(
    run: options.RunDir,
    out: Annotated[Path, typer.Argument(help="Folder to write.", metavar="DIR")],
    dataset: Annotated[
        DatasetParameters | None,
        Only(("source", "name", "root", "download"), help={"source": "Quantise with and measure on these images."}),
    ],
    formats: Annotated[list[str] | None, typer.Option("--format", help="safetensors or onnx; may be repeated.")] = None,
    with_aspects: Annotated[
        bool, typer.Option("--with-aspects", "--keep-aspects", help="Keep the aspect outputs too.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Write a quantised ONNX model too.")] = False,
    split: Annotated[str | None, typer.Option(help="The dataset's split to measure int8 on; default: test.")] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(help="Upload to this repository of the Hugging Face Hub.", metavar="OWNER/NAME")
    ] = None,
) -> None:
    """Export a trained student as safetensors and as ONNX.

    A classifier comes with its timm config and a model card. The ONNX file is checked with onnxruntime.
    """
    from storage.hub import push_folder, require_pushable
    from student.detection.runs import is_detector_run

    if push_to_hub is not None:
        require_pushable(push_to_hub)
    if not int8 and (dataset is not None or split is not None):
        raise OptionInvalid("a dataset (-d) and --split are for --int8; give that too, or leave them out")
    if dataset is None and split is not None:
        raise OptionInvalid("--split is for a dataset (-d); give one, or leave it out")
    written_formats = tuple(formats or ("safetensors", "onnx"))
    if is_detector_run(run):
        if int8:
            raise OptionInvalid(f"--int8 is for classifiers, and {run} is the run of a detector; leave it out")
        written = _export_detector(run, out, written_formats, with_aspects)
    else:
        written = _export_classifier(run, out, written_formats, with_aspects, int8, dataset, split)
    for file in written.files:
        echo(str(written.folder / file))
    if written.onnx_difference is not None:
        echo(f"onnxruntime and torch differ by at most {written.onnx_difference:.1g}")
    if written.int8 is not None:
        echo(_describe_int8(written.int8))
    if push_to_hub is not None:
        echo(push_folder(out.expanduser(), push_to_hub))


def _export_detector(run: Path, out: Path, formats: tuple[str, ...], with_aspects: bool) -> Export:
    from student.detection.export import export_detector

    return export_detector(run, out, formats, with_aspects)


def _export_classifier(
    run: Path,
    out: Path,
    formats: tuple[str, ...],
    with_aspects: bool,
    int8: bool,
    dataset: DatasetParameters | None,
    split: str | None,
) -> Export:
    from student.classification.export import export as export_run
    from student.classification.quantize import QuantizeOn

    opened = None if dataset is None else dataset.open()
    quantized = QuantizeOn(dataset=opened, split=split or "test") if int8 else None
    return export_run(run, out, formats, with_aspects, quantized)


def _describe_int8(int8: Int8) -> str:
    if int8.top1 is None or int8.top1_fp32 is None:
        return "int8: dynamic, not measured; give a dataset (-d) to quantise the activations too and to measure it"
    return (
        f"int8: {int8.kind}; top-1 {100 * int8.top1:.2f} %, fp32 {100 * int8.top1_fp32:.2f} %, "
        f"on {int8.images:,} images of split {int8.split}"
    )
