"""Zip archives that lie, and files that are several formats at once."""

import io
import struct
import tarfile

from build import Member, archive, beside, deflate, deflated, legacy, name, safetensors, state_dict, storage, technique, tensor, text, torch_members, zipped

MB = 1 << 20


def changed(index, **fields):
    members = torch_members(state_dict())
    members[index].__dict__.update(fields)
    return archive(members)


@technique(16)
def flags(canary):
    for bit, expected in [(0x1, "Encrypted"), (0x40, "Encrypted"), (0x2000, "Encrypted"), (0x20, "Patched")]:
        yield f"flag {bit:#x} on data.pkl", changed(0, flags=bit), f"Member m/data.pkl {expected}"
        yield f"flag {bit:#x} on a storage", changed(1, flags=bit), f"Member m/data/0 {expected}"
    yield "a method that is not read", changed(0, method=99), "Member m/data.pkl Compression"
    yield "bzip2", changed(1, method=12), "Member m/data/0 Compression"
    for index, wanted in [(0, "m/data.pkl"), (1, "m/data/0")]:
        yield f"{wanted} under another name in front", changed(index, local_name=wanted[:-1].encode() + b"x"), f"Member {wanted} LocalName"
    yield "a wrong CRC", changed(1, crc=0xDEADBEEF), "opens"
    yield "a wrong extension", zipped(state_dict()), "opens", {"suffix": ".jpg"}
    members = torch_members(state_dict())
    members[0].name = members[0].local_name = b"m/weights.pkl"
    yield "the pickle under another name", archive(members), "Foreign OtherZip"
    yield "7z", b"7z\xbc\xaf\x27\x1c" + bytes(200), "Foreign SevenZip"
    yield "two sizes of one stored member", changed(1, size=25), "Member m/data/0 StoredSize"


@technique(17)
def bombs(canary):
    zeros = bytes(256 * MB)
    packed = deflate(zeros)
    inflated = {"memory": 33 * MB}
    pickle = state_dict(weight=tensor(numel=64 * MB, size=(64 * MB,), stride=(1,)))
    bomb = torch_members(pickle)
    bomb[1] = Member("m/data/0", packed, method=8, size=256 * MB)
    yield "a storage of 256 MB in 256 KB", archive(bomb), "LimitExceeded the length of deflated storages"
    bomb[1] = Member("m/data/0", packed, method=8, size=24)
    yield "256 MB that are declared as 24 bytes", archive([torch_members(state_dict())[0], *bomb[1:]]), "reads: Member 0 Inflate"
    bomb[1] = Member("m/data/0", packed[:1000], method=8, size=2**32 - 2)
    yield "4 GB declared of 1000 bytes", archive(bomb), "LimitExceeded the length of deflated storages"
    wide = struct.pack("<HHQ", 1, 8, 40 << 30)
    bomb[1] = Member("m/data/0", packed, method=8, size=2**32 - 1, extra=wide)
    yield "40 GB declared", archive(bomb), "LimitExceeded the length of deflated storages"
    parts = {f"{i}": None for i in range(100)}
    pairs = b"".join(text(f"w{i}") + tensor(key=i, numel=MB, size=(MB,), stride=(1,)) for i in parts)
    many = [Member("m/data.pkl", b"\x80\x02}(" + pairs + b"u."), Member("m/version", b"3")]
    small = deflate(bytes(4 * MB))
    many += [Member(f"m/data/{i}", small, method=8, size=4 * MB) for i in parts]
    yield "100 storages of 4 MB in 4 KB each", archive(many), "LimitExceeded the length of deflated storages"
    for form, content, expected in [
        ("a pickle of 1 MB of values", b"\x80\x02(" + b")" * (MB - 4) + b"t", "Truncated the pickle"),
        ("a pickle of 1 MB and one", b"\x80\x02" + bytes(MB), "LimitExceeded the length of a deflated zip member"),
        ("a pickle of 64 MB", b"\x80\x02" + bytes(64 * MB), "LimitExceeded the length of a deflated zip member"),
        ("a pickle that is one string of 900 KB", state_dict((text(bytes(900_000)), b"N")), "opens"),
    ]:
        members = torch_members(state_dict())
        members[0] = deflated("m/data.pkl", content)
        yield form, archive(members), expected, {"memory": 160 * MB} if "values" in form else {}
    yield "a version of 60 MB", archive([*torch_members(state_dict())[:2], deflated("m/version", bytes(60 * MB))]), "LimitExceeded"
    old = legacy(state_dict()) + bytes(256 * MB)
    yield "a legacy file of 256 MB in 256 KB", archive([deflated("model.pth", old)]), "LimitExceeded"
    lie = Member("model.pth", deflate(legacy(state_dict())), method=8, size=15 * MB)
    yield "15 MB declared of a legacy file", archive([lie]), "Member model.pth Inflate", inflated
    yield ".npz", archive([deflated("arr_0.npy", zeros)]), "Foreign Npz"
    yield "not deflate at all", archive([Member("m/data.pkl", b"\xff" * 50, method=8, size=60), *torch_members(b"")[1:]]), "Member m/data.pkl Inflate"
    # Each member is the next one's wrapping: the "better zip bomb".
    kernel = deflate(bytes(MB))
    first = Member("m/data.pkl", kernel, method=8, size=MB)
    inside = [Member(f"m/data/{i}", b"", at=0, compressed=len(kernel), size=MB, method=8, local_name=b"m/data.pkl") for i in range(100)]
    yield "100 members on the same bytes", archive([first, *inside]), "Member m/data/0 LocalName"


