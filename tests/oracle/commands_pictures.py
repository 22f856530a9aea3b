"""What Pillow and torchvision make of pictures: decoded, resized, cropped, normalized."""

import io
import os
import warnings

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms import InterpolationMode, functional
from torchvision.transforms._presets import ImageClassification

import picture_files
from registry import command


# Pillow warns of what some files here have on purpose.
warnings.filterwarnings("ignore", module="PIL")


def pixels(image):
    """[H, W, C] u8, contiguous."""
    array = np.array(image)
    return torch.from_numpy(array.reshape(array.shape[0], array.shape[1], -1).copy())


@command
def make_pictures(folder):
    """Writes pictures of every format and mode; returns their names by group."""
    groups = picture_files.all_groups()
    for files in groups.values():
        for name, data in files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
    return {group: list(files) for group, files in groups.items()}


@command
def pil_decode(folder, names, output):
    """Image.open(name).convert("RGB") of each."""
    decoded = {name: pixels(Image.open(os.path.join(folder, name)).convert("RGB")) for name in names}
    save_file(decoded, output)
    return {name: Image.open(os.path.join(folder, name)).mode for name in names}


@command
def pil_refuses(folder, names):
    """Which of the files Pillow does not read."""
    refused = []
    for name in names:
        try:
            Image.open(os.path.join(folder, name)).convert("RGB")
        except Exception:
            refused.append(name)
    return refused


@command
def pil_prefixes(path):
    """The lengths at which Pillow refuses the file's first bytes."""
    with open(path, "rb") as file:
        data = file.read()
    refused = []
    for length in range(len(data)):
        try:
            Image.open(io.BytesIO(data[:length])).convert("RGB")
        except Exception:
            refused.append(length)
    return refused


@command
def pil_resize(source, mode, cases, output):
    """Photographs in `source` (named) and each case [name, width, height, interpolation] resized."""
    pictures = {}
    results = {}
    for index, (height, width, to_width, to_height, interpolation) in enumerate(cases):
        image = picture_files.photograph(height, width, seed=index)
        if mode == "L":
            image = image.convert("L")
        pictures[str(index)] = pixels(image)
        results[str(index)] = pixels(image.resize((to_width, to_height), Image.Resampling[interpolation.upper()]))
    save_file(pictures, source)
    save_file(results, output)


@command
def torchvision_sizes(cases):
    """[width, height] to [width, height] with the shorter side as asked."""
    sizes = []
    for width, height, short in cases:
        new_height, new_width = functional._compute_resized_output_size((height, width), [short], None)
        sizes.append([new_width, new_height])
    return sizes


@command
def torchvision_center_crop(source, cases, output):
    """Photographs of [height, width] cut to [crop_height, crop_width]."""
    pictures = {}
    results = {}
    for index, (height, width, crop_height, crop_width) in enumerate(cases):
        image = picture_files.photograph(height, width, seed=index)
        pictures[str(index)] = pixels(image)
        results[str(index)] = pixels(functional.center_crop(image, [crop_height, crop_width]))
    save_file(pictures, source)
    save_file(results, output)


def transformed(image, preset):
    """torchvision's preset; without its resize or crop where the preset has none."""
    if preset["channels"] == 1:
        image = functional.to_grayscale(image, 1)
    arguments = {
        "crop_size": preset["crop_size"],
        "resize_size": preset["resize_size"],
        "mean": preset["mean"],
        "std": preset["std"],
        "interpolation": InterpolationMode(preset["interpolation"]),
    }
    torchvisions = preset["range"] == [0, 1] and not preset["squash"]
    if torchvisions and preset["crop_size"] is not None and preset["resize_size"] is not None:
        return ImageClassification(**arguments)(image)
    if preset["resize_size"] is not None:
        size = [preset["resize_size"]] * (2 if preset["squash"] else 1)
        image = functional.resize(image, size, interpolation=arguments["interpolation"])
    if preset["crop_size"] is not None:
        image = functional.center_crop(image, [preset["crop_size"]])
    return functional.normalize(scaled(functional.pil_to_tensor(image), preset["range"]), preset["mean"], preset["std"])


def scaled(image, interval):
    """Pixels in the ranges that networks of different origins expect, each as its authors compute it."""
    if interval == [0, 255]:
        return image.float()
    if interval == [-1024, 1024]:
        # torchxrayvision.utils.normalize
        array = (2 * (image.numpy().astype(np.float32) / 255) - 1.0) * 1024
        return torch.from_numpy(array)
    assert interval == [0, 1]
    return functional.convert_image_dtype(image, torch.float)


@command
def torchvision_preset(folder, cases, output):
    """Each [name, preset]: the file opened by Pillow and transformed, by the case's number."""
    results = {}
    for index, (name, preset) in enumerate(cases):
        image = Image.open(os.path.join(folder, name)).convert("RGB")
        results[str(index)] = transformed(image, preset).contiguous()
    save_file(results, output)


@command
def torchvision_preset_of_pixels(pictures, preset, output):
    """The preset applied to [H, W, 3] u8 pixels decoded elsewhere."""
    decoded = load_file(pictures)
    save_file(
        {name: transformed(Image.fromarray(array.numpy()), preset).contiguous() for name, array in decoded.items()},
        output,
    )


@command
def torchvision_defaults():
    """The preset's fields as torchvision constructs it."""
    preset = ImageClassification(crop_size=224)
    return {
        "resize_size": preset.resize_size,
        "crop_size": preset.crop_size,
        "mean": preset.mean,
        "std": preset.std,
        "interpolation": preset.interpolation.value,
        "antialias": preset.antialias,
    }
