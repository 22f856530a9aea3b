"""Makes every attack of README.md as a file.

    python tests/attacks/make.py FOLDER

writes the files and `manifest.json`. Nothing here opens them; `commands_attacks.py` of the oracle does, where Python's
own reader shows that an attack works.
"""

import json
import pathlib
import sys

import build
import calls  # noqa: F401  (marks its techniques)
import archives  # noqa: F401
import structures  # noqa: F401
import headers  # noqa: F401


class Canary:
    """The file that a pickle would make if it ran, and the shell command for that."""

    def __init__(self, path):
        self.path = str(path)
        self.command = f"touch {self.path}"


def files(folder):
    """(technique, name, bytes, expected, more) of every attack; their canaries would lie in `folder`."""
    for number, function in sorted(build.ATTACKS, key=lambda attack: attack[0]):
        # One canary a technique: it names who ran.
        canary = Canary(folder / f"canary-{number}")
        for name, data, expected, *more in function(canary):
            yield number, name, data, expected, more[0] if more else {}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    manifest = write(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    print(f"{len(manifest)} files in {folder}")


def write(folder, only_real=False):
    manifest = []
    for index, (number, name, data, expected, more) in enumerate(files(folder)):
        if only_real and "real" not in more:
            continue
        path = folder / f"{number:02}-{index:04}{more.get('suffix', '.pth')}"
        path.write_bytes(data)
        case = {"technique": number, "name": name, "path": str(path), "expected": expected}
        manifest.append({**case, "canary": str(folder / f"canary-{number}"), **more})
    return manifest


if __name__ == "__main__":
    main()
