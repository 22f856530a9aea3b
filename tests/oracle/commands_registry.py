"""What torchvision declares of its weights, and what torch.hub does with its cache."""

import os

import torch
import torchvision
from registry import command


@command
def declared_weights():
    """Every field of every member of torchvision's DenseNet*_Weights, and the parameters of the network built for it."""
    declared = []
    for arch in ["densenet121", "densenet161", "densenet169", "densenet201"]:
        weights = torchvision.models.get_model_weights(arch)
        for member in weights:
            transforms = member.transforms()
            network = torchvision.models.get_model(arch, num_classes=len(member.meta["categories"]))
            declared.append(
                {
                    "arch": arch,
                    "torchvision": str(member),
                    "is_default": member is weights.DEFAULT,
                    "url": member.url,
                    "hash": torch.hub.HASH_REGEX.search(os.path.basename(member.url)).group(1),
                    "meta": {**member.meta, "min_size": list(member.meta["min_size"])},
                    "parameters": sum(p.numel() for p in network.parameters()),
                    "transforms": {
                        "resize_size": transforms.resize_size[0],
                        "crop_size": transforms.crop_size[0],
                        "mean": transforms.mean,
                        "std": transforms.std,
                        "interpolation": transforms.interpolation.value,
                        "antialias": transforms.antialias,
                    },
                }
            )
    return declared


@command
def hub_load(url, torch_home, proxy_free_hosts="127.0.0.1"):
    """torch.hub.load_state_dict_from_url with the hash checked: the tensors, and what the cache folder holds after."""
    before = {name: os.environ.get(name) for name in ("TORCH_HOME", "no_proxy")}
    os.environ.update(TORCH_HOME=torch_home, no_proxy=proxy_free_hosts)
    try:
        tensors = torch.hub.load_state_dict_from_url(url, progress=False, check_hash=True)
        folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return {"tensors": {name: tensor.tolist() for name, tensor in tensors.items()}, "files": os.listdir(folder)}
