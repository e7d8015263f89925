"""Weights of a backbone from a file or from a repository on the Hugging Face Hub.

Files of this library, of timm or of others: a state dict by the network's own names, or by other names in the same
order, as another library's implementation of the same network has them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import timm
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from torch import Tensor, nn

from storage.errors import StorageUnavailable
from storage.hub import HubUnreachable, find_on_hub
from student.core.files import RunInvalid, digest_of_file
from student.core.setting_errors import ConfigInvalid

HUB = "hf-hub:"  # before the name of a repository
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # of timm's models on the Hub
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
COUNTERS = "num_batches_tracked"  # of batch normalisation; files without them are complete


def weights_file(weights: str) -> Path:
    """The file that the setting `weights` names; downloaded where it is `hf-hub:OWNER/NAME`. Raises ConfigInvalid."""
    if weights.startswith(HUB):
        return _hub_file(weights.removeprefix(HUB))
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ConfigInvalid(f"weights {weights}: there is no such file; give a .safetensors, .pth or .pt file")
    if path.suffix not in SUFFIXES:
        raise ConfigInvalid(f"weights {weights}: unknown format '{path.suffix}'; give a .safetensors, .pth or .pt file")
    return path


def _hub_file(name: str) -> Path:
    for file in WEIGHT_FILES:
        if isinstance(cached := try_to_load_from_cache(name, file), str):
            return Path(cached)
    try:
        find_on_hub(name, "model")
    except HubUnreachable as error:
        raise ConfigInvalid(
            f"cannot get weights {HUB}{name} from the Hugging Face Hub ({error}); check the name and the network"
        ) from error
    for file in WEIGHT_FILES:
        try:
            return Path(hf_hub_download(name, file))
        except OSError:  # there is no such file; errors of the network are OSErrors too
            continue
    raise ConfigInvalid(f"cannot get {' or '.join(WEIGHT_FILES)} of {HUB}{name}; take another repository")


def digest_of_weights_file(weights: str) -> str:
    """The first 16 hexadecimal digits of its SHA-256. Raises ConfigInvalid."""
    path = weights_file(weights)
    found = path.stat()
    return _digest(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, modified: int) -> str:
    try:
        return digest_of_file(path)[:16]
    except (RunInvalid, StorageUnavailable) as error:
        raise ConfigInvalid(f"weights {path} cannot be read; check the file and its permissions") from error


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights by their names, an average of the weights where the file has one. Nothing in
    the file is run. Raises ConfigInvalid."""
    try:
        state = timm.models.load_state_dict(str(path), weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch and safetensors raise errors of many types for bytes that are no weights
        if "GLOBAL" in str(error.__cause__):  # of torch.load: the name of what the file wants to call
            raise ConfigInvalid(
                f"weights {path} holds Python objects, which could run code, and was not loaded; "
                f"save the state_dict alone, or convert it to .safetensors"
            ) from error
        raise ConfigInvalid(f"weights {path} is damaged, or no file of weights") from error
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ConfigInvalid(f"weights {path} holds no weights; give the file of a state_dict")
    return tensors


def converted_state(state: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """`state` by timm's conversion for models like `network`: names of other implementations become timm's, and
    position embeddings are resampled to the network's image size."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        converted: Mapping[str, Tensor] = convert(dict(state), network)
    except Exception:  # of any type, where the names are others than it expects: they may still match by order
        return state
    return converted


def fit_state(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], head: Collection[str], path: Path
) -> dict[str, Tensor]:
    """The tensors of `found` under the names of a network's state dict `wanted`.

    They are matched by name where all names agree, else by order where all shapes agree in order; .safetensors files
    keep no order. Those of the classifier, the names in `head`, are left out where their shapes differ. Raises
    ConfigInvalid, naming the first tensor that does not fit.
    """
    found = {name: tensor for name, tensor in found.items() if not name.endswith(COUNTERS)}
    wanted = {name: tensor for name, tensor in wanted.items() if not name.endswith(COUNTERS)}
    body = [name for name in wanted if name not in head]
    if all(name in found for name in body):
        if more := [name for name in found if name not in wanted and name not in head]:
            raise _other_network(path, f"it has a tensor {more[0]}, which the backbone has not")
        named = dict(found)
    elif len(found) == len(wanted) and path.suffix != ".safetensors":
        named = dict(zip(wanted, found.values(), strict=True))
    else:
        missing = next(name for name in body if name not in found)
        raise _other_network(path, f"it has {len(found)} tensors, the backbone {len(wanted)}, and no {missing}")
    for name in body:
        if named[name].shape != wanted[name].shape:
            shapes = f"{tuple(named[name].shape)}, not {tuple(wanted[name].shape)}"
            raise _other_network(path, f"{name} has shape {shapes}")
    return {name: named[name] for name in wanted if name in named and named[name].shape == wanted[name].shape}


def _other_network(path: Path, why: str) -> ConfigInvalid:
    return ConfigInvalid(f"weights {path} are of another network than the backbone: {why}")
