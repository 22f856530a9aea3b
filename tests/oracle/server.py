"""The oracle: real PyTorch, answering the tests' questions one JSON line at a time.

A request is {"command": NAME, ...arguments}; the answer is {"result": ...} or {"error": traceback}. Tensors travel in
files: .safetensors both ways, other formats where a test is about them. Commands are the functions marked with
@command in the modules imported below.
"""

import importlib
import json
import os
import sys
import traceback

# Answers own the real stdout; whatever a library prints goes to stderr.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

from registry import COMMANDS  # noqa: E402

for module in sorted(os.listdir(os.path.dirname(os.path.abspath(__file__)))):
    if module.startswith("commands_") and module.endswith(".py"):
        importlib.import_module(module[:-3])

for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"result": COMMANDS[request.pop("command")](**request)}
    except Exception:  # the test prints it and fails
        answer = {"error": traceback.format_exc()}
    answers.write(json.dumps(answer) + "\n")
