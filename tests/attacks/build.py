"""Bytes of pickles, archives and checkpoints, each part written out so that each can be wrong alone."""

import struct
import zlib

ATTACKS = []
MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
PROTOCOL = b"\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}."


def technique(number):
    """Marks a function that yields the files of README's proposal `number`.

    Each is (name, bytes, expected) or (name, bytes, expected, more). `expected` begins as the reader's answer does:
    the error and what it names, or "opens". `more` may hold `real` ("pickle" or "torch": with this, Python's own reader
    makes the canary), `memory` (bytes the file may take beside what any may) and `suffix`.
    """

    def mark(function):
        ATTACKS.append((number, function))
        return function

    return mark


# Pickles.


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value):
    raw = value.to_bytes(max(8, value.bit_length() // 8 + 1), "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module, attribute):
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def stack_name(module, attribute):
    return text(module) + text(attribute) + b"\x93"


def storage(key="0", numel=6, kind="FloatStorage"):
    numel = numel if isinstance(numel, bytes) else number(numel)
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + numel + b"tQ"


def sequence(numbers):
    return numbers if isinstance(numbers, bytes) else b"(" + b"".join(map(number, numbers)) + b"t"


def tensor(key="0", numel=6, offset=0, size=(2, 3), stride=(3, 1), kind="FloatStorage"):
    parts = storage(key, numel, kind) + number(offset) + sequence(size) + sequence(stride)
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + parts + b"\x89" + name("collections", "OrderedDict") + b")RtR"


def state_dict(*more, weight=None):
    """A plain state dict with one tensor, then whatever else: (key, value) as pickled."""
    pairs = [(text("features.conv0.weight"), tensor() if weight is None else weight), *more]
    return b"\x80\x02}(" + b"".join(key + value for key, value in pairs) + b"u."


def beside(value):
    """A state dict that holds `value` beside its tensor."""
    return state_dict((text("extra"), value))


# Archives.


class Member:
    """One member, and what its two headers say of it."""

    def __init__(self, name, data, **changed):
        raw = name if isinstance(name, bytes) else name.encode()
        self.name = self.local_name = raw
        self.data, self.method, self.flags, self.crc = data, 0, 0, 0
        self.size = self.compressed = len(data)
        self.extra = b""
        self.at = None
        self.__dict__.update(changed)


def deflate(data, level=9):
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def deflated(name, data, **changed):
    packed = deflate(data)
    return Member(name, packed, **{"method": 8, "size": len(data), **changed})


def archive(members, comment=b"", count=None, between=b"", shift=0):
    """As torch writes: sizes in the directory alone. A member with `at` has no bytes of its own."""
    body, directory = b"", b""
    for member in members:
        at = member.at
        if at is None:
            at = len(body)
            body += b"PK\x03\x04" + bytes(22) + struct.pack("<HH", len(member.local_name), 0) + member.local_name + member.data
        directory += b"PK\x01\x02" + bytes(4) + struct.pack("<HHHHI", member.flags, member.method, 0, 0, member.crc)
        directory += struct.pack("<II", member.compressed, member.size)
        directory += struct.pack("<HHHHHII", len(member.name), len(member.extra), 0, 0, 0, 0, at)
        directory += member.name + member.extra
    count = len(members) if count is None else count
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body) + shift, len(comment))
    return body + directory + between + b"PK\x05\x06" + end + comment


def torch_members(pickle, root="m", storages=None):
    storages = {"0": bytes(24)} if storages is None else storages
    members = [Member(f"{root}/data.pkl", pickle)]
    members += [Member(f"{root}/data/{key}", data) for key, data in storages.items()]
    return members + [Member(f"{root}/version", b"3\n")]


def zipped(pickle, **more):
    return archive(torch_members(pickle, **more))


# Legacy files and safetensors.


def old_ids(object):
    """Storage ids of the legacy format have one field more: which part of the storage is meant."""
    return object.replace(b"tQ", b"NtQ")


def legacy(object, storages=None, magic=MAGIC, protocol=PROTOCOL, system=SYSTEM, keys=None):
    storages = {"0": (6, bytes(24))} if storages is None else storages
    if keys is None:
        keys = b"\x80\x02](" + b"".join(map(text, storages)) + b"e."
    object = old_ids(object)
    data = b"".join(struct.pack("<q", count) + content for count, content in storages.values())
    return magic + protocol + system + object + keys + data


def safetensors(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data
