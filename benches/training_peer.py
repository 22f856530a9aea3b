"""A training step by PyTorch and torchvision, measured as `densenet bench train` measures ours; prints the same JSON.

    python benches/training_peer.py --arch densenet121 --batch-size 8 --variant plain

Variants: plain, channels_last, memory_efficient (torchvision's option), reference (the reference memory-efficient
implementation's checkpointing: the re-entrant form, which also runs the convolution again).

densenet-bc-L-k is torchvision's class with the paper's stem for 32×32 pictures: one 3×3 convolution.
"""

import argparse
import json
import re
import statistics
import time

import torch
import torch.nn.functional as F
import torchvision
from torch import nn


def memory(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def build(arch, variant):
    efficient = variant in ("memory_efficient", "reference")
    if variant == "reference":
        checkpoint = torchvision.models.densenet.cp.checkpoint

        def reentrant(function, *inputs, **options):
            return checkpoint(function, *inputs, **{**options, "use_reentrant": True})

        torchvision.models.densenet.cp.checkpoint = reentrant
    small = re.fullmatch(r"densenet-bc-(\d+)-(\d+)", arch)
    if arch == "densenet264":  # of the paper; torchvision has no builder
        return torchvision.models.DenseNet(32, (6, 12, 64, 48), 64, memory_efficient=efficient), 224, 1000
    if not small:
        return getattr(torchvision.models, arch)(memory_efficient=efficient), 224, 1000
    depth, growth_rate = map(int, small.groups())
    layers = (depth - 4) // 6
    model = torchvision.models.DenseNet(
        growth_rate, (layers,) * 3, 2 * growth_rate, num_classes=10, memory_efficient=efficient
    )
    model.features.conv0 = nn.Conv2d(3, 2 * growth_rate, 3, padding=1, bias=False)
    for name in ("norm0", "relu0", "pool0"):
        setattr(model.features, name, nn.Identity())
    return model, 32, 10


def tensor_bytes(forward):
    """Bytes a forward pass leaves allocated, and the most that it and backward have at once, as PyTorch's CPU allocator
    reports them to its profiler."""
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        loss = forward()
    kept = sum(event.self_cpu_memory_usage for event in profile.events())
    del loss
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        forward().backward()
    live = peak = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return kept, peak


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arch", default="densenet121")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--size", type=int)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--kept", action="store_true", help="count kept_bytes and peak_tensor_bytes, in passes of their own after the steps")
    parser.add_argument(
        "--variant", choices=["plain", "channels_last", "memory_efficient", "reference"], default="plain"
    )
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model, size, classes = build(args.arch, args.variant)
    size = args.size or size
    pictures = torch.randn(args.batch_size, 3, size, size)
    if args.variant == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(classes, (args.batch_size,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def forward():
        return F.cross_entropy(model(pictures), targets)

    before = memory("VmRSS")
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    times, first = [], None
    for step in range(args.steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = forward()
        loss.backward()
        optimizer.step()
        value = loss.item()
        first = value if step == 0 else first
        if step > 0:
            times.append((time.perf_counter() - start) * 1000)
    peak = memory("VmHWM")
    del loss
    kept = peak_tensors = None
    if args.kept:
        optimizer.zero_grad()
        kept, peak_tensors = tensor_bytes(forward)
    print(
        json.dumps(
            {
                "step_ms": statistics.median(times),
                "step_ms_min": min(times),
                "activation_bytes": peak - before,
                "kept_bytes": kept,
                "peak_tensor_bytes": peak_tensors,
                "peak_rss_bytes": peak,
                "first_loss": first,
                "loss": value,
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
