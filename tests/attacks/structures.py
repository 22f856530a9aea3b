"""Pickles whose values are too many, contain themselves, or describe tensors that are not there."""

import struct

from build import beside, legacy, name, number, state_dict, storage, technique, tensor, text, zipped

EMPTY = name("collections", "OrderedDict") + b")R"
MILLION = 1_000_000


@technique(13)
def expansion(canary):
    laughs = b"(]q\x00" + b"".join(b"](" + b"h" + bytes([level - 1]) + (b"h" + bytes([level - 1])) * 9 + b"e" + b"q" + bytes([level]) for level in range(1, 100)) + b"t"
    yield "lists of lists from the memo: 10^100 elements", zipped(beside(laughs)), "opens"
    yield "tuples doubled by DUP: 2^10000 elements", zipped(beside(b"N" + b"2\x86" * 10_000)), "opens"
    names = b"".join(name("torch", "Size") + b"0" for _ in range(2000))
    yield "one class named 2000 times", zipped(b"\x80\x02" + names + state_dict()[2:]), "opens"
    yield "memo of a million entries and one", zipped(b"\x80\x02N" + b"\x94" * (MILLION + 1) + b"."), "LimitExceeded the number of memo entries"
    yield "four million opcodes and one", zipped(b"\x80\x02" + b"N0" * 2_000_001 + b"."), "LimitExceeded the number of opcodes"
    yield "a million empty tuples", zipped(b"\x80\x02(" + b")" * MILLION + b"t."), "NoStateDict"
    yield "a million memo entries far apart", zipped(b"\x80\x02N" + b"".join(b"r" + struct.pack("<I", i * 4001) for i in range(MILLION)) + b"."), "NoStateDict"
    # The stack grows once; what is collected from it must not keep its size.
    yield "100000 empty tuples off a stack that was long", zipped(b"\x80\x02(" + b"N" * 200_000 + b"1]" + b"(ta" * 100_000 + b"."), "NoStateDict"
    yield "a million lists, one in the other", zipped(b"\x80\x02" + b"]" * MILLION + b"a" * (MILLION - 1) + b"."), "NoStateDict"
    yield "257 marks", zipped(b"\x80\x02" + b"(" * 257), "LimitExceeded the number of open marks"


@technique(14)
def structure(canary):
    yield "a list in itself", zipped(beside(b"]q\x00h\x00a")), "opens"
    yield "a dict in itself", zipped(beside(b"}q\x00" + text("a") + b"h\x00s")), "opens"
    yield "a dict as its own key", zipped(beside(b"}q\x00h\x00h\x00s")), "opens"
    yield "an object that is its own state", zipped(beside(b"capp\nThing\n)\x81q\x00h\x00b")), "opens"
    yield "the state dict in itself", zipped(b"\x80\x02}q\x00(" + text("features.conv0.weight") + tensor() + text("self") + b"h\x00u."), "opens"
    own = b"\x80\x02capp\nNet\n)\x81q\x00}(" + text("_parameters") + b"}" + text("_modules") + b"}" + text("a") + b"h\x00sub."
    yield "a module in itself", zipped(own), "LimitExceeded the nesting of modules"
    script = b"\x80\x02c__torch__\nNet\n)\x81q\x00}" + text("a") + b"h\x00sb."
    yield "a TorchScript module in itself", zipped(script), "LimitExceeded the nesting of modules"
    doubled = b"\x80\x02capp\nNet\nq\xff)\x81}(" + text("_parameters") + b"}" + text("_modules") + b"}ubq\x00"
    for level in range(1, 40):
        child = b"h" + bytes([level - 1])
        doubled += b"0h\xff)\x81}(" + text("_parameters") + b"}" + text("_modules") + b"}(" + text("a") + child + text("b") + child + b"uubq" + bytes([level])
    yield "a module that holds the one below twice, 40 times over", zipped(doubled + b"."), "LimitExceeded the number of values looked at"
    for form, pickle in {"TUPLE without MARK": b"t.", "POP_MARK without MARK": b"1.", "an empty stack": b".", "MARK alone": b"(.", "SETITEMS of an odd count": b"}(Nu.", "POP of nothing": b"0."}.items():
        yield form, zipped(b"\x80\x02" + pickle), "Pickle"
    yield "a tensor that wraps itself", zipped(state_dict(weight=b"ctorch._utils\n_rebuild_parameter\n]q\x00\x89" + EMPTY + b"\x87q\x010(h\x01tR")), "BadTensor"
    wrapper = name("torch.nn.parameter", "Parameter") + b")\x81q\x01(h\x01Ntb"
    yield "a parameter whose tensor is itself", zipped(state_dict(weight=wrapper)), "BadTensor features.conv0.weight: tensors are wrapped"


