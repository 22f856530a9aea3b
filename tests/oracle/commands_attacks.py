"""The attacks of tests/attacks: made, and shown to work on Python's own reader where they are meant for it."""

import os
import pathlib
import pickle
import sys

import torch

from registry import command

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "attacks"))

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
