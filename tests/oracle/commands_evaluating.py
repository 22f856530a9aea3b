"""What scores of a network are, by their definitions; and torchvision's ten crops."""

import os

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms import functional

from registry import command


def expected_calibration_error(confidences, hits, bins):
    """Guo et al. 2017, equations 2 and 3, bin by bin."""
    ece, mce, counts = 0.0, 0.0, []
    for m in range(bins):
        members = [i for i, c in enumerate(confidences) if m / bins < c <= (m + 1) / bins or (m == 0 and c == 0.0)]
        counts.append(len(members))
        if members:
            accuracy = sum(hits[i] for i in members) / len(members)
            confidence = sum(confidences[i] for i in members) / len(members)
            ece += len(members) / len(confidences) * abs(accuracy - confidence)
            mce = max(mce, abs(accuracy - confidence))
    return {"ece": ece, "mce": mce, "counts": counts}


def divided(a, b):
    return a / b if b else None


def precision_recall_f1(truth, predicted):
    """Of one class: arrays of booleans."""
    hits = int((truth & predicted).sum())
    precision, recall = divided(hits, int(predicted.sum())), divided(hits, int(truth.sum()))
    if precision is None and recall is None:
        f1 = None
    elif not precision or not recall:
        f1 = 0.0
    else:
        f1 = 2 * precision * recall / (precision + recall)
    return precision, recall, f1


def macro(values, truths):
    kept = [value or 0.0 for value, truth in zip(values, truths) if truth.any()]
    return sum(kept) / len(kept)


@command
def scores_of_classes(input, bins):
    """`logits` [N, C] and `targets` [N]."""
    tensors = load_file(input)
    logits, targets = tensors["logits"].double(), tensors["targets"]
    classes = logits.shape[1]
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    probabilities = logits.softmax(1)
    confidences, predicted = probabilities.max(1)
    hits = predicted == targets
    order = torch.argsort(logits, dim=1, descending=True)[:, :5]
    confusion = np.zeros((classes, classes), dtype=int)
    for t, p in zip(targets.tolist(), predicted.tolist()):
        confusion[t][p] += 1
    truths = [(targets == c).numpy() for c in range(classes)]
    scores = [precision_recall_f1(truths[c], (predicted == c).numpy()) for c in range(classes)]
    wrong = [i for i in torch.argsort(losses, descending=True, stable=True).tolist() if not hits[i]]
    return {
        "top1": hits.double().mean().item(),
        "top5": (order == targets[:, None]).any(1).double().mean().item(),
        "loss": losses.mean().item(),
        "confusion": confusion.tolist(),
        "scores": scores,
        "macro": [macro([score[k] for score in scores], truths) for k in range(3)],
        "calibration": expected_calibration_error(confidences.tolist(), hits.tolist(), bins),
        "mistakes": wrong,
        "confidences": confidences.tolist(),
        "predicted": predicted.tolist(),
    }


def area_under_curve(scores, truth):
    """The share of pairs (positive, negative) in the right order, ties counting one half."""
    positives, negatives = scores[truth], scores[~truth]
    if len(positives) == 0 or len(negatives) == 0:
        return None
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    return float(sum(pairs) / len(pairs))


@command
def scores_of_labels(input, bins):
    """`logits` [N, C] and `targets` [N, C] of zeros and ones."""
    tensors = load_file(input)
    logits, targets = tensors["logits"].double(), tensors["targets"].double()
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)
    probabilities = logits.sigmoid()
    truth, predicted = targets.bool().numpy(), (probabilities > 0.5).numpy()
    labels = range(logits.shape[1])
    scores = [precision_recall_f1(truth[:, c], predicted[:, c]) for c in labels]
    areas = [area_under_curve(logits[:, c].numpy(), truth[:, c]) for c in labels]
    wrong = (truth != predicted).any(1)
    order = torch.argsort(losses, descending=True, stable=True).tolist()
    return {
        "loss": losses.mean().item(),
        "exact_match": float((~wrong).mean()),
        "scores": scores,
        "areas": areas,
        "macro": [macro([score[k] for score in scores], truth.T) for k in range(3)],
        "macro_area": float(np.mean([area for area in areas if area is not None])),
        "calibration": expected_calibration_error(
            probabilities.flatten().tolist(), truth.flatten().tolist(), bins
        ),
        "mistakes": [i for i in order if wrong[i]],
    }


@command
def torchvision_ten_crops(folder, names, preset, output):
    """Resize, TenCrop, ToTensor, Normalize of each file."""
    results = {}
    for name in names:
        image = Image.open(os.path.join(folder, name)).convert("RGB")
        if preset["channels"] == 1:
            image = functional.to_grayscale(image, 1)
        image = functional.resize(image, [preset["resize_size"]])
        crops = functional.ten_crop(image, preset["crop_size"])
        tensors = [functional.convert_image_dtype(functional.pil_to_tensor(crop), torch.float) for crop in crops]
        results[name] = torch.stack([functional.normalize(t, preset["mean"], preset["std"]) for t in tensors])
    save_file(results, output)


@command
def parse_xml(path):
    """Every SVG document in an HTML page, or the SVG file itself, through a strict parser: how many there are."""
    import re
    import xml.etree.ElementTree as ElementTree

    with open(path, encoding="utf-8") as file:
        text = file.read()
    documents = re.findall(r"<svg .*?</svg>", text, re.DOTALL)
    for document in documents:
        ElementTree.fromstring(document)
    return len(documents)
