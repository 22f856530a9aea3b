"""safetensors headers, and files that are no checkpoints."""

import struct

from build import safetensors, technique

ONE = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


def entry(dtype="F32", shape="[1]", offsets="[0,4]"):
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


@technique(19)
def safetensors_headers(canary):
    good = f'{{"a":{ONE}}}'
    yield "as it should be", safetensors(good, bytes(4)), "opens"
    yield "a header past the file", safetensors(good, bytes(4), length=99_000_000), "Safetensors"
    yield "a header of 2^63 bytes", safetensors(good, bytes(200), length=2**63), "Foreign Unknown"
    yield "a header of 100 MB and one", safetensors(good, bytes(200), length=100_000_001), "Foreign Unknown"
    many = ",".join(f'"{i}":{entry("U8", "[0]", "[0,0]")}' for i in range(200_000))
    yield "200000 entries", safetensors("{" + many + "}"), "LimitExceeded the number of tensors"
    same = ",".join(f'"{i}":{ONE}' for i in range(50_000))
    yield "50000 tensors on one range", safetensors("{" + same + "}", bytes(4)), "Safetensors"
    yield "a hole", safetensors(f'{{"a":{entry()},"b":{entry(offsets="[8,12]")}}}', bytes(12)), "Safetensors"
    yield "an overlap", safetensors(f'{{"a":{entry(shape="[2]", offsets="[0,8]")},"b":{entry(offsets="[4,8]")}}}', bytes(8)), "Safetensors"
    yield "offsets past the file", safetensors(f'{{"a":{entry(shape="[9]", offsets="[0,36]")}}}', bytes(4)), "Safetensors"
    yield "offsets turned round", safetensors(f'{{"a":{entry(offsets="[4,0]")}}}', bytes(4)), "Safetensors"
    yield "negative offsets", safetensors(f'{{"a":{entry(offsets="[-4,0]")}}}', bytes(4)), "Safetensors"
    yield "offsets of 2^64 - 4", safetensors(f'{{"a":{entry(offsets="[18446744073709551612,18446744073709551615]")}}}', bytes(4)), "Safetensors"
    yield "a size of 2^62, four times", safetensors(f'{{"a":{entry(shape="[4611686018427387904,4]")}}}', bytes(4)), "Safetensors"
    yield "a negative size", safetensors(f'{{"a":{entry(shape="[-1]")}}}', bytes(4)), "Safetensors"
    yield "nothing, of sizes that pass 2^63", safetensors(f'{{"a":{entry(shape="[0,4611686018427387904,4611686018427387904]", offsets="[0,0]")}}}'), "BadTensor"
    yield "nothing, of a size of 2^63", safetensors(f'{{"a":{entry(shape="[9223372036854775808,0]", offsets="[0,0]")}}}'), "BadTensor"
    yield "65 dimensions", safetensors(f'{{"a":{entry(shape="[" + ",".join(["1"] * 65) + "]")}}}', bytes(4)), "BadTensor"
    yield "a million dimensions", safetensors(f'{{"a":{entry(shape="[" + ",".join(["1"] * 1_000_000) + "]")}}}', bytes(4)), "BadTensor"
    yield "bytes behind the last tensor", safetensors(good, bytes(8)), "Safetensors"
    yield "a key twice", safetensors(f'{{"a":{ONE},"a":{ONE}}}', bytes(4)), "DuplicateKey a"
    yield "a key twice, once escaped", safetensors(f'{{"a":{ONE},"\\u0061":{ONE}}}', bytes(4)), "DuplicateKey a"
    yield "metadata twice", safetensors(f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{ONE}}}', bytes(4)), "DuplicateKey __metadata__"
    yield "a metadata key twice", safetensors(f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{ONE}}}', bytes(4)), "DuplicateKey k"
    yield "metadata that is no text", safetensors(f'{{"__metadata__":{{"k":[1]}},"a":{ONE}}}', bytes(4)), "Safetensors"
    yield "metadata 100000 brackets deep", safetensors('{"__metadata__":' + "[" * 100_000, bytes(4)), "Safetensors"
    yield "a tensor 100000 brackets deep", safetensors('{"a":' + '{"b":' * 100_000, bytes(4)), "Safetensors"
    yield "a dtype twice", safetensors('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)), "Safetensors"
    yield "a dtype nobody knows", safetensors(f'{{"a":{entry("F33")}}}', bytes(4)), "Safetensors"
    yield "a dtype torch cannot read", safetensors(f'{{"a":{entry("U16", "[2]")}}}', bytes(4)), "BadTensor"
    yield "a header that is not UTF-8", safetensors(b'{"\xff":1}' + b" " * 99), "Safetensors"
    yield "a header that is no object", safetensors(b"{]" + b" " * 99), "Safetensors"
    yield "a name of 1025 bytes", safetensors('{"' + "n" * 1025 + f'":{ONE}}}', bytes(4)), "LimitExceeded the length of a tensor's name"
    yield "a name of 10 MB", safetensors('{"' + "n" * 10_000_000 + f'":{ONE}}}', bytes(4)), "LimitExceeded the length of a tensor's name"
    yield "names of 9 MB together", safetensors("{" + ",".join(f'"{i:01000}":{entry("U8", "[0]", "[0,0]")}' for i in range(9000)) + "}"), "LimitExceeded the length of all tensors' names"
    yield "a number of 100000 digits", safetensors(f'{{"a":{entry(shape="[" + "9" * 100_000 + "]")}}}', bytes(4)), "Safetensors"


@technique(21)
def no_pickles(canary):
    from build import Member, archive

    keras = [Member("config.json", b'{"class_name":"Lambda"}'), Member("metadata.json", b"{}"), Member("model.weights.h5", b"\x89HDF\r\n\x1a\n")]
    yield "a Keras Lambda layer", archive(keras), "Foreign Keras"
    yield "HDF5", b"\x89HDF\r\n\x1a\n" + bytes(500), "Foreign Hdf5"
    yield "a SavedModel that reads files", b"\x08\x01\x12\x80\x02" + b"ReadFile WriteFile" + bytes(500), "Foreign TensorFlow"
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    yield "an array of objects", b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + b"cos\nsystem\n", "Foreign Npy"
    yield "torch's archive of a program", archive([Member("p/archive_format", b"pt2"), Member("p/data.pkl", b"N.")]), "Foreign ExportedProgram"
    yield "nothing", b"", "Foreign Empty"
    yield "99 zeros", bytes(99), "Foreign TooShort"
    yield "a megabyte of zeros", bytes(1 << 20), "Foreign Unknown"
    yield "a megabyte of full stops", b"." * (1 << 20), "Foreign Unknown"
    yield "a megabyte of marks", b"(" * (1 << 20), "Foreign Unknown"
