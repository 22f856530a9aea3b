"""References made by the script that users get."""

import importlib.util
import os

import torch
from picture_files import photograph
from registry import command

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "make_reference.py")


@command
def parity_script(arguments):
    spec = importlib.util.spec_from_file_location("make_reference", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(arguments)


@command
def parity_picture(path, width=320, height=270):
    photograph(height, width).save(path)


@command
def parity_cpu_capability():
    return torch.backends.cpu.get_cpu_capability()