@technique(18)
def polyglots(canary):
    good = zipped(state_dict())
    yield "junk behind", good + b"\0junk" * 999, "opens"
    yield "junk in front", b"#!/bin/sh\n" + bytes(99) + good, "Foreign Unknown"
    yield "a pickle in front of an archive", b"\x80\x02cos\nsystem\n" + text(canary.command) + b"\x85R." + good, "ForbiddenGlobal os.system", {"real": "pickle"}
    yield "a legacy file in front of an archive", legacy(state_dict()) + zipped(b"\x80\x02N."), "opens"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as file:
        file.addfile(tarfile.TarInfo("data.pkl"))
    yield "a tar behind an archive", good + tar.getvalue(), "opens"
    yield "an archive behind a tar", tar.getvalue() + good, "Foreign Tar"
    mar = archive([*torch_members(state_dict()), Member("MAR-INF/MANIFEST.json", b"{}")])
    yield "TorchScript and MAR", mar, "Member MAR-INF/MANIFEST.json OtherRoot"
    yield "a safetensors file in front of an archive", safetensors("{}" + " " * 6) + good, "Safetensors"
    yield "an archive whose comment is an archive", archive(torch_members(state_dict()), comment=good), "Zip"
    yield "two archives", good + good, "Zip"
    # Python's zipfile takes the second, whoever believes the offsets the first.
    yield "two archives of the same layout", good + zipped(state_dict(weight=tensor(size=(3, 2), stride=(2, 1)))), "Zip"
    yield "a directory apart from its end", archive(torch_members(state_dict()), between=b"\0" * 40), "Zip"


@technique(23)
def two_meanings(canary):
    members = torch_members(state_dict())
    yield "a storage twice", archive([*members, Member("m/data/0", bytes(24))]), "Member m/data/0 Duplicate"
    yield "data.pkl twice", archive([*members, Member("m/data.pkl", b"\x80\x02N.")]), "Member m/data.pkl Duplicate"
    yield "two roots", archive([*members, *torch_members(b"\x80\x02N.", root="n")]), "Member n/data.pkl OtherRoot"
    yield "a root that begins like the other", archive([*members, Member("mm/data.pkl", b"N.")]), "Member mm/data.pkl OtherRoot"
    for path in ["../data.pkl", "m/../../etc/passwd", "/etc/passwd", "m/./data.pkl", "m//data.pkl", "m\\data.pkl", "C:\\data.pkl", "m/data.pkl\0.txt", ".."]:
        yield f"a member {path!r}", archive([*members, Member(path, b"x")]), f"Member {path} Path"
    yield "a root ..", archive(torch_members(state_dict(), root="..")), "Member ../data.pkl Path"
    yield "a name that is not UTF-8", archive([*members, Member(b"m/\xff\xfe", b"x")]), "Zip"
    yield "a name of 1025 bytes", archive([*members, Member("m/" + "n" * 1023, b"x")]), "LimitExceeded the length of a zip member's name"
    yield "no name", archive([*members, Member("", b"x")]), "Member  Path"
    overlap = archive([*members, Member("m/other", b"", at=0, compressed=10, size=10, local_name=b"m/data.pkl")])
    yield "a second header that is the first member's", overlap, "Member m/other LocalName"
    # The second member lies inside the first, whose bytes hold a header for it.
    inner = b"PK\x03\x04" + bytes(22) + struct.pack("<HH", 8, 0) + b"m/data/0" + bytes(24)
    outer = Member("m/data.pkl", state_dict() + inner)
    start = 30 + len("m/data.pkl") + len(state_dict())
    within = Member("m/data/0", b"", at=start, size=24, compressed=24)
    yield "a member inside another", archive([outer, within, Member("m/version", b"3")]), "Member m/data/0 Overlap"
    big = 2**32 - 1
    for form, fields, expected in [
        ("a member past the file", dict(size=2**30, compressed=2**30), "Truncated the zip member"),
        ("a member into the directory", dict(size=200, compressed=200), "Truncated the zip member"),
        ("a header past the file", dict(at=2**31), "Truncated a zip member's header"),
        ("a header of 2^63", dict(at=big, extra=struct.pack("<HHQ", 1, 8, 2**63)), "Truncated a zip member's header"),
        ("a size of 2^63", dict(size=big, compressed=big, extra=struct.pack("<HHQQ", 1, 16, 2**63, 2**63)), "Truncated the zip member"),
        ("a size of 2^64 - 1", dict(size=big, compressed=big, extra=struct.pack("<HHQQ", 1, 16, 2**64 - 1, 2**64 - 1)), "Truncated the zip member"),
        ("a 64-bit size that is missing", dict(size=big), "Zip"),
    ]:
        yield form, changed(1, **fields), expected
    yield "a directory that has more than is counted", archive([*members, Member("m/hidden", b"x")], count=3), "Zip the central directory goes on"
    yield "a directory that has less than is counted", archive(members, count=4), "Zip"
    yield "a directory past its end", archive(members, shift=1000), "Zip"
    good = archive(members)
    end = good.rindex(b"PK\x05\x06")
    size, offset = struct.unpack("<II", good[end + 12 : end + 20])
    for form, record in [("members: 2^64 - 1", (2**64 - 1, size, offset)), ("size: 2^63", (3, 2**63, 0)), ("offset: 2^64 - 1", (3, 1, 2**64 - 1))]:
        record64 = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, record[0], *record)
        locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
        short = struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
        limit = "LimitExceeded the number of zip members" if record[0] > 65536 else "Zip"
        yield f"a Zip64 record with {form}", good[:end] + record64 + locator + b"PK\x05\x06" + short, limit
    wide = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 3, 3, 1, 0)
    yield "two end records that disagree", good[:end] + wide + b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1) + good[end:], "Zip"
    yield "a Zip64 record past the file", good[:end] + b"PK\x06\x07" + struct.pack("<IQI", 0, 2**63, 1) + good[end:], "Truncated the Zip64 end record"
    yield "one part of several", good[: end + 4] + b"\x01" + good[end + 5 :], "Zip"
    yield "no end", good[:end], "Truncated the zip archive's end record"
    yield "no version", archive(members[:2]), "MissingMember m/version"
    yield "a version of the future", archive([*members[:2], Member("m/version", b"11")]), "Version"
    yield "a byte order of its own", archive([*members, Member("m/byteorder", b"middle")]), "Zip"