@technique(15)
def encodings(canary):
    yield "GLOBAL that is not UTF-8", zipped(b"\x80\x02c\xff\xfe\nsystem\n."), "Pickle a class or function whose name is not UTF-8"
    yield "a key that is not UTF-8", zipped(state_dict((text(b"\xff\xc0"), tensor()))), "opens"
    yield "only such keys", zipped(b"\x80\x02}" + text(b"\xff.weight") + tensor() + b"s."), "NoStateDict"
    yield "a storage key that is not UTF-8", zipped(state_dict(weight=tensor(key=b"\xff"))), "BadTensor"
    yield "a key with a zero, a line feed and an escape", zipped(state_dict((text("a\0\n\x1b[31m"), tensor()))), "opens"
    yield "a class with an escape in its name", zipped(beside(b"capp\n\x1b[31mRed\n)R")), "opens"
    yield "a number of 10000 digits", zipped(beside(b"L" + b"9" * 10_000 + b"L\n")), "opens"
    yield "a LONG4 of 100000 bytes", zipped(beside(b"\x8b" + struct.pack("<i", 100_000) + b"\xff" * 100_000)), "opens"
    yield "a negative LONG4", zipped(beside(b"\x8b" + struct.pack("<i", -1))), "Pickle a negative length"
    yield "a name of 1025 bytes", zipped(beside(name("m" * 1025, "x"))), "LimitExceeded the length of a class's or function's name"
    for code, width in [(b"X", 4), (b"B", 4), (b"\x8d", 8), (b"\x8e", 8), (b"\x96", 8)]:
        length = (b"\xff" * width) if width == 4 else struct.pack("<Q", 2**63)
        yield f"opcode {code!r} of a length past the end", zipped(b"\x80\x02" + code + length + b"ab"), "Truncated the pickle"


