#!/usr/bin/env python3
"""Makes a reference for `densenet parity`: what PyTorch computes on the way from a picture to logits.

    python make_reference.py densenet121 cat.jpg ref.safetensors --weights IMAGENET1K_V1
    densenet parity --weights densenet121-a639ec97.pth --reference ref.safetensors

For a model of your own import this file and call `reference(model, picture)` or `training_reference(model, input,
target)`, then `save(tensors, path)`. Needs torch, torchvision, Pillow and safetensors.
"""

import argparse
import importlib.metadata
import io
import pathlib
import platform

import safetensors.torch
import torch
import torchvision
from PIL import Image, features
from torchvision.transforms import functional as F


def preset_steps(image, preset):
    """torchvision's ImageClassification preset in its steps: the resized picture, and the network's input."""
    resized = F.resize(image, preset.resize_size, interpolation=preset.interpolation, antialias=preset.antialias)
    cropped = F.convert_image_dtype(F.pil_to_tensor(F.center_crop(resized, preset.crop_size)), torch.float32)
    return resized, F.normalize(cropped, preset.mean, preset.std)[None]


def hook_outputs(model, tensors, depth):
    """Writes down every module's output as deep as `depth` names below the model, before anything overwrites it."""
    hooks = []
    for name, module in model.named_modules():
        if not name or name.count(".") >= depth:
            continue

        def keep(_module, _inputs, output, name=name):
            if isinstance(output, torch.Tensor):
                tensors[name] = output.detach().clone()

        hooks.append(module.register_forward_hook(keep))
    return hooks


def reference(model, picture, preset=None, depth=3):
    """A picture's way through a model in evaluation mode, as named tensors; `picture` is a path or a file's bytes."""
    data = picture if isinstance(picture, bytes) else pathlib.Path(picture).read_bytes()
    preset = preset or torchvision.models.DenseNet121_Weights.IMAGENET1K_V1.transforms()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    tensors = {"image_bytes": torch.frombuffer(bytearray(data), dtype=torch.uint8), "decoded": F.pil_to_tensor(image)}
    if next(p for p in model.parameters() if p.dim() == 4).shape[1] == 1:
        image = image.convert("L")
    resized, tensors["input"] = preset_steps(image, preset)
    tensors["resized"] = F.pil_to_tensor(resized)
    hooks = hook_outputs(model.eval(), tensors, depth)
    with torch.no_grad():
        device = next(model.parameters()).device
        tensors["logits"] = model(tensors["input"].to(device))
    for hook in hooks:
        hook.remove()
    # The classifier's output is the logits again.
    tensors.pop("classifier", None)
    return tensors


def training_reference(model, input, target):
    """One training step (cross-entropy): loss, logits, gradients, running statistics. The model's statistics move."""
    model.train().zero_grad()
    logits = model(input)
    loss = torch.nn.functional.cross_entropy(logits, target)
    loss.backward()
    tensors = {"input": input, "target": target, "logits": logits, "loss": loss}
    tensors |= {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return tensors | dict(model.named_buffers())


def conditions(device="cpu"):
    """Where this was made: `densenet parity` warns where results round differently."""
    version = importlib.metadata.version
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": version("pillow"),
        "jpeg": f"libjpeg-turbo {features.version('libjpeg_turbo')}" if features.check("libjpeg_turbo") else "libjpeg",
        "python": platform.python_version(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "device": torch.device(device).type,
    }


def save(tensors, path, about=None, device="cpu"):
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, path, metadata=conditions(device) | (about or {}))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a name of torchvision.models, such as densenet121")
    parser.add_argument("picture")
    parser.add_argument("output", help="the .safetensors file to write")
    parser.add_argument("--weights", help="a name such as IMAGENET1K_V1, or a state dict's file; else random weights")
    parser.add_argument("--seed", type=int, default=0, help="of random weights")
    parser.add_argument("--save-weights", metavar="FILE", help="also write the model's state dict")
    parser.add_argument("--num-classes", type=int, default=1000)
    parser.add_argument("--depth", type=int, default=3, help="how deep modules are recorded (features.denseblock1.denselayer1 is 3)")
    parser.add_argument("--train", action="store_true", help="one training step of the picture and its mirror image")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)

    torch.manual_seed(given.seed)
    preset = torchvision.models.DenseNet121_Weights.IMAGENET1K_V1.transforms()
    if given.weights and not pathlib.Path(given.weights).exists():
        weights = torchvision.models.get_model_weights(given.model)[given.weights]
        model, preset = torchvision.models.get_model(given.model, weights=weights), weights.transforms()
    else:
        model = torchvision.models.get_model(given.model, weights=None, num_classes=given.num_classes)
        if given.weights:
            model.load_state_dict(torch.load(given.weights, weights_only=True))
    if given.save_weights:
        torch.save(model.state_dict(), given.save_weights)
    model.to(given.device)

    tensors = reference(model, given.picture, preset, given.depth)
    if given.train:
        input = torch.cat([tensors["input"], tensors["input"].flip(3)]).to(given.device)
        target = torch.arange(2, device=given.device) % given.num_classes
        tensors = training_reference(model, input, target)
    about = {"model": given.model, "picture": str(given.picture), "weights": given.weights or f"seed {given.seed}"}
    save(tensors, given.output, about, given.device)
    print(f"{given.output}: {len(tensors)} tensors")


if __name__ == "__main__":
    main()
