"""PyTorch as a participant of the benchmarks: answers JSON lines (benches/peer/mod.rs says how).

torch is imported by the commands that need it: the process that starts others stays small.
"""

import json
import os
import re
import sys
import time
import traceback

# Answers own the real stdout; whatever a library prints goes to stderr.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

COMMANDS = {}


def command(function):
    COMMANDS[function.__name__] = function
    return function


# --- inference ---

prepared = None


@command
def prepare(arch, weights, input, channels_last, threads):
    """Loads the network and the input; logits, as the integers of their bits."""
    global prepared
    import torch
    import torchvision
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    model = getattr(torchvision.models, arch)()
    model.load_state_dict(load_file(weights))
    model.eval()
    batch = load_file(input)["input"]
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        batch = batch.contiguous(memory_format=torch.channels_last)
    prepared = model, batch
    with torch.no_grad():
        logits = model(batch)
    return {"logits": logits.view(torch.int32).flatten().tolist(), "version": torch.__version__}


@command
def forward(count):
    import torch

    model, batch = prepared
    with torch.no_grad():
        start = time.perf_counter()
        for _ in range(count):
            model(batch)
        return {"seconds": time.perf_counter() - start}


# --- loading ---

model = None

# torchvision.models.densenet._load_state_dict
OLD_NAMES = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")


def torchvision_names(state):
    for key in list(state.keys()):
        old = OLD_NAMES.match(key)
        if old:
            state[old.group(1) + old.group(2)] = state.pop(key)
    return state


@command
def official_file(arch, path, zip):
    """A file such as torchvision publishes: names of the old form, no num_batches_tracked, the format before zip."""
    import torch
    import torchvision

    torch.manual_seed(0)
    state = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): tensor
        for name, tensor in getattr(torchvision.models, arch)().state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(state, path, _use_new_zipfile_serialization=zip)
    return None


@command
def prepare_loading(arch, threads):
    global model
    import torch
    import torchvision

    torch.set_num_threads(threads)
    model = getattr(torchvision.models, arch)()
    return {"version": torch.__version__}


@command
def load(arch, path, into):
    """Seconds until the network is ready. `into`: the network already there, a fresh one, a fresh one without memory of
    its own that takes the file's tensors over, nothing (torch.load alone), or only names and shapes."""
    import torch
    import torchvision

    start = time.perf_counter()
    if into == "names":
        zipped = torch.serialization._is_zipfile(open(path, "rb"))
        state = torch.load(path, weights_only=True, mmap=True) if zipped else torch.load(path, weights_only=True, map_location="meta")
    else:
        state = torch.load(path, weights_only=True)
    loaded = time.perf_counter()
    if into == "built":
        model.load_state_dict(torchvision_names(state))
    elif into == "fresh":
        getattr(torchvision.models, arch)().load_state_dict(torchvision_names(state))
    elif into == "meta":
        with torch.device("meta"):
            fresh = getattr(torchvision.models, arch)()
        fresh.load_state_dict(torchvision_names(state), assign=True)
    elif into not in ["nothing", "names"]:
        raise ValueError(into)
    end = time.perf_counter()
    return {"seconds": end - start, "torch_load_seconds": loaded - start}


# --- the loader ---

loader = None


@command
def photographs(source, folder, count):
    """A folder with one class: photographs of `source` (scikit-image's; made up where it is null), about 500×375, quality 90."""
    import random

    import torch
    import torchvision
    from PIL import Image, ImageOps

    draw = random.Random(0)
    names = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg"]
    os.makedirs(os.path.join(folder, "photographs"))
    for index in range(count):
        path = os.path.join(folder, "photographs", f"{index:05}.jpg")
        if source is None:
            photograph(path, 500, 375)
            continue
        picture = Image.open(os.path.join(source, names[index % len(names)])).convert("RGB")
        width = draw.randint(430, 570)
        size = (width, round(width * draw.uniform(0.66, 0.8)))
        picture = ImageOps.fit(picture if index % 2 else ImageOps.mirror(picture), size)
        picture.save(path, quality=90)
    return f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {Image.__version__}"


@command
def prepare_loader(folder, recipe, workers, batch_size):
    global loader
    import torch
    import torchvision
    from torchvision import transforms
    from torchvision.transforms._presets import ImageClassification

    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    if recipe == "none":
        transform = ImageClassification(crop_size=224)
    else:
        # references/classification/presets.py, ClassificationPresetTrain on PIL images
        transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.PILToTensor(),
                transforms.ConvertImageDtype(torch.float),
                transforms.Normalize(mean, std),
            ]
        )
    dataset = torchvision.datasets.ImageFolder(folder, transform)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return None


@command
def load_epoch():
    start = time.perf_counter()
    pictures = sum(len(images) for images, _ in loader)
    seconds = time.perf_counter() - start
    assert pictures == len(loader.dataset)
    return {"seconds": seconds}


# --- whole processes ---


@command
def photograph(path, width, height):
    """A JPEG with structure at every scale, the same every time."""
    import random

    from PIL import Image

    draw = random.Random(0)
    picture = Image.new("RGB", (1, 1))
    for size in (4, 16, 64, 256):
        noise = Image.frombytes("RGB", (size, size), draw.randbytes(3 * size * size)).resize((width, height))
        picture = Image.blend(picture.resize((width, height)), noise, 0.5)
    picture.save(path, quality=90)
    return None


@command
def run(arguments):
    """Runs a process: wall seconds, its peak resident memory, and what it printed."""
    read, write = os.pipe()
    start = time.perf_counter()
    child = os.posix_spawnp(
        arguments[0],
        arguments,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, write, 1),
        ],
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        output = pipe.read()
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise RuntimeError(f"{arguments} ended with status {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_rss_mb": usage.ru_maxrss * unit / 1e6,
        "output": output,
    }


for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"result": COMMANDS[request.pop("command")](**request)}
    except Exception:  # the benchmark prints it and stops
        answer = {"error": traceback.format_exc()}
    answers.write(json.dumps(answer) + "\n")
