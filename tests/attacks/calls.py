"""Pickles that make their reader call something."""

import pickle

from build import MAGIC, PROTOCOL, SYSTEM, beside, legacy, name, old_ids, stack_name, state_dict, technique, tensor, text, zipped

# README 1: picklescan's, modelscan's and fickling's lists.
DIRECT = """
    builtins.eval builtins.exec builtins.compile builtins.open builtins.getattr __builtin__.apply builtins.__import__
    builtins.breakpoint os.system posix.system nt.system os.popen os.execv os.spawnl subprocess.Popen subprocess.call
    subprocess.check_output pty.spawn runpy._run_code runpy.run_path webbrowser.open socket.create_connection
    urllib.request.urlopen urllib.request.urlretrieve requests.get requests.api.post aiohttp.ClientSession
    http.client.HTTPSConnection smtplib.SMTP ctypes.CDLL ctypes:cdll.LoadLibrary shutil.rmtree shutil.copyfile
    logging.FileHandler logging.config.fileConfig _io.FileIO io.open pip.main pip._internal.main venv.create
    ensurepip._run_pip timeit.timeit cProfile.run profile.run trace:Trace.run bdb:Bdb.run pdb.run pdb.Pdb
    pydoc.pipepager pydoc.locate code.InteractiveInterpreter code.interact doctest.debug_script idlelib.pyshell:ModifiedInterpreter.runcode
    idlelib.autocomplete:AutoComplete.fetch_completions lib2to3.pgen2.grammar:Grammar.loads
    lib2to3.pgen2.pgen:ParserGenerator.make_label distutils.file_util.write_file uuid._get_command_stdout
    _osx_support._read_output _aix_support._read_cmd_output imaplib.IMAP4_stream
    asyncio.unix_events:_UnixSubprocessTransport._start multiprocessing.util.spawnv_passfds
    test.support.script_helper.assert_python_ok sys.exit sys.settrace threading.Thread signal.signal
    tempfile.mktemp sqlite3.connect zipimport.zipimporter codecs.open atexit.register gc.get_objects
""".split()
# README 2.
LIBRARIES = """
    torch.load torch.hub.load torch.hub.load_state_dict_from_url torch.storage._load_from_bytes torch.serialization.load
    torch._inductor.codecache.compile_file torch._dynamo.guards:GuardBuilder.get torch.utils.bottleneck.__main__.run_cprofile
    torch.utils.collect_env.run torch.utils._config_module.load_config torch.utils.data.datapipes.utils.decoder.basichandlers
    torch.jit.unsupported_tensor_ops.execWrapper torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression
    torch.utils.cpp_extension.load_inline torch.package.PackageImporter torch.ops.load_library torch.jit.load
    numpy.f2py.crackfortran.getlincoef numpy.f2py.diagnose.run_command numpy.testing._private.utils.runstring
    numpy.load numpy.fromfile numpy.memmap pandas.read_pickle joblib.load dill.loads
""".split()


def parts(path):
    """`module.function`, or `module:Class.method`."""
    return path.split(":") if ":" in path else path.rsplit(".", 1)


def call(path):
    return name(*parts(path)) + text("x") + b"\x85R"


@technique(1)
def direct_calls(canary):
    for path in DIRECT:
        module, attribute = parts(path)
        module = module.replace("__builtin__", "builtins")
        yield path, zipped(beside(call(path))), f"ForbiddenGlobal {module}.{attribute}"
    # The same as REDUCE with a command: what it would do in Python.
    payload = name("os", "system") + text(canary.command) + b"\x85R"
    yield "a command", b"\x80\x02" + payload + b".", "ForbiddenGlobal os.system", {"real": "pickle"}
    yield "a command beside weights", zipped(beside(payload)), "ForbiddenGlobal os.system", {"real": "torch"}
    yield "a command beside weights, legacy", legacy(beside(payload)), "ForbiddenGlobal os.system", {"real": "torch"}
    write = name("builtins", "open") + b"(" + text(canary.path) + text("w") + b"tR"
    yield "a file", b"\x80\x02" + write + b".", "ForbiddenGlobal builtins.open", {"real": "pickle"}


@technique(2)
def through_libraries(canary):
    for path in LIBRARIES:
        yield path, zipped(beside(call(path))), f"ForbiddenGlobal {path.replace(':', '.')}"


@technique(3)
def disguise(canary):
    # The call's result is filled by SETITEMS: a state dict to the eye.
    code = f"(open({canary.path!r}, 'w').close(), {{}})[1]"
    made = name("builtins", "eval") + text(code) + b"\x85R"
    filled = b"\x80\x02" + made + b"(" + text("features.conv0.weight") + tensor() + b"u."
    yield "filled by SETITEMS", zipped(filled), "ForbiddenGlobal builtins.eval", {"real": "torch"}
    unknown = b"\x80\x02" + name("mine", "make") + b")R(" + text("features.conv0.weight") + tensor() + b"u."
    yield "by an unknown function", zipped(unknown), "NoStateDict"