@technique(22)
def views(canary):
    def weight(**changed):
        return zipped(state_dict(weight=tensor(**changed)))

    yield "stride 0: 3 * 10^9 elements over 6", weight(size=(10**9, 3), stride=(0, 0)), "Expanded"
    yield "overlap: more elements than the storage", weight(size=(4, 3), stride=(1, 1)), "Expanded"
    for form, changed in {
        "one past the end": dict(offset=1),
        "an offset past the end": dict(offset=7, size=(0,), stride=(1,)),
        "a stride past the end": dict(stride=(4, 1)),
        "a negative offset": dict(offset=-1),
        "a negative stride": dict(offset=5, size=(6,), stride=(-1,)),
        "a stride of 2^62": dict(size=(2, 3), stride=(2**62, 1)),
        "a stride of 2^63 - 1": dict(size=(2, 3), stride=(2**63 - 1, 1)),
        "a size of 2^63 - 1": dict(size=(2**63 - 1,), stride=(1,)),
        "sizes whose product passes 2^64": dict(size=(2**32, 2**32, 2), stride=(1, 1, 1)),
        "sizes whose product wraps to 6": dict(size=(2**63 - 1, 2**63 - 1, 6), stride=(0, 0, 1)),
        "an offset of 2^63 - 1": dict(offset=2**63 - 1),
        "nothing, of sizes that pass 2^63": dict(size=(0, 2**62, 2**62), stride=(1, 1, 1)),
    }.items():
        yield form, weight(**changed), "OutsideStorage"
    yield "a negative size", weight(size=(-6,), stride=(1,)), "BadTensor"
    yield "an offset of 2^63", weight(offset=2**63), "BadTensor"
    yield "more strides than sizes", weight(stride=(3, 1, 1)), "BadTensor"
    yield "65 dimensions", weight(size=(1,) * 65, stride=(1,) * 65), "BadTensor"
    yield "sizes that are no numbers", weight(size=b"(NNt"), "BadTensor"
    yield "a storage of 2^63 - 1 elements", weight(numel=2**63 - 1), "StorageSize"
    yield "a storage of 2^62 doubles: 2^65 bytes", weight(numel=2**62, kind="DoubleStorage"), "StorageSize"
    yield "a storage of -1 elements", weight(numel=-1), "BadTensor"
    yield "a storage of 2^100 elements", weight(numel=b"\x8a\x0d" + bytes(12) + b"\x10"), "BadTensor"
    yield "a storage longer than its member", weight(numel=7), "StorageSize"
    yield "a storage that is no tuple", zipped(state_dict(weight=tensor().replace(storage(), b"NQ"))), "BadTensor"
    yield "a class where a storage should be", zipped(state_dict(weight=tensor().replace(storage(), name("torch", "FloatStorage")))), "BadTensor"
    big = (2**63 - 1, b"")
    yield "legacy: a storage of 2^63 - 1 elements", legacy(state_dict(weight=tensor(numel=2**63 - 1)), {"0": big}), "Truncated storage"
    yield "legacy: a count of -1", legacy(state_dict(), {"0": (-1, bytes(24))}), "StorageSize"
    yield "legacy: another count than the object's", legacy(state_dict(), {"0": (7, bytes(28))}), "StorageSize"
    yield "legacy: a storage that no tensor has", legacy(state_dict(), {"0": (6, bytes(24)), "1": (6, bytes(24))}), "Legacy"
    yield "legacy: a storage listed twice", legacy(state_dict(), keys=b"\x80\x02](" + text("0") * 2 + b"e.") + struct.pack("<q", 6) + bytes(24), "Legacy a storage is listed twice"
    yield "legacy: a storage that is not listed", legacy(state_dict(), {}), "MissingMember storage 0"
    # A view of elements 2^62 to 2^63 of the storage, as torch before 0.4 wrote views.
    part = tensor().replace(b"tQ", b"(" + text("v") + number(2**62) + number(2**62) + b"ttQ")
    yield "legacy: a part of a storage past its end", legacy(state_dict(weight=part)), "Legacy"


