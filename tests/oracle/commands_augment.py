"""What torchvision's augmentations make of pictures, inputs and batches, given what was drawn."""

import math

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms import InterpolationMode, RandomErasing, RandomResizedCrop, autoaugment, functional, v2

import picture_files
from commands_pictures import pixels
from registry import command

POLICIES = {
    "trivial": autoaugment.TrivialAugmentWide(),
    "rand": autoaugment.RandAugment(),
}


def translated(image, right, down):
    return functional.affine(image, angle=0.0, translate=[right, down], scale=1.0, shear=[0.0, 0.0])


def padded_crop(image, padding, fill, top, left):
    bordered = functional.pad(image, padding, fill=tuple(fill))
    return functional.crop(bordered, top, left, image.height, image.width)


CHANGES = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "sharpness": functional.adjust_sharpness,
    "hue": functional.adjust_hue,
    "posterize": functional.posterize,
    "solarize": functional.solarize,
    "autocontrast": functional.autocontrast,
    "equalize": functional.equalize,
    "flip": functional.hflip,
    "rotate": functional.rotate,
    "translate": translated,
    "padded_crop": padded_crop,
    "policy": lambda image, name, magnitude: autoaugment._apply_op(
        image, name, magnitude, InterpolationMode.NEAREST, None
    ),
    "resized_crop": lambda image, top, left, height, width, size, interpolation: functional.resized_crop(
        image, top, left, height, width, size, InterpolationMode(interpolation)
    ),
    "transform": lambda image, matrix: image.transform(image.size, Image.AFFINE, matrix, Image.NEAREST),
}


def picture(kind, height, width, seed):
    if kind == "photograph":
        return picture_files.photograph(height, width, seed=seed)
    if kind == "flat":
        return Image.new("RGB", (width, height), (7, 99, 200))
    if kind == "few":
        # Few levels in one channel, one level in another, none missing in the third.
        image = Image.new("RGB", (width, height))
        image.putdata([(40 + 30 * (i % 3), 77, i % 256) for i in range(width * height)])
        return image
    if kind == "colors":
        # Every hue, every saturation, black and white among them.
        generator = torch.Generator().manual_seed(seed)
        values = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
        values[: height // 2] = values[: height // 2] // 64 * 85
        return Image.fromarray(values.numpy())
    raise ValueError(kind)


@command
def torchvision_changes(source, cases, output):
    """Each case [kind, height, width, change, arguments]: the picture before and after."""
    before, after = {}, {}
    for index, (kind, height, width, change, arguments) in enumerate(cases):
        image = picture(kind, height, width, index)
        before[str(index)] = pixels(image)
        after[str(index)] = pixels(CHANGES[change](image, *arguments))
    save_file(before, source)
    save_file(after, output)


@command
def torchvision_policy(name, width, height, bins, magnitude):
    """Every operation of a policy with its magnitudes: [name, magnitudes, signed]; of RandAugment the one magnitude."""
    if name == "trivial":
        space = autoaugment.TrivialAugmentWide(num_magnitude_bins=bins)._augmentation_space(bins)
    else:
        space = autoaugment.RandAugment(num_magnitude_bins=bins)._augmentation_space(bins, (height, width))
    operations = []
    for operation, (magnitudes, signed) in space.items():
        values = [float(value) for value in magnitudes.flatten()] if magnitudes.ndim > 0 else None
        if values is not None and name == "rand":
            values = [values[magnitude]]
        operations.append([operation, values, signed])
    return operations


@command
def torchvision_middles(sizes, ratio):
    """RandomResizedCrop's answer where no part can fit: [top, left, height, width] each."""
    answers = []
    for width, height in sizes:
        image = Image.new("L", (width, height))
        # Four times the area never fits.
        answers.append(list(RandomResizedCrop.get_params(image, (4.0, 4.0), ratio)))
    return answers


@command
def torchvision_regions(width, height, scale, ratio, count):
    """Moments of RandomResizedCrop's regions: means of the area's share, of log(width / height), of the place."""
    torch.manual_seed(0)
    image = Image.new("L", (width, height))
    totals = [0.0] * 4
    for _ in range(count):
        top, left, h, w = RandomResizedCrop.get_params(image, scale, ratio)
        for place, value in enumerate([h * w / (height * width), math.log(w / h), top / height, left / width]):
            totals[place] += value / count
    return totals


@command
def torchvision_erased(input, region, values, output):
    """The input with a rectangle erased, as RandomErasing does it."""
    tensors = load_file(input)
    value = tensors["values"] if values else torch.zeros(1, 1, 1)
    save_file({"erased": functional.erase(tensors["input"].clone(), *region, value)}, output)
    return isinstance(RandomErasing().value, int)


@command
def torchvision_mixed(input, output, classes, share=None, box=None):
    """A batch mixed: `share` of each picture and the rest of the one before it, or a box [left, top, right, bottom]."""
    tensors = load_file(input)
    images, labels = tensors["images"], tensors["targets"]
    if box is None:
        mix = v2.MixUp(num_classes=classes)
        params = {"lam": share}
    else:
        mix = v2.CutMix(num_classes=classes)
        left, top, right, bottom = box
        area = images.shape[-1] * images.shape[-2]
        params = {"box": box, "lam_adjusted": float(1.0 - (right - left) * (bottom - top) / area)}
    params |= {"labels": labels, "batch_size": len(images)}
    mixed = {"images": mix.transform(images, params), "targets": mix.transform(labels, params)}
    save_file(mixed, output)
