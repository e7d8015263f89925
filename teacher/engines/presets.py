"""Teachers by short name, with settings for their family. Any other model works with the defaults.

The prompt's form is not a setting: it comes from each model's own chat template. These settings make an image 1,000 to
1,500 tokens in any family, since tokens are time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from teacher.engines.config import TINY_MODEL, TeacherConfig, tiny_teacher

# A token for 28 x 28 or 32 x 32 pixels: 1,337 or 1,024 at a megapixel.
QWEN: Mapping[str, Any] = {"max_pixels": 1_048_576}
# 256 tokens for each tile of 448 x 448; the number of tiles follows the image's shape, up to 12 by default,
# plus a thumbnail if there are several.
INTERNVL: Mapping[str, Any] = {"max_pixels": 1_048_576, "processor": {"max_patches": 4}}
# 729 tokens for each tile of 384 x 384 that the image covers, and for the whole image.
LLAVA: Mapping[str, Any] = {"max_pixels": 384 * 384}
# 64 tokens for each tile of 512 x 512, 16 at most, and for the whole image.
SMOLVLM: Mapping[str, Any] = {"max_pixels": 1_048_576}

TINY = "tiny"  # the bundled teacher

PRESETS: Mapping[str, TeacherConfig] = {
    TINY: tiny_teacher(),
    "qwen3-vl-2b": TeacherConfig(model="Qwen/Qwen3-VL-2B-Instruct", **QWEN),
    "qwen3-vl-4b": TeacherConfig(model="Qwen/Qwen3-VL-4B-Instruct", **QWEN),
    "qwen3-vl-8b": TeacherConfig(model="Qwen/Qwen3-VL-8B-Instruct", **QWEN),
    "qwen2.5-vl-3b": TeacherConfig(model="Qwen/Qwen2.5-VL-3B-Instruct", **QWEN),
    "qwen2.5-vl-7b": TeacherConfig(model="Qwen/Qwen2.5-VL-7B-Instruct", **QWEN),
    "internvl3-1b": TeacherConfig(model="OpenGVLab/InternVL3-1B-hf", **INTERNVL),
    "internvl3-2b": TeacherConfig(model="OpenGVLab/InternVL3-2B-hf", **INTERNVL),
    "internvl3-8b": TeacherConfig(model="OpenGVLab/InternVL3-8B-hf", **INTERNVL),
    "llava-onevision-0.5b": TeacherConfig(model="llava-hf/llava-onevision-qwen2-0.5b-ov-hf", **LLAVA),
    "llava-onevision-7b": TeacherConfig(model="llava-hf/llava-onevision-qwen2-7b-ov-hf", **LLAVA),
    "smolvlm-500m": TeacherConfig(model="HuggingFaceTB/SmolVLM-500M-Instruct", **SMOLVLM),
    "smolvlm2-2.2b": TeacherConfig(model="HuggingFaceTB/SmolVLM2-2.2B-Instruct", **SMOLVLM),
}


def display_name(model: str) -> str:
    """Return a teacher's name for display: the bundled one's short name, the last two parts of a folder, else its own
    name."""
    parts = Path(model).parts
    # Compare the last parts only: the store may come from another machine.
    if parts[-3:] == TINY_MODEL.parts[-3:]:
        return TINY
    return "/".join(parts[-2:]) if model.startswith(("/", ".", "~")) else model