@technique(25)
def honest(canary):
    """What torch accepts and honest files have; these must open."""
    good = torch_members(state_dict())
    yield "CRC of zero", archive(good), "opens"
    yield "no sizes in front of the data", archive(good), "opens"
    yield "64-bit sizes in the directory", changed(1, size=2**32 - 1, compressed=2**32 - 1, extra=struct.pack("<HHQQ", 1, 16, 24, 24)), "opens"
    code = [deflated("m/code/__torch__.py", b"class Net(Module):\n" * 999), Member("m/constants.pkl", b"\x80\x02).")]
    script = b"\x80\x02c__torch__\nNet\n)\x81}" + text("weight") + tensor() + b"sb."
    yield "deflated code of TorchScript", archive([*torch_members(script), *code]), "opens"
    yield "code of TorchScript that is damaged", archive([*torch_members(script), Member("m/code/x.py", b"\xff" * 9, method=8, size=99), code[1]]), "opens"
    views = state_dict((text("whole.weight"), tensor(size=(6,), stride=(1,))), (text("turned.weight"), tensor(size=(3, 2), stride=(1, 3))))
    yield "views of one storage", zipped(views), "opens"
    yield "views of one storage, legacy", legacy(views), "opens"
    yield "junk at the end", archive(good) + b"junk", "opens"
    yield "junk at the end, legacy", legacy(state_dict()) + b"junk", "opens"
    yield "folders as members", archive([Member("m/", b""), Member("m/data/", b""), *good]), "opens"
    yield "everything deflated", archive([deflated(m.name, m.data) for m in good]), "opens"
    yield "a comment", archive(good, comment=b"made by hand"), "opens"
    yield "names of classes that are not called", zipped(beside(b"(" + name("os", "system") + name("app", "Thing") + b"t")), "opens"
    yield "objects of unknown classes", zipped(beside(b"capp\nThing\n)\x81}" + text("a") + b"K\x01sb")), "opens"
    yield "metadata on an OrderedDict", zipped(b"\x80\x02" + name("collections", "OrderedDict") + b")R(" + text("a.weight") + tensor() + b"u}" + text("_metadata") + b"}sb."), "opens"
    yield "a longer storage than is declared", zipped(state_dict(), storages={"0": bytes(28)}), "opens"
    yield "an empty tensor", zipped(state_dict(weight=tensor(size=(0, 3), stride=(3, 1)))), "opens"
    yield "a tensor without dimensions", zipped(state_dict(weight=tensor(size=(), stride=()))), "opens"
    packed = [Member(m.name, deflate(m.data), method=8, size=len(m.data)) for m in good]
    yield "a legacy file in an archive", archive([deflated("model.pth", legacy(state_dict()))]), "opens"
    yield "a flag of UTF-8 and of sizes behind", archive([Member(m.name, m.data, flags=0x808) for m in packed and good]), "opens"
    assert storage() in state_dict()
