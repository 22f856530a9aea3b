"""Names and state dicts of torchvision's DenseNet, and what torch makes of a state dict it is given."""

from unittest import mock

import torch
import torchvision.models.densenet as densenet
from safetensors.torch import load_file, save_file

from registry import command


def build(config):
    return densenet.DenseNet(**config)


@command
def loading_names(config):
    """[name, shape, dtype, is parameter] in the state dict's order."""
    with torch.device("meta"):
        model = build(config)
    parameters = dict(model.named_parameters())
    return [
        [name, list(tensor.shape), str(tensor.dtype), name in parameters]
        for name, tensor in model.state_dict().items()
    ]


@command
def loading_state(config, seed, path, counters=0):
    """A state dict with random weights and statistics."""
    torch.manual_seed(seed)
    save_file(randomized(config, counters).state_dict(), path)


def randomized(config, counters):
    model = build(config)
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.fill_(counters)
        else:
            buffer.uniform_(0.5, 2.0)
    return model


@command
def loading_strict(config, before, source, after):
    """load_state_dict of a plain dict into a model that holds `before`; torch's words if it refuses."""
    model = build(config)
    model.load_state_dict(load_file(before))
    try:
        model.load_state_dict(dict(load_file(source)), strict=True)
    except RuntimeError as error:
        return str(error)
    finally:
        save_file(model.state_dict(), after)
    return None


@command
def loading_old_names(config, before, source, after):
    """torchvision's own loader of official files, which knows the old names."""
    model = build(config)
    model.load_state_dict(load_file(before))
    weights = mock.Mock()
    weights.get_state_dict.return_value = dict(load_file(source))
    densenet._load_state_dict(model, weights, progress=False)
    save_file(model.state_dict(), after)


@command
def loading_convert(source, path, dtype):
    save_file({name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(source).items()}, path)
