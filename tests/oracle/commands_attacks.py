"""The attacks of tests/attacks: made, and shown to work on Python's own reader where they are meant for it."""

import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tempfile

import torch
import torchvision

from registry import command

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "attacks"))

import build  # noqa: E402
import make  # noqa: E402


@command
def attack_files(folder, only_real):
    return make.write(pathlib.Path(folder), only_real)


@command
def attack_works(path, reader, canary):
    """Whether the canary appears when Python's pickle, or torch, reads the file. It is taken away again."""
    canary = pathlib.Path(canary)
    assert not canary.exists()
    try:
        if reader == "pickle":
            with open(path, "rb") as file:
                pickle.load(file)
        else:
            torch.load(path, weights_only=False)
    except Exception:  # many break once they have run
        pass
    worked = canary.exists()
    canary.unlink(missing_ok=True)
    return worked


GIB = 1 << 30


@command
def sparse_checkpoints(folder):
    """Files of 2 GiB in each format, all of it a hole but the description and one tensor of 8 MB: (name, path)."""
    folder = pathlib.Path(folder)
    sizes = {"a.weight": GIB, "b.weight": GIB, "small.weight": 8 << 20}
    pairs = b"".join(
        build.text(name) + build.tensor(key=str(i), numel=size // 4, size=(size // 4,), stride=(1,))
        for i, (name, size) in enumerate(sizes.items())
    )
    pickled = b"\x80\x02}(" + pairs + b"u."
    keys = b"\x80\x02](" + b"".join(build.text(str(i)) for i in range(len(sizes))) + b"e."

    def save(name, parts):
        """Bytes as they are, numbers as holes of that length."""
        with open(folder / name, "wb") as file:
            for part in parts:
                if isinstance(part, bytes):
                    file.write(part)
                else:
                    file.seek(part, os.SEEK_CUR)
            file.truncate(file.tell())

    filled = [GIB, GIB, b"\1" * (8 << 20)]
    counted = [part for size, data in zip(sizes.values(), filled) for part in [(size // 4).to_bytes(8, "little"), data]]
    head = build.MAGIC + build.PROTOCOL + build.SYSTEM + build.old_ids(pickled) + keys
    save("legacy.pth", [head, *counted])

    offsets, header = 0, {}
    for name, size in sizes.items():
        header[name] = {"dtype": "F32", "shape": [size // 4], "data_offsets": [offsets, offsets + size]}
        offsets += size
    save("sparse.safetensors", [build.safetensors(json.dumps(header)), *filled])

    parts, directory, at = [], b"", 0
    contents = [("m/data.pkl", pickled), ("m/version", b"3\n"), *((f"m/data/{i}", data) for i, data in enumerate(filled))]
    for name, data in contents:
        size = len(data) if isinstance(data, bytes) else data
        local = b"PK\x03\x04" + bytes(22) + struct.pack("<HH", len(name), 0) + name.encode()
        directory += b"PK\x01\x02" + bytes(16) + struct.pack("<IIHHHHHII", size, size, len(name), 0, 0, 0, 0, 0, at) + name.encode()
        parts += [local, data]
        at += len(local) + size
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(contents), len(contents), len(directory), at, 0)
    save("zip.pth", [*parts, directory + end])
    return [[name, str(folder / name)] for name in ["legacy.pth", "sparse.safetensors", "zip.pth"]]


# In a process of its own: what a child inherits of its parent's memory counts as its own.
PEAK = """
import os, sys
process = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(process, 0)
print(status, used.ru_maxrss)
"""


@command
def peak_memory(arguments):
    """Kilobytes of memory that a command has at its largest; what it prints is thrown away."""
    run = [sys.executable, "-I", "-S", "-c", PEAK, *arguments]
    with tempfile.TemporaryFile("w+") as printed:
        result = subprocess.run(run, stdout=subprocess.PIPE, stderr=printed, text=True, check=True)
    status, peak = result.stdout.splitlines()[-1].split()
    assert status == "0", result.stdout
    return int(peak)


@command
def official_checkpoints(folder, arch):
    """A network's weights as torchvision publishes them, in both of torch's formats: [legacy, zip]."""
    state = getattr(torchvision.models, arch)().state_dict()
    state = {key: value for key, value in state.items() if "num_batches" not in key}
    paths = []
    for zipped in [False, True]:
        path = pathlib.Path(folder) / f"{arch}-{zipped}.pth"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        paths.append(str(path))
    return paths