@technique(24)
def work(canary):
    """Short files that are long walks: sharing makes the product of two numbers out of their sum."""
    pairs = b"](" + b"".join(b"](" + text(f"k{i}") + b"Ne" for i in range(3000)) + b"e"
    dicts = b"".join(b"h\x01h\x00\x85R" for _ in range(100_000))
    shared = b"\x80\x02" + pairs + b"q\x000" + name("collections", "OrderedDict") + b"q\x010(" + dicts + b"t."
    yield "100000 dictionaries over one list of 3000", zipped(shared), "LimitExceeded the number of values looked at"
    lists = b"(" + b"h\x00" * 3000 + b"t"
    squared = b"\x80\x02" + pairs + b"q\x000" + name("collections", "OrderedDict") + lists + b"R."
    yield "one dictionary over 3000 times one list of 3000", zipped(squared), "NoStateDict"
    state = b"}(" + text("_parameters") + b"}" + text("_modules") + b"}" + b"".join(text(f"a{i}") + b"N" for i in range(3000)) + b"u"
    objects = b"".join(b"h\x01)\x81h\x00b" for _ in range(100_000))
    yield "100000 modules with one state of 3000", zipped(b"\x80\x02" + state + b"q\x000capp\nNet\nq\x010(" + objects + b"t."), "LimitExceeded the number of values looked at"
    child = b"h\x01)\x81h\x00bq\x020"
    children = b"".join(text(f"m{i}") + b"h\x02" for i in range(60_000))
    parent = b"h\x01)\x81}(" + text("_parameters") + b"}" + text("_modules") + b"}(" + children + b"uub"
    yield "one module with a state of 3000, 60000 times", zipped(b"\x80\x02" + state + b"q\x000capp\nNet\nq\x010" + child + parent + b"."), "LimitExceeded the number of values looked at"
    passing = b"cbuiltins\nset\n](" + b"".join(text(f"b{i}") for i in range(30_000)) + b"e\x85R"
    buffers = b"}(" + b"".join(text(f"c{i}") + b"N" for i in range(30_000)) + b"u"
    module = b"\x80\x02capp\nNet\n)\x81}(" + text("_parameters") + b"}" + text("_modules") + b"}" + text("_buffers") + buffers + text("_non_persistent_buffers_set") + passing + b"ub."
    yield "30000 buffers against a set of 30000", zipped(module), "NoStateDict"
    long = text("n" * 200_000)
    named = b"\x80\x02" + long + b"q\x000" + tensor() + b"q\x010}(" + b"h\x00h\x01" * 100_000 + b"u."
    yield "100000 tensors of one name of 200 KB", zipped(named), "LimitExceeded"
    keys = b"\x80\x02" + text("k" * 1000) + b"q\x000}(" + b"".join(b"h\x00" + b"}" + text("w") + tensor() + b"s" for _ in range(100)) + b"u."
    yield "100 dictionaries under one key of 1000 bytes", zipped(keys), "AmbiguousRoot"
    deep = tensor() + b"q\x010}" + text("w") + b"h\x01s" + b"q\x020"
    nest = b"\x80\x02" + text("d" * 30) + b"q\x000" + deep + b"(" + b"".join(b"}h\x00h\x02s" for _ in range(100_000)) + b"t."
    yield "one dictionary of tensors, found 100000 times", zipped(nest), "opens"
    many = b"\x80\x02" + tensor() + b"q\x010" + text("w") + b"q\x000(" + b"}h\x00h\x01s" * 100_000 + b"t."
    yield "100000 dictionaries of one tensor", zipped(many), "LimitExceeded the number of dictionaries of tensors"
    storage_key = b"\x80\x02" + text("s" * 500_000) + b"q\x000}(" + b"".join(
        text(f"w{i}") + b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\nh\x00" + text("cpu") + b"K\x06tQK\0K\x06\x85K\x01\x85\x89NtR" for i in range(5000)
    )
    yield "5000 tensors on a storage key of 500 KB", legacy(storage_key + b"u."), "Legacy"
    listed = b"\x80\x02" + text("0" * 1000) + b"q\x000](" + b"h\x00" * 1_000_000 + b"e."
    yield "a storage key of 1000 bytes listed a million times", legacy(state_dict(), keys=listed), "Legacy"
    rank = b"](" + b"K\x01" * 100_000 + b"e"
    ranks = b"\x80\x02" + rank + b"q\x000}(" + b"".join(text(f"w{i}") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + b"K\0h\0h\0\x89NtR" for i in range(2000)) + b"u."
    yield "2000 tensors of 100000 dimensions", zipped(ranks), "BadTensor"
    # Two elements at both ends of the storage: reading each touches all of it.
    spans = b"".join(text(f"w{i}") + tensor(numel=2**20, size=(2,), stride=(2**20 - 1,)) for i in range(1000))
    yield "1000 tensors of two elements 4 MB apart", zipped(b"\x80\x02}(" + spans + b"u.", storages={"0": bytes(4 << 20)}), "LimitExceeded the size of all tensors"
    copies = b"".join(text(f"w{i}") + tensor(numel=2**20, size=(2**20,), stride=(1,)) for i in range(1000))
    yield "1000 tensors of one storage of 4 MB", zipped(b"\x80\x02}(" + copies + b"u.", storages={"0": bytes(4 << 20)}), "LimitExceeded the size of all tensors"
    half = b"".join(text("m" * 990 + f"{i:03}") + b"p%d\n0" % i for i in range(300))
    combined = half + b"(" + b"".join(b"g%d\ng%d\n\x93" % (i, j) for i in range(300) for j in range(300)) + b"t"
    yield "90000 classes out of 300 names of 1000 bytes", zipped(beside(combined)), "LimitExceeded the number of classes and functions"
    tensors = b"\x80\x02" + tensor() + b"q\x010}(" + b"".join(text(f"w{i}") + b"h\x01" for i in range(65_537)) + b"u."
    yield "65537 tensors", zipped(tensors), "LimitExceeded the number of tensors"
    path = text("p" * 1000)
    module = b"capp\nNet\nq\x010h\x01)\x81}(" + text("_parameters") + b"}" + text("_modules") + b"}ubq\x020"
    for level in range(16):
        module += b"h\x01)\x81}(" + text("_parameters") + b"}(" + b"".join(text(f"{w}" * 50) + b"h\x03" for w in "abcdef") + b"u" + text("_modules") + b"}(" + text("x" * 5) + b"h\x02" + text("y" * 5) + b"h\x02uubq\x020"
    yield "a hundred thousand names out of 16 modules", zipped(b"\x80\x02" + tensor() + b"q\x030" + module + b"h\x02."), "LimitExceeded"
    for length in [MILLION, 4 * MILLION]:
        yield f"a line of {length} bytes without an end", zipped(b"\x80\x02I" + b"1" * length), "Truncated the pickle"


