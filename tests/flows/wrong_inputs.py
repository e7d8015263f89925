"""Commands with something wrong in them, each with a part of what is said; their files are those of wrong_files.py."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tests.flows.wrong_files import EXPERIMENTS, QUESTION_SETS, RUNS, UNREADABLE

Case = tuple[list[str], str]

HUGE = str(10**30)
LONG = "x" * 5000
RIGHT = {
    "extract": ["extract", "-d", "photos", "-q", "questions.yaml", "-t", "tiny"],
    "run": ["run", "-d", "photos", "-q", "questions.yaml", "-t", "tiny"],
    "boxes": ["extract", "-d", "boxed", "--task", "detection", "--box-questions", "questions.yaml", "-t", "tiny"],
    "train": ["train", "-d", "photos"],
    "experiment": ["experiment", "grid.yaml"],
    "evaluate": ["evaluate", "runs/nothing", "-d", "photos"],
    "export": ["export", "runs/nothing", "out"],
    "predict": ["predict", "runs/nothing", "photos"],
    "import": ["import-answers", "attributes.csv", "--format", "attributes", "-d", "photos"],
    "show": ["show"],
    "audit": ["questions", "audit", "questions.yaml", "-d", "photos", "-t", "tiny"],
    "generate": ["questions", "generate", "new.yaml", "-t", "tiny", "--classes", "classes.txt"],
    "select": ["questions", "select", "questions.yaml", "--count", "1", "--out", "ten.yaml"],
    "publish": ["questions", "publish", "questions.yaml"],
    "prune": ["store", "prune", "-q", "questions.yaml", "--yes"],
    "scenes": ["scenes", "new"],
}
# Options that take a number, and numbers that are none of theirs.
NUMBERS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("extract", "--shard-size", ("", "0", "-1", "1.5", "nan", HUGE)),
    ("extract", "--concurrency", ("0", "-1", "abc")),
    ("extract", "--top-logprobs", ("0", "1e3")),
    ("extract", "--workers", ("0", "-1", HUGE)),
    ("extract", "--engine-batch", ("0", "-1")),
    ("extract", "--gpu-memory", ("0", "-1", "1.5", "nan", "inf")),
    ("extract", "--max-model-len", ("0", "-1")),
    ("extract", "--max-pixels", ("0", "-1")),
    ("extract", "--gpu-price", ("-1", "nan", "inf", "cheap")),
    ("boxes", "--box-margin", ("-1", "nan", "inf")),
    ("boxes", "--smallest-box", ("-1", "nan", "inf")),
    ("run", "--epochs", ("", "0", "-1", "1.5")),
    ("run", "--image-size", ("0", "-1")),
    ("run", "--alpha", ("-1", "nan")),
    ("train", "--seeds", ("", ",", "a", "-1", "1,1", HUGE, "1.5")),
    ("experiment", "--seeds", ("", "a", "1,1")),
    ("experiment", "--epochs", ("0",)),
    ("predict", "--top", ("0", "all")),
    ("predict", "--batch-size", ("0",)),
    ("predict", "--abstain-below", ("2", "-1", "nan")),
    ("predict", "--abstain-for-precision", ("95",)),
    ("show", "--questions", ("-1", "all")),
    ("audit", "--images", ("0", HUGE)),
    ("audit", "--probed", ("0", HUGE)),
    ("generate", "--count", ("0", HUGE)),
    ("generate", "--rounds", ("0", HUGE)),
    ("generate", "--max-tokens", ("0", HUGE)),
    ("generate", "--seed", ("-1", HUGE)),
    ("select", "--count", ("0", HUGE)),
    ("scenes", "--train", ("", "0", "-1", "nan", HUGE)),
    ("scenes", "--test", ("0", HUGE)),
    ("scenes", "--seed", ("-1", HUGE)),
)
# Options that take words, and words that are none of theirs.
WORDS: Sequence[tuple[str, Sequence[str], str]] = (
    ("extract", ["--engine", "vlm"], "'openai', 'transformers', 'vllm'"),
    ("extract", ["--engine", ""], "'openai', 'transformers', 'vllm'"),
    ("extract", ["--dtype", "fp8"], "'float32', 'bfloat16'"),
    ("extract", ["--dtype", ""], "'float32', 'bfloat16'"),
    ("extract", ["--prompt", "hm"], "{question}"),
    ("extract", ["--prompt", ""], "at least 1 character"),
    ("extract", ["--revision", ""], "at least 1 character"),
    ("extract", ["--quantization", ""], "at least 1 character"),
    ("extract", ["--api-key-variable", ""], "at least 1 character"),
    ("extract", ["-t", ""], "at least 1 character"),
    ("extract", ["--name", ""], "at least 1 character"),
    ("extract", ["--name", "a/b"], "cannot name a folder"),
    ("extract", ["--name", "."], "cannot name a folder"),
    ("extract", ["--processor", "x"], "--processor NAME=VALUE"),
    ("extract", ["--vllm", "seed"], "--vllm NAME=VALUE"),
    ("extract", ["--splits", ""], "--splits train,test"),
    ("extract", ["--splits", "tset"], "no split 'tset'"),
    ("extract", ["--task", "segmentation"], "'classification', 'detection'"),
    ("extract", ["--box-view", "side"], "'crop', 'drawn'"),
    ("extract", ["--nope"], "--nope"),
    ("extract", ["extra"], "extra"),
    ("extract", ["-q"], "requires an argument"),
    ("run", ["--recipe", "huge"], "recipe 'huge' is unknown"),
    ("run", ["--backbone", "resnt18"], "did you mean resnet18"),
    ("run", ["--backbone", "torchvision:nope"], "no backbone 'nope'"),
    ("run", ["--method", "mkad"], "method 'mkad' is unknown"),
    ("run", ["--method", "makd+"], "unknown"),
    ("run", ["--set", "x"], "--set NAME=VALUE"),
    ("run", ["--set", "=1"], "--set NAME=VALUE"),
    ("run", ["--set", "speed=1"], "'speed' is unknown"),
    ("run", ["--set", "lr=high"], "lr"),
    ("run", ["--set", "lr=nan"], "lr"),
    ("run", ["--set", "batch_size=0"], "batch_size is 0; it must be at least 1"),
    ("run", ["--set", "optimizer=adam"], "'sgd', 'adamw'"),
    ("run", ["--set", "momentum=2"], "below 1"),
    ("run", ["--set", "flip=2"], "between 0 and 1"),
    ("run", ["--set", "train_fraction=0"], "above 0"),
    ("run", ["--set", "crop_scale=[a,b]"], "crop_scale"),
    ("run", ["--set", "epochs=[1"], "--set"),
    ("run", ["--runs", ""], "--runs is empty"),
    ("run", ["--runs", "stored/x"], "stored is a file"),
    ("train", ["--runs", "/dev/null"], "/dev/null is a file"),
    ("train", ["--report", ""], "--report is empty"),
    ("run", ["--report", "stored/x"], "stored is a file"),
    ("experiment", ["--report", "ftp://host/x"], "--report is no http(s) address"),
    ("train", ["-s", "stored"], "stored"),
    ("train", ["-s", "empty"], "no complete answers for dataset 'photos'"),
    ("train", ["-t", "zzz"], "no complete answers"),
    ("experiment", ["--recipe", ""], "recipe"),
    ("experiment", ["--runs", "stored"], "stored is a file"),
    ("experiment", ["--runs", ""], "--runs is empty"),
    ("experiment", ["-d", ""], "at least 1 character"),
    ("experiment", ["-s", ""], "its name is empty"),
    ("experiment", ["--set", "method=mkad"], "method 'mkad' is unknown"),
    ("export", ["-d", "photos"], "are for --int8; give that too"),
    ("export", ["--int8", "--split", "test"], "--split is for a dataset"),
    ("export", ["--push-to-hub", "a b"], "names no repository of the Hub"),
    ("predict", ["-o", "table.xls"], "table.xls has no known suffix"),
    ("predict", ["-o", "folder"], "no known suffix"),
    ("predict", ["--split", "test"], "--split is for a dataset"),
    ("predict", ["-d", "photos"], "give either PATHS or a dataset"),
    ("predict", ["nowhere"], "no file or folder at nowhere"),
    ("predict", ["folder/*.png"], "no images match folder/*.png"),
    ("predict", ["--abstain-below", "0.5", "--abstain-for-precision", "0.9"], "give one"),
    ("predict", ["--accelerator", "tpu"], "'cpu', 'cuda', 'mps'"),
    ("import", ["--format", "x"], "'makd', 'lavid', 'attributes'"),
    ("import", ["--alias", "a=b"], "lavid only"),
    ("import", ["--splits", "tset"], "no split 'tset'"),
    ("import", ["-s", "stored"], "stored"),
    ("show", ["-s", "stored"], "stored"),
    ("show", ["-s", ""], "its name is empty"),
    ("show", ["-s", "empty"], "holds no answers"),
    ("show", ["-s", "nothing://x"], "cannot open store nothing://x"),
    ("show", ["-s", "s3://"], "s3://"),
    ("show", ["-s", "/dev/null"], "/dev/null"),
    ("show", ["-s", "pipe"], "pipe"),
    ("show", ["-d", "nope"], "holds no answers"),
    ("show", ["extra"], "extra"),
    ("select", ["-s", "stored"], "no audit yet"),
    ("prune", ["-s", "stored"], "stored"),
    ("prune", ["-s", "nothing://x"], "cannot open store"),
    ("generate", ["--group", "x"], "--group NAME=VALUE"),
    ("generate", ["--group", "x=0"], "greater than 0"),
    ("generate", ["-d", "photos"], "give a dataset (-d) or a file"),
    ("generate", ["--photo", "nowhere"], "nowhere"),
    ("generate", ["--photo", "folder"], "folder"),
    ("generate", ["--photo", "questions.yaml"], "questions.yaml"),
    ("generate", ["--prompt", "nowhere"], "nowhere"),
    ("generate", ["--prompt", "classes.txt"], "classes.txt"),
    ("generate", ["--engine", "transformers"], "engine transformers"),
    ("generate", ["--options", "5"], "--options needs --about classes"),
    ("generate", ["--options", "1", "--about", "classes"], "greater than or equal to 2"),
    ("audit", ["--truth", "nowhere.csv"], "nowhere.csv"),
    ("audit", ["--truth", "folder"], "folder"),
    ("audit", ["--truth", "t-none.csv"], "image_id"),
    ("audit", ["--truth", "t-binary.csv"], "t-binary.csv"),
    ("scenes", ["--task", "x"], "'classification', 'detection'"),
)
# Options that exclude each other, or belong to another task.
TOGETHER: Sequence[tuple[str, Sequence[str], str]] = (
    ("extract", ["--box-questions", "questions.yaml"], "--box-questions needs --task detection"),
    ("extract", ["--box-margin", "1"], "--box-margin needs --task detection"),
    ("extract", ["--smallest-box", "1", "--dry-run"], "--smallest-box needs --task detection"),
    ("run", ["--box-view", "drawn"], "--box-view needs --task detection"),
    ("train", ["--box-questions", "questions.yaml"], "--box-questions needs --task detection"),
    ("evaluate", ["--box-view", "drawn"], "--box-view is for the run of a detector"),
    ("train", ["--task", "detection", "--class-teacher", "x"], "--class-teacher is for --task classification"),
    ("train", ["--set", "seed=5"], "setting 'seed' is given as seeds, one or several; give --seeds 5"),
    ("extract", ["--base-url", "http://localhost:1/v1", "--engine", "vllm"], "--base-url is the address of a server"),
    ("extract", ["--request", "seed=1"], "give its address with --base-url"),
    ("extract", ["--vllm", "seed=1", "--base-url", "http://localhost:1/v1"], "--vllm is for engine vllm alone"),
    ("extract", ["--vllm", "seed=1", "--engine", "transformers"], "--vllm is for engine vllm alone"),
    ("generate", ["--request", "seed=1"], "give its address with --base-url"),
    ("boxes", ["--dry-run", "--splits", "tset"], "tset"),
)
BOX_QUESTIONS = ("--task", "detection", "--box-questions", "questions.yaml")
WHOLE: Sequence[Case] = (
    (["extract", "-d", "nowhere", "-q", "questions.yaml"], "no folder at nowhere"),
    (["extract", "-d", "photos", "-q", "no.yaml"], "cannot read question set no.yaml"),
    (["extract", "-d", "boxed", *BOX_QUESTIONS], "no teacher is given for dataset boxed"),
    (["extract", "-d", "negative", *BOX_QUESTIONS], "labels/train/1.txt, line 1: a box has the negative size -4 x 4"),
    (["extract", "-d", "outside", *BOX_QUESTIONS], "lies outside its image of 8 x 8 pixels; correct or remove it"),
    (["extract", "-d", "unknown", *BOX_QUESTIONS], "there is no class 3; 'names' has 0 to 1"),
    (["extract", "-d", "empty-boxes", *BOX_QUESTIONS], "have only empty label files"),
    (["run", "-d", "boxed", "--task", "detection"], "--questions about images, --box-questions about boxes"),
    (
        ["run", "-d", "boxed", *BOX_QUESTIONS, "--recipe", "paper"],
        "detection recipe 'paper' is unknown",
    ),
    (["run", "-d", "boxed", *BOX_QUESTIONS, "-t", "tiny", "--method", "image"], "no split 'test'; it has train"),
    (["run", "-d", "boxed", *BOX_QUESTIONS, "--set", "detector=yolo"], "'faster-rcnn', 'fcos', 'retinanet'"),
    (["train", "-d", "boxed", *BOX_QUESTIONS, "-s", "empty"], "no split 'test'; it has train"),
    (["experiment", "no.yaml"], "cannot read experiment no.yaml"),
    (["experiment", "questions.yaml"], "questions.yaml: dataset: field required"),
    (["experiment", "grid.yaml", "-d", "photos"], "no complete answers for dataset 'photos'"),
    (["evaluate", "runs/none", "-d", "photos"], "no run at runs/none"),
    (["import-answers", "none.json", "--format", "makd", "-d", "photos"], "none.json"),
    ([], ""),
    (["extarct"], "extarct"),
    (["--nope"], "--nope"),
    (["questions", "nope"], "nope"),
    (["store", "nope"], "nope"),
    (["teachers", "extra"], "extra"),
    (["extract"], "no dataset is given; name one by --dataset"),
    (["extract", "--datset", "photos"], "--datset"),
    (["extract", "-d"], "requires an argument"),
    (["extract", "-d", "photos"], "--questions is missing"),
    (["extract", "-d", "photos", "-q", "questions.yaml"], "no teacher is given for dataset photos; choose one"),
    (["extract", "-d", "photos", "-q", "questions.yaml", "--dry-run"], "no teacher is given for dataset photos"),
    (["run", "-d", "photos", "-q", "questions.yaml"], "no teacher is given for dataset photos"),
    (["questions", "audit", "questions.yaml", "-d", "photos"], "no teacher is given for dataset photos"),
    (["questions", "generate", "x.yaml", "-d", "photos"], "no teacher is given; name the model that is to write"),
    (["questions", "generate", "questions.yaml", "-t", "tiny", "--classes", "classes.txt"], "exists already"),
    (["questions", "generate", "x.yaml", "-t", "tiny", "--classes", "empty.txt"], "names no class"),
    (["questions", "select", "questions.yaml", "--count", "1", "--out", "questions.yaml"], "exists already"),
    (["questions", "select", "questions.yaml", "--count", "1", "--out", "x.yaml"], "has no audit yet"),
    (["extract", "-d", "boxed", "--task", "detection"], "--box-questions"),
    (["run", "-d", "photos", "--task", "detection", "-q", "questions.yaml"], "no COCO or YOLO annotations in photos"),
    (["store", "prune", "-q", "empty", "--yes"], "--questions FILE_OR_FOLDER"),
    (["scenes"], "Missing argument"),
    (["scenes", "photos"], "holds something else"),
    (["scenes", "questions.yaml"], "questions.yaml"),
    (["scenes", "/dev/null"], "/dev/null"),
    (["scenes", "stored/x"], "stored"),
    (["export", "runs/nothing"], "Missing argument"),
    (["predict", "runs/nothing"], "give either PATHS or a dataset"),
    (["predict", "runs/nothing", "-d", "photos", "--split", "tset"], "no split 'tset'"),
    (["import-answers", "x.json", "--format", "lavid", "-d", "photos"], "needs --questions"),
    (["import-answers", "t-binary.parquet", "--format", "attributes", "-d", "photos"], "t-binary.parquet"),
    (["import-answers", "t-range.csv", "--format", "attributes", "-d", "photos"], "t-range.csv"),
    (["import-answers", "t-twice.csv", "--format", "attributes", "-d", "photos"], "t-twice.csv"),
    (["import-answers", "m-range.json", "--format", "makd", "-d", "photos"], "m-range.json"),
    (["import-answers", "m-empty.json", "--format", "makd", "-d", "photos"], "m-empty.json"),
    (["import-answers", "m-list.json", "--format", "makd", "-d", "photos"], "m-list.json"),
    (["import-answers", "m-words.json", "--format", "lavid", "-q", "classes.txt", "-d", "photos"], "m-words.json"),
)
DATASETS = (
    *("", "nowhere", "stored", "/dev/null", "pipe", "folder", LONG, "photos/train", "loose", "no-classes", "no-images"),
    *("torchvision:", "torchvision:Nope", "cub:", "cub:photos", "hf:", "ftp://x", "\U0001f600", "a\x1bb\nc\u202e"),
)
BOXED = (
    "negative",
    "outside",
    "unknown",
    "words",
    "empty-boxes",
    "coco",
    "yolo",
    "coco:nowhere",
    "yolo:pipe",
    "photos",
)


def _replaced(command: str, option: str, value: str) -> list[str]:
    words = list(RIGHT[command])
    words[words.index(option) + 1] = value
    return words


def cases() -> list[Case]:
    """All of them; each file and dataset with the commands that read it in ways of their own."""
    found: list[Case] = [([*RIGHT[command], *options], said) for command, options, said in (*WORDS, *TOGETHER)]
    found += [([*RIGHT[command], name, value], "") for command, name, values in NUMBERS for value in values]
    found += WHOLE
    found += [(_replaced(command, "-d", place), "") for command in ("extract", "import") for place in DATASETS]
    found += [(_replaced("boxes", "-d", place), "") for place in BOXED]
    files = ["", "nowhere.yaml", "folder", *(f"{name}.yaml" for name in (*UNREADABLE, *QUESTION_SETS))]
    found += [(_replaced(command, "-q", file), file) for command in ("extract", "prune") for file in files]
    found += [(["questions", "publish", file], file) for file in files[:4]]
    found += [(_replaced("boxes", "--box-questions", file), file) for file in files[:4]]
    documents = ["", "nowhere.yaml", "folder", *(f"{name}.yaml" for name in (*UNREADABLE, *EXPERIMENTS))]
    found += [(["experiment", file], "") for file in documents]
    runs = ["nowhere", "stored", "folder", *(f"runs/{name}" for name in RUNS)]
    found += [([command, run, *more], "") for run in runs for command, more in (("evaluate", ["-d", "photos"]),)]
    found += [(["export", run, "out"], "") for run in runs]
    found += [(["predict", run, "photos"], "") for run in runs]
    return [case for case, _ in itertools.groupby(found)]