@technique(4)
def code_objects(canary):
    for path in ["types.CodeType", "types.FunctionType", "cloudpickle.cloudpickle._make_function", "cloudpickle.cloudpickle._builtin_type", "marshal.loads"]:
        yield path, zipped(beside(call(path))), f"ForbiddenGlobal {path}"


@technique(5)
def nested(canary):
    inner = b"cposix\nsystem\n" + text(canary.command) + b"\x85R."
    wrapped = b"B" + len(inner).to_bytes(4, "little") + inner
    for module, function in [("pickle", "loads"), ("_pickle", "loads"), ("torch.storage", "_load_from_bytes")]:
        outer = name(module, function) + wrapped + b"\x85R"
        real = {"real": "pickle"} if "pickle" in module else {}
        yield f"{module}.{function}", b"\x80\x03" + outer + b".", f"ForbiddenGlobal {module}.{function}", real
    # Bytes that nobody unpickles are bytes.
    yield "never unpickled", zipped(beside(wrapped)), "opens"


@technique(6)
def other_opcodes(canary):
    command = text(canary.command)
    system = name("os", "system")
    forms = {
        "INST": b"(" + command + b"ios\nsystem\n",
        "OBJ": b"(" + system + command + b"o",
        "OBJ, result dropped": b"(" + system + command + b"o0N",
        "NEWOBJ": system + b"(" + command + b"t\x81",
        "NEWOBJ_EX": system + b"(" + command + b"t}\x92",
    }
    for form, payload in forms.items():
        # NEWOBJ needs a class; the others call whatever they are given.
        real = {} if form.startswith("NEWOBJ") else {"real": "pickle"}
        yield form, b"\x80\x04" + payload + b".", "ForbiddenGlobal os.system", real
        yield f"{form}, beside weights", zipped(beside(payload)), "ForbiddenGlobal os.system"
    build = name("os", "environ") + b"}b"
    yield "BUILD of a module's object", zipped(beside(build)), "ForbiddenGlobal os.environ"
    # An object is given a `__setstate__` of its own, which a second BUILD then calls.
    states = b"capp\nThing\n)\x81}" + text("__setstate__") + system + b"sb" + command + b"b"
    yield "BUILD, twice", zipped(beside(states)), "Pickle an object with two states"


@technique(7)
def dynamic_names(canary):
    command = text(canary.command)
    memo = text("system") + b"q\x000" + text("posix") + b"h\x00\x93" + command + b"\x85R"
    yield "STACK_GLOBAL from the memo", b"\x80\x04" + memo + b".", "ForbiddenGlobal posix.system", {"real": "pickle"}
    joined = name("builtins", "str.join") + b"(" + text("") + b"](" + text("sys") + text("tem") + b"etR"
    yield "a name joined", b"\x80\x04" + text("os") + joined + b"\x93" + command + b"\x85R.", "ForbiddenGlobal builtins.str.join", {"real": "pickle"}
    item = name("operator", "itemgetter") + text("system") + b"\x85R"
    yield "itemgetter", zipped(beside(item)), "ForbiddenGlobal operator.itemgetter"
    attribute = name("operator", "attrgetter") + text("system") + b"\x85R" + name("builtins", "__import__") + text("os") + b"\x85R\x85R" + command + b"\x85R"
    yield "attrgetter", b"\x80\x02" + attribute + b".", "ForbiddenGlobal operator.attrgetter", {"real": "pickle"}
    method = name("operator", "methodcaller") + b"(" + text("system") + command + b"tR"
    yield "methodcaller", zipped(beside(method)), "ForbiddenGlobal operator.methodcaller"
    partial = name("functools", "partial") + b"(" + name("os", "system") + command + b"tR)R"
    yield "partial", b"\x80\x02" + partial + b".", "ForbiddenGlobal os.system", {"real": "pickle"}
    resolve = name("pkgutil", "resolve_name") + text("os:system") + b"\x85R" + command + b"\x85R"
    yield "resolve_name", b"\x80\x02" + resolve + b".", "ForbiddenGlobal pkgutil.resolve_name", {"real": "pickle"}
    imported = name("importlib", "import_module") + text("os") + b"\x85R"
    yield "import_module", zipped(beside(imported)), "ForbiddenGlobal importlib.import_module"
    reconstructed = name("copyreg", "_reconstructor") + b"(" + name("os", "system") + name("builtins", "object") + b"NtR"
    yield "_reconstructor", zipped(beside(reconstructed)), "ForbiddenGlobal os.system"