@technique(26)
def keys(canary):
    yield "a key twice", zipped(state_dict((text("features.conv0.weight"), tensor()))), "DuplicateKey"
    twice = name("collections", "OrderedDict") + b"](" + (b"](" + text("a.weight") + tensor() + b"e") * 2 + b"e\x85R"
    yield "a key twice in Python 2's form", zipped(b"\x80\x02" + twice + b"."), "DuplicateKey"
    module = b"capp\nNet\n)\x81}(" + text("_parameters") + b"}" + text("w") + tensor() + b"s" + text("_buffers") + b"}" + text("w") + tensor() + b"s" + text("_modules") + b"}ub"
    yield "a parameter and a buffer of one name", zipped(b"\x80\x02" + module + b"."), "DuplicateKey"
    dotted = b"capp\nNet\n)\x81}(" + text("_parameters") + b"}" + text("a.w") + tensor() + b"s" + text("_modules") + b"}" + text("a")
    dotted += b"capp\nNet\n)\x81}(" + text("_parameters") + b"}" + text("w") + tensor() + b"s" + text("_modules") + b"}ubsub"
    yield "a dotted name that is a child's too", zipped(b"\x80\x02" + dotted + b"."), "DuplicateKey"
    yield "a function under a weight's name", zipped(state_dict((text("features.norm5.weight"), b"cmine\nmake\n)R"))), "NotATensor"
    yield "a class under a weight's name", zipped(state_dict((text("features.norm5.weight"), name("mine", "Weight")))), "NotATensor"
    yield "a storage under a weight's name", zipped(state_dict((text("features.norm5.weight"), storage()))), "NotATensor"
    yield "an extension code", zipped(beside(b"\x82\x01")), "Pickle an extension code"
    yield "a buffer from outside", zipped(beside(b"\x97")), "Pickle a buffer"
    yield "a persistent id that names another module", zipped(beside(b"(" + text("module") + name("os", "system") + b"NNtQ)\x81")), "ForbiddenGlobal os.system"
    yield "a path as a persistent id", zipped(state_dict(weight=tensor(key="../../etc/passwd"))), "MissingMember m/data/../../etc/passwd"
