"""Seeds for the fuzzers: small honest files of every kind, and the attacks of tests/attacks.

    python fuzz/seeds.py fuzz/corpus

Needs the packages of tests/oracle/requirements.txt.
"""

import io
import pathlib
import sys
import zipfile
import zlib

here = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(here.parent / "tests" / "attacks")]

import safetensors.torch  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

import build  # noqa: E402
import make  # noqa: E402

# Longer inputs make slow fuzzing.
LONGEST = 16_384
# What fuzz_targets/legacy.rs puts in front.
START = build.MAGIC + build.PROTOCOL + build.SYSTEM


def honest():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    weight = torch.nn.Parameter(torch.rand(2, 3))
    weight.note = 1
    objects = [
        net.state_dict(),
        net,
        {"state_dict": net.half().state_dict(), "optimizer": {}, "epoch": 1},
        {"a.weight": weight, "b.weight": weight.detach().t(), "c.weight": torch.ones(2).double()},
    ]
    for object in objects:
        for protocol in [1, 2, 4]:
            for zipped in [True, False]:
                if protocol == 1 and zipped:
                    continue
                file = io.BytesIO()
                torch.save(object, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
                yield file.getvalue()
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 2)), script)
    yield script.getvalue()


def seeds():
    attacks = [data for _, _, data, _, _ in make.files(pathlib.Path("canary"))]
    for data in [*honest(), *attacks]:
        if data.startswith(b"PK\x03\x04"):
            yield "zip", data[4:]
            try:
                with zipfile.ZipFile(io.BytesIO(data)) as archive:
                    for member in archive.namelist():
                        if member.endswith("data.pkl") and archive.getinfo(member).file_size < LONGEST:
                            yield "pickle", archive.read(member)
            except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError):
                pass
        elif data.startswith(build.MAGIC):
            yield "legacy", data[data.index(b".\x80\x02}", 20) + 1 :] if not data.startswith(START) else data[len(START) :]
        elif data[8:9] == b"{":
            length = int.from_bytes(data[:8], "little")
            yield "safetensors", bytes([min(255, len(data) - 8 - length) if length < len(data) else 0]) + data[8 : 8 + length]
        elif data.startswith(b"\x80"):
            yield "pickle", data
    tensors = {"features.conv0.weight": torch.rand(2, 1, 3, 3), "n": torch.tensor(1), "h.bias": torch.rand(2).half()}
    for names in [list(tensors), ["n"], []]:
        data = safetensors.torch.save({name: tensors[name] for name in names}, metadata={"format": "pt"})
        length = int.from_bytes(data[:8], "little")
        yield "safetensors", bytes([len(data) - 8 - length]) + data[8 : 8 + length]
    yield from pictures()


def pictures():
    for size in [(3, 2), (17, 16)]:
        for mode in ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"]:
            picture = Image.new("L", size)
            picture.putdata([(7 * i) % 256 for i in range(size[0] * size[1])])
            picture = Image.new(mode, size, 7) if mode == "I;16" else picture.convert(mode)
            for format, options in [
                ("BMP", {}),
                ("GIF", {}),
                ("JPEG", {}),
                ("JPEG", {"progressive": True, "subsampling": 2}),
                ("PNG", {}),
                ("PPM", {}),
                ("TIFF", {}),
                ("TIFF", {"compression": "tiff_lzw"}),
                ("TIFF", {"compression": "tiff_adobe_deflate"}),
                ("TIFF", {"compression": "packbits"}),
                ("WEBP", {"lossless": True}),
                ("WEBP", {}),
            ]:
                file = io.BytesIO()
                try:
                    picture.save(file, format, **options)
                except (OSError, ValueError, KeyError):
                    continue
                yield "picture", file.getvalue()
    frames = [Image.new("P", (5, 4), i) for i in range(3)]
    for format in ["GIF", "PNG", "WEBP", "TIFF"]:
        file = io.BytesIO()
        frames[0].save(file, format, save_all=True, append_images=frames[1:])
        yield "picture", file.getvalue()


def main():
    folder = pathlib.Path(sys.argv[1])
    count = 0
    for target, data in seeds():
        if len(data) > LONGEST:
            continue
        place = folder / f"fuzz_target_{target}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"seed-{count:05}").write_bytes(data)
        count += 1
    print(f"{count} seeds in {folder}")


if __name__ == "__main__":
    main()
