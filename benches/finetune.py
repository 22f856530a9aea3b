"""An epoch of Fashion-MNIST by a plain PyTorch script of `densenet finetune`'s recipe; prints one JSON object.

    python benches/finetune.py --data FOLDER --arch densenet-bc-40-12 --batch-size 64

torchvision's DenseNet class with the paper's small stem, SGD with Nesterov momentum, one cycle of the learning rate, PIL
pictures through RandomCrop and RandomHorizontalFlip in a DataLoader's workers.
"""

import argparse
import gzip
import json
import os
import time

import numpy
import torch
import torch.nn.functional as F
import torchvision.transforms as T
from PIL import Image
from training_peer import build


def idx(folder, name):
    path = os.path.join(folder, name)
    opened = gzip.open(path + ".gz") if os.path.exists(path + ".gz") else open(path, "rb")
    with opened as file:
        data = file.read()
    rank = data[3]
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    return numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * rank).reshape(shape)


class Pictures(torch.utils.data.Dataset):
    def __init__(self, folder):
        self.images = idx(folder, "train-images-idx3-ubyte")
        self.labels = idx(folder, "train-labels-idx1-ubyte")
        self.transform = T.Compose(
            [
                T.RandomCrop(28, padding=4),
                T.RandomHorizontalFlip(),
                T.ToTensor(),
                T.Normalize([self.images.mean() / 255], [self.images.std() / 255]),
            ]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--arch", default="densenet-bc-40-12")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model, _, _ = build(args.arch, "plain")
    old = model.features.conv0
    model.features.conv0 = torch.nn.Conv2d(1, old.out_channels, 3, padding=1, bias=False)
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    loader = torch.utils.data.DataLoader(
        Pictures(args.data), args.batch_size, shuffle=True, num_workers=args.workers
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, len(loader), cycle_momentum=False)
    model.train()
    losses, images = 0.0, 0
    start = time.perf_counter()
    for x, target in loader:
        if args.channels_last:
            x = x.to(memory_format=torch.channels_last)
        loss = F.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses, images = losses + loss.item() * len(x), images + len(x)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "images": images, "loss": losses / images}))


main()
