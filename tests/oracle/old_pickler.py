"""Files as torch 0.1 to 0.3 wrote them."""

import collections
import pickle
import struct
import types

import torch


class OldPickler(pickle._Pickler):
    """Writes as torch 0.1 to 0.3 on Python 2 did; `style` picks the habits."""

    style = frozenset()
    dispatch = dict(pickle._Pickler.dispatch)

    def save(self, object, save_persistent_id=True):
        style = self.style
        if isinstance(object, torch.Tensor):
            data = object.detach()
            fields = (data._typed_storage(), data.storage_offset(), tuple(data.shape), data.stride())
            if isinstance(object, torch.nn.Parameter) and "parameter-newobj" in style:
                self.build(torch.nn.Parameter, (data, None, collections.OrderedDict(), True, False))
            elif isinstance(object, torch.nn.Parameter) and "parameter-reduce" in style:
                self.reduce_to(torch.nn.Parameter, (data,))
                super().save((True, False, collections.OrderedDict()))
                self.write(pickle.BUILD)
            elif "tensor-newobj" in style:
                self.build(getattr(torch, data.type().split(".")[-1]), fields)
            else:
                self.reduce_to(torch._utils._rebuild_tensor, fields)
        else:
            super().save(object, save_persistent_id)

    def reduce_to(self, function, arguments):
        self.save_global(function, function.__name__)
        super().save(arguments)
        self.write(pickle.REDUCE)

    def build(self, kind, state):
        self.save_global(kind, kind.__name__)
        super().save(())
        self.write(pickle.NEWOBJ)
        super().save(state)
        self.write(pickle.BUILD)

    def save_global(self, object, name=None):
        module, name = getattr(object, "__module__", "torch"), name or object.__qualname__
        if isinstance(object, type) and issubclass(object, torch.Tensor) and object is not torch.nn.Parameter:
            module = "torch"
        module = {"builtins": "__builtin__", "copyreg": "copy_reg"}.get(module, module) if "python2" in self.style else module
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())

    dispatch[type] = save_global
    dispatch[types.FunctionType] = save_global

    def save_str(self, text):
        if "python2" not in self.style:
            return pickle._Pickler.save_str(self, text)
        raw = text.encode("latin1")
        if len(raw) < 256:
            self.write(b"U" + bytes([len(raw)]) + raw)
        else:
            self.write(b"T" + struct.pack("<i", len(raw)) + raw)

    dispatch[str] = save_str

    def save_int(self, number):
        if "python2" not in self.style:
            return pickle._Pickler.save_long(self, number)
        raw = pickle.encode_long(number)
        self.write(pickle.LONG1 + bytes([len(raw)]) + raw)

    dispatch[int] = save_int

    def save_ordered(self, pairs):
        if "python2" not in self.style:
            return self.save_reduce(collections.OrderedDict, (), None, None, iter(pairs.items()), obj=pairs)
        self.reduce_to(collections.OrderedDict, ([[key, value] for key, value in pairs.items()],))

    dispatch[collections.OrderedDict] = save_ordered


def save_old(object, path, style, view=None, location="cpu", cuda_class=False, module_source=None):
    """The legacy format, written by hand around the old pickler; `module_source` is the text stored with each class."""
    storages, classes = {}, set()

    def persistent(object):
        is_module = isinstance(object, type) and issubclass(object, torch.nn.Module)
        if module_source and is_module and object not in classes:
            classes.add(object)
            return ("module", object, "densenet.py", module_source)
        if not isinstance(object, torch.storage.TypedStorage):
            return None
        untyped = object._untyped_storage
        key = str(untyped._cdata)
        storages[key] = object
        kind = type("Storage", (), {"__module__": "torch.cuda" if cuda_class else "torch"})
        kind.__name__ = kind.__qualname__ = object._pickle_storage_type()
        sub = view(object, key) if view else None
        return ("storage", kind, key, location, object._size(), sub)

    with open(path, "wb") as file:
        pickler = type("Pickler", (OldPickler,), {"style": frozenset(style)})
        for part in [torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION]:
            pickle.dump(part, file, protocol=2)
        pickler(file, 2).dump({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 8}})
        writer = pickler(file, 2)
        writer.persistent_id = persistent
        writer.dump(object)
        pickler(file, 2).dump(sorted(storages))
        for key in sorted(storages):
            storage = storages[key]
            file.write(struct.pack("<q", storage._size()))
            # bytes(storage) would go through Python's numbers one by one.
            file.write(torch.empty(0, dtype=torch.uint8).set_(storage._untyped_storage).numpy().tobytes())
        file.write(b"trailing bytes are nobody's business")
