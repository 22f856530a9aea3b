//! Functions that no weights file has a reason to call, because calling them runs code, opens files or reaches the network.
//!
//! Nothing is ever called here, so this list protects nobody's process: it tells the user that a file was made to attack
//! a reader that does call. Sources: the corpora of picklescan, modelscan, fickling and safetensors' `attacks/`.

use super::tree::Global;

/// Packages: any function of theirs, or of a module below them.
const PACKAGES: &[&str] = &[
    // The operating system and other processes.
    "os",
    "subprocess",
    "multiprocessing",
    "asyncio",
    "concurrent",
    "idlelib",
    "lib2to3",
    "distutils",
    "setuptools",
    "pip",
    "ensurepip",
    "venv",
    "test.support",
    // Files and the network.
    "logging",
    "sqlite3",
    "dbm",
    "urllib",
    "http",
    "requests",
    "aiohttp",
    "xmlrpc",
    "paramiko",
    // Code: imported, compiled, tested, loaded natively.
    "importlib",
    "ctypes",
    "cffi",
    "unittest",
    // Pickles in pickles, and the scanners themselves.
    "dill",
    "cloudpickle",
    "joblib",
    "jsonpickle",
    "picklescan",
    "fickling",
    "modelscan",
    // Parts of torch and numpy that load, compile or fetch.
    "torch.hub",
    "torch._inductor",
    "torch._dynamo",
    "torch.utils.bottleneck",
    "torch.utils.collect_env",
    "torch.utils._config_module",
    "torch.utils.data.datapipes",
    "torch.utils.cpp_extension",
    "torch.jit.unsupported_tensor_ops",
    "torch.fx",
    "torch.package",
    "numpy.f2py",
    "numpy.testing",
    "numpy.distutils",
];

/// Single modules: any function of theirs. A package of the same name below a user's own code (`code.models`) is another
/// thing, so modules below these are not meant.
const MODULES: &[&str] = &[
    "posix",
    "nt",
    "posixpath",
    "ntpath",
    "sys",
    "pty",
    "commands",
    "popen2",
    "platform",
    "threading",
    "_thread",
    "uuid",
    "_osx_support",
    "_aix_support",
    "webbrowser",
    "antigravity",
    "shutil",
    "tempfile",
    "glob",
    "fileinput",
    "linecache",
    "io",
    "_io",
    "_pyio",
    "mmap",
    "zipfile",
    "tarfile",
    "shelve",
    "socket",
    "_socket",
    "ssl",
    "socketserver",
    "urllib2",
    "httplib",
    "ftplib",
    "smtplib",
    "poplib",
    "imaplib",
    "nntplib",
    "telnetlib",
    "runpy",
    "code",
    "codeop",
    "imp",
    "_frozen_importlib",
    "_frozen_importlib_external",
    "pkgutil",
    "zipimport",
    "marshal",
    "types",
    "inspect",
    "_ctypes",
    "gc",
    "timeit",
    "cProfile",
    "profile",
    "trace",
    "bdb",
    "pdb",
    "doctest",
    "pydoc",
    "site",
    "atexit",
    "sched",
    "signal",
    "pickle",
    "_pickle",
    "cPickle",
];

/// Single functions of modules that are otherwise harmless.
const FUNCTIONS: &[(&str, &str)] = &[
    ("operator", "attrgetter"),
    ("operator", "itemgetter"),
    ("operator", "methodcaller"),
    ("_operator", "attrgetter"),
    ("_operator", "itemgetter"),
    ("_operator", "methodcaller"),
    ("functools", "reduce"),
    ("_functools", "reduce"),
    ("torch", "load"),
    ("torch", "compile"),
    ("torch.serialization", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("torch.jit", "load"),
    ("torch.jit", "script"),
    ("torch.ops", "load_library"),
    ("codecs", "open"),
    ("numpy", "load"),
    ("numpy", "fromfile"),
    ("numpy", "memmap"),
    ("pandas", "read_pickle"),
    ("copyreg", "add_extension"),
];

/// What honest training checkpoints call in the modules above: it only makes data.
const HARMLESS: &[(&str, &str)] = &[
    ("types", "SimpleNamespace"),
    ("uuid", "UUID"),
    ("uuid", "SafeUUID"),
    ("logging", "getLogger"),
    ("io", "BytesIO"),
    ("_io", "BytesIO"),
    ("io", "StringIO"),
    ("_io", "StringIO"),
];

/// The builtins that only make data. Everything else in `builtins` is taken for dangerous: it is a short list of ways
/// to reach anything (`eval`, `getattr`, `map` …).
const SAFE_BUILTINS: &[&str] = &[
    "set",
    "frozenset",
    "bytearray",
    "bytes",
    "str",
    "unicode",
    "int",
    "long",
    "float",
    "bool",
    "complex",
    "list",
    "tuple",
    "dict",
    "object",
    "slice",
    "range",
    "xrange",
    "NoneType",
    "Ellipsis",
    "NotImplemented",
];

/// Whether calling `global` could do anything but make data.
pub(super) fn is_dangerous(global: &Global) -> bool {
    let (module, name) = (&*global.module, &*global.name);
    if HARMLESS.contains(&(module, name)) {
        return false;
    }
    if in_module(module) || function(module, name) {
        return true;
    }
    // A dotted name reaches through the module: `pathlib` + `os.system`, `builtins` + `eval.__call__`.
    let parts: Vec<&str> = name.split('.').collect();
    parts.len() > 1
        && (function(module, parts[0])
            || parts.iter().any(|part| part.starts_with("__") && part.ends_with("__"))
            || parts.windows(2).any(|pair| in_module(pair[0]) || function(pair[0], pair[1])))
}

fn in_module(module: &str) -> bool {
    let below = |package: &str| {
        module.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    MODULES.contains(&module) || PACKAGES.iter().any(|package| below(package))
}

fn function(module: &str, name: &str) -> bool {
    let builtin = matches!(module, "builtins" | "__builtin__" | "__builtins__");
    let exception = name.ends_with("Error") || name.ends_with("Exception") || name.ends_with("Warning");
    (builtin && !exception && !SAFE_BUILTINS.contains(&name)) || FUNCTIONS.contains(&(module, name))
}
