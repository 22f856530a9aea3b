//! Pickles written out byte by byte: what is read, what is refused, and what must not cost more than it is.

use super::opcodes::{opcode, TABLE};
use super::{limits, parse, Node, Tree};
use crate::checkpoint::read_error::ReadError;

fn tree(bytes: &[u8]) -> Tree<'_> {
    parse(bytes, 0).unwrap_or_else(|error| panic!("{error}")).0
}

fn refusal(bytes: &[u8]) -> ReadError {
    match parse(bytes, 0) {
        Ok((tree, _)) => panic!("read as {}", tree.describe(tree.root())),
        Err(error) => error,
    }
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn every_opcode_is_found_by_its_byte_and_no_byte_is_two() {
    for (op, argument) in TABLE {
        assert_eq!(opcode(*op as u8), Some((*op, *argument)));
    }
    assert_eq!((0..=255).filter(|byte| opcode(*byte).is_some()).count(), TABLE.len());
    // pickletools.opcodes of CPython 3.8 to 3.14.
    assert_eq!(TABLE.len(), 68);
}

/// Each opcode with an argument of zeros: whatever it does on an empty stack, the machine knows it.
#[test]
fn the_machine_has_an_arm_for_every_opcode() {
    for (op, _) in TABLE {
        let mut bytes = vec![*op as u8];
        bytes.extend([b'0', b'\n', b'0', b'\n', 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        if let Err(ReadError::Pickle { problem, .. }) = parse(&bytes, 0) {
            assert!(!problem.contains("another kind"), "{op:?}");
        }
    }
}

#[test]
fn scalars_of_all_protocols_keep_their_values() {
    let ints: &[(&[u8], i64)] = &[
        (b"K\x07.", 7),
        (b"M\x01\x02.", 513),
        (b"J\xff\xff\xff\xff.", -1),
        (b"\x8a\x00.", 0),
        (b"\x8a\x01\x80.", -128),
        (b"\x8a\x02\xff\x00.", 255),
        (b"\x8b\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80.", i64::MIN),
        (b"I-12\n.", -12),
        (b"L99L\n.", 99),
    ];
    for (bytes, want) in ints {
        let tree = tree(bytes);
        assert_eq!(tree.int(tree.root()), Some(*want), "{bytes:?}");
    }
    let wide = tree(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    assert!(matches!(wide.node(wide.root()), Node::Big(n) if **n == 0x1950_a86a_20f9_469c_fc6c));
    let float = tree(b"G\x3f\xf8\0\0\0\0\0\0.");
    assert!(matches!(float.node(float.root()), Node::Float(value) if *value == 1.5));
    assert!(matches!(tree(b"I01\n.").node(tree(b"I01\n.").root()), Node::Bool(true)));
    for bytes in [
        &b"U\x02hi."[..],
        b"T\x02\0\0\0hi.",
        b"X\x02\0\0\0hi.",
        b"\x8c\x02hi.",
        b"S'h\\x69'\n.",
        b"Vh\\u0069\n.",
    ] {
        let tree = tree(bytes);
        assert_eq!(tree.str(tree.root()), Some("hi"), "{bytes:?}");
    }
    let raw = tree(b"U\x01\x9b.");
    assert!(matches!(raw.node(raw.root()), Node::Bytes(bytes) if **bytes == [0x9b]));
}

#[test]
fn an_ordered_dict_of_python_2_is_not_empty() {
    let bytes = b"ccollections\nOrderedDict\n(](](U\x01aK\x01e](U\x01bK\x02eetR.";
    let tree = tree(bytes);
    let entries = tree.entries(tree.root()).unwrap();
    let keys: Vec<_> = entries.iter().map(|(key, value)| (tree.str(*key), tree.int(*value))).collect();
    assert_eq!(keys, [(Some("a"), Some(1)), (Some("b"), Some(2))]);
}

#[test]
fn what_follows_the_end_is_not_looked_at() {
    let (_, length) = parse(b"K\x01.cos\nsystem\n", 0).unwrap();
    assert_eq!(length, 3);
}

/// Every way a pickle has of calling, all of `os.system("true")`.
#[test]
fn a_pickle_calling_os_system_is_refused_by_name_in_every_form() {
    let forms: &[(&str, &[u8], &str)] = &[
        ("REDUCE", b"cos\nsystem\n(U\x04truetR.", "os"),
        ("REDUCE of posix", b"cposix\nsystem\n(U\x04truetR.", "posix"),
        ("REDUCE of nt", b"cnt\nsystem\nU\x04true\x85R.", "nt"),
        ("INST", b"(U\x04trueios\nsystem\n.", "os"),
        ("INST, protocol 0", b"(S'true'\nios\nsystem\n.", "os"),
        ("OBJ", b"(cos\nsystem\nU\x04trueo.", "os"),
        ("OBJ, result dropped", b"(cos\nsystem\nU\x04trueo0N.", "os"),
        ("NEWOBJ", b"cos\nsystem\n(U\x04truet\x81.", "os"),
        ("NEWOBJ_EX", b"cos\nsystem\n(U\x04truet}\x92.", "os"),
        ("BUILD", b"cos\nsystem\n}b.", "os"),
        ("STACK_GLOBAL", b"\x8c\x02os\x8c\x06system\x93(U\x04truetR.", "os"),
        ("STACK_GLOBAL from the memo", b"\x8c\x06systemq\x000\x8c\x02osh\x00\x93(U\x04truetR.", "os"),
        ("the call from the memo", b"cos\nsystem\nq\x010N0h\x01U\x04true\x85R.", "os"),
        ("disguised as weights", b"cos\nsystem\n(U\x04truetR(U\x01aK\x01u.", "os"),
        ("broken behind", b"cos\nsystem\n(U\x04truetR\xff", "os"),
        ("through partial", b"cfunctools\npartial\n(cos\nsystem\nU\x04truetR.", "os"),
        (
            "through _reconstructor",
            b"ccopy_reg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR.",
            "os",
        ),
        ("a module's class", b"(U\x06modulecos\nsystem\nNNtQ(U\x04truet\x81.", "os"),
    ];
    for (form, bytes, module) in forms {
        match refusal(bytes) {
            ReadError::ForbiddenGlobal { at, module: found, name } => {
                assert_eq!((&*found, &*name), (*module, "system"), "{form}");
                assert!(at > 0 && (at as usize) < bytes.len(), "{form}: offset {at}");
            }
            other => panic!("{form}: {other}"),
        }
    }
}

#[test]
fn dangerous_functions_are_refused_and_honest_ones_are_not() {
    let call = |module: &str, name: &str| {
        let mut bytes = vec![0x8c, module.len() as u8];
        bytes.extend(module.as_bytes());
        bytes.extend([0x8c, name.len() as u8]);
        bytes.extend(name.as_bytes());
        bytes.extend(b"\x93)R.");
        matches!(parse(&bytes, 0), Err(ReadError::ForbiddenGlobal { .. }))
    };
    let dangerous = "builtins.eval builtins.exec builtins.compile builtins.open builtins.getattr builtins.__import__ \
        builtins.map __builtin__.apply __builtin__.execfile subprocess.Popen runpy._run_code pty.spawn ctypes.CDLL \
        shutil.rmtree socket.socket importlib.import_module importlib.util.x torch.load torch.hub.load \
        torch.serialization.load torch.storage._load_from_bytes pickle.loads _pickle.loads cPickle.loads dill.loads \
        operator.attrgetter operator.itemgetter operator.methodcaller webbrowser.open urllib.request.urlopen \
        marshal.loads types.CodeType types.FunctionType numpy.load cloudpickle.cloudpickle._make_function \
        _io.FileIO logging.FileHandler timeit.timeit code.InteractiveInterpreter pip.main sys.exit pkgutil.resolve_name \
        torch._dynamo.guards.GuardBuilder.get torch._inductor.codecache.compile_file picklescan.cli.main \
        numpy.testing._private.utils.runstring test.support.script_helper.x asyncio.unix_events._UnixSubprocessTransport._start";
    for path in dangerous.split_whitespace() {
        let (module, name) = path.rsplit_once('.').unwrap();
        assert!(call(module, name), "{path}");
    }
    for (module, name) in [
        ("builtins", "eval.__call__"),
        ("pathlib", "os.system"),
        ("collections", "OrderedDict.__class__"),
        ("argparse", "_sys.modules.__getitem__"),
        ("statistics", "builtins.eval"),
        ("torch.serialization", "os.system"),
        ("random", "_os.system.__call__"),
    ] {
        assert!(call(module, name), "{module} + {name}");
    }
    let honest = "collections.OrderedDict torch._utils._rebuild_tensor_v2 torch.nn.modules.conv.Conv2d torch.Size \
        torchvision.models.densenet.DenseNet argparse.Namespace pathlib.PosixPath numpy.core.multiarray.scalar \
        numpy.dtype numpy._core.multiarray._reconstruct fastcore.foundation.L omegaconf.dictconfig.DictConfig \
        pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint torch.optim.adam.Adam datetime.datetime \
        functools.partial _codecs.encode builtins.set builtins.bytearray builtins.ValueError __main__.Net \
        code.models.densenet.DenseNet types.SimpleNamespace uuid.UUID logging.getLogger torch.device enum.Enum";
    for path in honest.split_whitespace() {
        let (module, name) = path.rsplit_once('.').unwrap();
        assert!(!call(module, name), "{path}");
    }
    assert!(!call("mypackage", "Outer.Inner"));
}

#[test]
fn naming_a_function_without_calling_it_is_harmless() {
    let tree = tree(b"(cos\nsystem\nK\x01t.");
    assert_eq!(tree.globals().unwrap().into_iter().collect::<Vec<_>>(), ["os.system"]);
}

#[test]
fn lengths_past_the_end_are_refused_before_anything_is_allocated() {
    let cases: &[&[u8]] = &[
        b"X\xff\xff\xff\xff",
        b"B\xff\xff\xff\xffab",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x96\x00\x00\x00\x00\x00\x00\x00\x80",
        b"\x8b\xff\xff\xff\x7f",
        b"T\xff\xff\xff\x7f",
        b"U\xff",
        b"\x8a\xff",
        b"cos\n",
    ];
    for bytes in cases {
        assert!(matches!(refusal(bytes), ReadError::Truncated { .. }), "{bytes:?}");
    }
    assert!(matches!(refusal(b"\x8b\xff\xff\xff\xff"), ReadError::Pickle { .. }));
    assert!(matches!(refusal(b"T\xff\xff\xff\xff"), ReadError::Pickle { .. }));
}

#[test]
fn broken_stacks_are_errors_with_their_offset() {
    let cases: &[(&[u8], u64)] = &[
        (b".", 0),
        (b"N0.", 2),
        (b"t.", 0),
        (b"1.", 0),
        (b"(.", 1),
        (b"N(0a.", 3),
        (b"(N(a.", 3),
        (b"K\x01K\x02R.", 4),
        (b"}(Nu.", 3),
        (b"NNs.", 2),
        (b"h\x05.", 0),
        (b"q\x05.", 0),
        (b"K\x01K\x02\x93.", 4),
        (b"c\xff\nx\n.", 0),
        (b"(o.", 1),
        (b"}}b.", 2),
        (b"ca\nb\n)R}b}b.", 10),
        (b"\x80\x09.", 0),
        (b"\x82\x01.", 0),
        (b"\x97.", 0),
        (b"Ix\n.", 0),
        (b"S'x\n.", 0),
    ];
    for (bytes, want) in cases {
        match refusal(bytes) {
            ReadError::Pickle { at, .. } => assert_eq!(at, *want, "{bytes:?}"),
            other => panic!("{bytes:?}: {other}"),
        }
    }
    assert!(matches!(refusal(b"N\xff."), ReadError::UnknownOpcode { at: 1, opcode: 0xff }));
}

#[test]
fn bombs_cost_no_more_than_their_bytes() {
    // 10^10 elements from memo entries that hold the one before ten times; Python would take minutes to print it.
    let mut laughs = b"]q\x00".to_vec();
    for level in 1..100 {
        laughs.extend(b"](");
        laughs.extend([b'h', level - 1].repeat(10));
        laughs.extend([b'e', b'q', level]);
    }
    laughs.push(b'.');
    assert!(tree(&laughs).nodes.len() < 200);
    // A tuple doubled by DUP.
    let doubled = join(&[b"N", &b"2\x86".repeat(10_000), b"."]);
    assert!(tree(&doubled).nodes.len() < 10_002);
    // Contains itself, as an element, a value and a key.
    assert!(
        matches!(tree(b"]q\x00h\x00a.").node(tree(b"]q\x00h\x00a.").root()), Node::List(list) if list.len() == 1)
    );
    let own = tree(b"}q\x00h\x00h\x00s.");
    assert_eq!(own.entries(own.root()).unwrap().len(), 1);
    // A million lists deep: dropping it must not recurse.
    let deep = join(&[&b"]".repeat(1_000_000), &b"a".repeat(999_999), b"."]);
    assert_eq!(tree(&deep).nodes.len(), 1_000_000);
}

#[test]
fn limits_are_errors_that_say_what_and_how_much() {
    let max_of = |bytes: &[u8]| match refusal(bytes) {
        ReadError::LimitExceeded { max, .. } => max as usize,
        other => panic!("{other}"),
    };
    assert_eq!(max_of(&b"(".repeat(limits::MARKS + 1)), limits::MARKS);
    assert_eq!(max_of(&b"N0".repeat(limits::OPCODES / 2 + 1)), limits::OPCODES);
    let mut memo = b"N".to_vec();
    for index in 0..=limits::MEMO as u32 {
        memo.push(b'r');
        memo.extend(index.to_le_bytes());
    }
    assert_eq!(max_of(&memo), limits::MEMO);
    let name = join(&[b"c", &b"m".repeat(limits::NAME + 1), b"\nx\n."]);
    assert_eq!(max_of(&name), limits::NAME);
    let mut long = vec![b'B'];
    long.extend((limits::BYTES as u32).to_le_bytes());
    long.resize(limits::BYTES + 16, 0);
    assert_eq!(max_of(&long), limits::BYTES);
}
