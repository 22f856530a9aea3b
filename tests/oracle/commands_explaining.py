"""Grad-CAM, Grad-CAM++ and pooled features of torchvision's networks."""

import json

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchvision.models import DenseNet

from registry import command


def network(config, weights):
    model = DenseNet(
        growth_rate=config["growth_rate"],
        block_config=config["block_config"],
        num_init_features=config["num_init_features"],
        num_classes=config["num_classes"],
    )
    model.load_state_dict(load_file(weights))
    return model.eval()


@command
def torchvision_cams(config, weights, input, classes, output):
    """Maps of each class for one input, by the papers' equations. The last ReLU of torchvision's forward works in place on
    norm5's output: it is applied out of place here, to keep what the maps are of."""
    model = network(config, weights)
    x = load_file(input)["input"]
    results = {}
    for label in classes:
        features = model.features(x)
        features.retain_grad()
        pooled = torch.nn.functional.adaptive_avg_pool2d(torch.relu(features), (1, 1)).flatten(1)
        logits = model.classifier(pooled)
        chosen = logits[0].argmax().item() if label is None else label
        logits[0, chosen].backward()
        a, g = features.detach()[0], features.grad[0]
        alpha = g.mean((1, 2))
        results[f"{label}.grad-cam"] = torch.relu((alpha[:, None, None] * a).sum(0))
        divisor = 2 * g**2 + a.sum((1, 2))[:, None, None] * g**3 + 1e-6
        alpha = torch.where(g != 0, g**2 / divisor, torch.zeros(()))
        weight = (alpha * torch.relu(g)).sum((1, 2))
        results[f"{label}.grad-cam++"] = torch.relu((weight[:, None, None] * a).sum(0))
        results[f"{label}.class"] = torch.tensor(chosen)
        results["logits"] = logits.detach()[0]
    save_file({name: tensor.contiguous() for name, tensor in results.items()}, output)


@command
def torchvision_features(config, weights, input, output):
    """What the classifier is given."""
    model = network(config, weights)
    with torch.no_grad():
        features = torch.relu(model.features(load_file(input)["input"]))
        save_file({"features": torch.nn.functional.adaptive_avg_pool2d(features, (1, 1)).flatten(1)}, output)


@command
def read_embeddings(path, output):
    """A file of features as its readers see it: the text beside the numbers."""
    if path.endswith(".npy"):
        features = np.load(path)
        with open(path[: -len("npy")] + "json") as file:
            about = json.load(file)
    else:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata()
        features = tensors["features"].numpy()
        about = {"names": json.loads(metadata["names"]), "weights": metadata["weights"]}
        about["classes"] = json.loads(metadata["classes"]) if "classes" in metadata else None
        about["labels"] = tensors["labels"].tolist() if "labels" in tensors else None
    save_file({"features": torch.from_numpy(np.array(features))}, output)
    return about
