"""What `densenet classify PHOTO --weights FILE` does, as a PyTorch user writes it: python classify.py FILE PHOTO."""

import re
import sys

import torch
import torchvision
from PIL import Image

weights, photo = sys.argv[1:]
state = torch.load(weights, weights_only=True)
state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): t for name, t in state.items()}
model = torchvision.models.densenet121()
model.load_state_dict(state)
model.eval()
preset = torchvision.models.DenseNet121_Weights.DEFAULT
batch = preset.transforms()(Image.open(photo).convert("RGB")).unsqueeze(0)
with torch.no_grad():
    best = model(batch).softmax(1)[0].topk(5)
names = preset.meta["categories"]
line = ", ".join(f"{names[i]} {100 * p:.1f} %" for p, i in zip(best.values.tolist(), best.indices.tolist()))
print(f"{photo}: {line}")