@technique(8)
def dotted_names(canary):
    command = text(canary.command)
    for module, dotted in [("builtins", "eval.__call__"), ("pathlib", "os.system"), ("statistics", "sys.modules"), ("random", "_os.system.__call__"), ("logging", "os.system")]:
        yield f"{module} + {dotted}", zipped(beside(stack_name(module, dotted) + command + b"\x85R")), f"ForbiddenGlobal {module}.{dotted}"
    real = stack_name("shutil", "os.system") + command + b"\x85R"
    yield "shutil + os.system", b"\x80\x04" + real + b".", "ForbiddenGlobal shutil.os.system", {"real": "pickle"}


@technique(9)
def confusing_names(canary):
    yield "an integer", zipped(b"\x80\x04K\x01" + text("system") + b"\x93."), "Pickle STACK_GLOBAL without two names"
    yield "no memo entry", zipped(b"\x80\x04h\x07" + text("system") + b"\x93."), "Pickle a memo entry that was never made"
    yield "an empty stack", zipped(b"\x80\x04\x93."), "Pickle nothing on the stack"


@technique(10)
def run_then_break(canary):
    payload = name("os", "system") + text(canary.command) + b"\x85R"
    yield "then an unknown opcode", b"\x80\x02" + payload + b"\xff", "ForbiddenGlobal os.system", {"real": "pickle"}
    yield "then the end", b"\x80\x02" + payload, "ForbiddenGlobal os.system", {"real": "pickle"}
    before = b"\x80\x02}(" + text("extra") + payload + text("a.weight") + tensor() + b"u."
    yield "then a missing storage", zipped(before, storages={}), "ForbiddenGlobal os.system", {"real": "torch"}
    yield "junk behind the weights", zipped(state_dict() + b"\xff\xff junk"), "opens"


@technique(11)
def several_pickles(canary):
    payload = name("os", "system") + text(canary.command) + b"\x85R"
    whole = b"\x80\x02" + payload + b"."
    parts = [MAGIC, PROTOCOL, SYSTEM, old_ids(state_dict()), b"\x80\x02](" + text("0") + b"e."]
    data = (6).to_bytes(8, "little") + bytes(24)
    for place in range(5):
        # In front of pickle `place`, so that it is read in its stead.
        file = b"".join(parts[:place]) + whole + b"".join(parts[place:]) + data
        yield f"legacy pickle {place + 1}", file, "ForbiddenGlobal os.system", {"real": "torch"}
    # The number is right, but a function returns it: torch compares only the result.
    by_call = b"\x80\x02" + name("builtins", "eval") + text(f"(open({canary.path!r}, 'w').close(), {0x1950A86A20F9469CFC6C})[1]") + b"\x85R."
    yield "magic number by a call", legacy(state_dict(), magic=by_call), "ForbiddenGlobal builtins.eval", {"real": "torch"}
    unknown = b"\x80\x02" + name("mine", "magic") + b")R."
    yield "magic number by an unknown call", legacy(state_dict(), magic=unknown), "Foreign BarePickle"
    # Nobody reads a second pickle in data.pkl.
    yield "second in data.pkl", zipped(state_dict() + whole), "opens"
    two = pickle.dumps([1], protocol=2) + whole
    yield "a bare pickle, then another", two, "Foreign BarePickle"


@technique(12)
def frames(canary):
    good = state_dict()[2:]
    yield "shorter than its content", zipped(b"\x80\x04\x95\x02\0\0\0\0\0\0\0" + good), "opens"
    yield "longer than the pickle", zipped(b"\x80\x04\x95" + b"\xff" * 8 + good), "opens"
    yield "a string across its end", zipped(b"\x80\x04\x95\x05\0\0\0\0\0\0\0" + beside(text("a" * 300))[2:]), "opens"
    yield "PROTO twice", zipped(b"\x80\x02\x80\x04" + good), "opens"
    yield "PROTO inside", zipped(b"\x80\x02}(" + text("features.conv0.weight") + b"\x80\x05" + tensor() + b"u."), "opens"
    yield "protocol 255", zipped(b"\x80\xff" + good), "Pickle a protocol after 5"
    hidden = b"\x80\x04\x95\x01\0\0\0\0\0\0\0" + name("os", "system") + text(canary.command) + b"\x85R."
    yield "a call outside the frame", zipped(hidden), "ForbiddenGlobal os.system"


@technique(20)
def scanner_evasion(canary):
    for path in ["picklescan.scanner._safe_globals.clear", "fickling.hook.run_hook", "fickling.hook.remove_hook", "modelscan.settings.DEFAULT_SETTINGS.clear"]:
        module, attribute = path.rsplit(".", 1)
        yield path, zipped(beside(name(module, attribute) + b")R")), f"ForbiddenGlobal {path}"
