"""Makes examples/images: the first three pictures of each class in Fashion-MNIST's test set, in the set's order.

    apt-get install dataset-fashion-mnist
    python3 scripts/example_images.py      # needs numpy and Pillow

They are what comes first, not what is classified rightly.
"""

import gzip
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

DATA = Path("/usr/share/datasets/fashion-mnist")
ROOT = Path(__file__).resolve().parent.parent
A_CLASS = 3

images = np.frombuffer(gzip.open(DATA / "t10k-images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 28, 28)
labels = np.frombuffer(gzip.open(DATA / "t10k-labels-idx1-ubyte.gz").read(), np.uint8, offset=8)
categories = json.loads((ROOT / "weights/fashion_mnist.json").read_text())["categories"]

for number, category in enumerate(categories):
    slug = re.sub("[^a-z0-9]+", "_", category.lower())
    for i, at in enumerate(np.flatnonzero(labels == number)[:A_CLASS]):
        Image.fromarray(images[at]).save(ROOT / f"examples/images/{slug}_{i + 1}.png", optimize=True)
