//! The opcodes of pickle protocols 0 to 5, in one table. Source: CPython's `Lib/pickletools.py`.

/// How an opcode's argument is written behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    /// Nothing.
    Nothing,
    /// An unsigned byte.
    U1,
    /// Two bytes, little-endian.
    U2,
    /// Four bytes, little-endian.
    U4,
    /// Four bytes, little-endian, signed.
    I4,
    /// Eight bytes, little-endian.
    U8,
    /// Eight bytes, **big**-endian, a double.
    F8,
    /// One byte of length, then that many bytes.
    Bytes1,
    /// Four bytes of length, then that many bytes.
    Bytes4,
    /// Four signed bytes of length, then that many bytes.
    BytesI4,
    /// Eight bytes of length, then that many bytes.
    Bytes8,
    /// Text up to a line feed.
    Line,
    /// Two such lines.
    Lines,
}

macro_rules! opcodes {
    ($($name:ident $byte:literal $argument:ident)*) => {
        /// An opcode, named as in CPython without its underscores; the value is its byte.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Op { $($name = $byte),* }

        /// Every opcode with its argument.
        pub(super) const TABLE: &[(Op, Argument)] = &[$((Op::$name, Argument::$argument)),*];
    };
}

opcodes! {
    // Frame.
    Proto b'\x80' U1
    Frame b'\x95' U8
    Stop b'.' Nothing
    // Containers.
    Mark b'(' Nothing
    EmptyTuple b')' Nothing
    EmptyList b']' Nothing
    EmptyDict b'}' Nothing
    EmptySet b'\x8f' Nothing
    Tuple b't' Nothing
    Tuple1 b'\x85' Nothing
    Tuple2 b'\x86' Nothing
    Tuple3 b'\x87' Nothing
    List b'l' Nothing
    Dict b'd' Nothing
    FrozenSet b'\x91' Nothing
    Append b'a' Nothing
    Appends b'e' Nothing
    SetItem b's' Nothing
    SetItems b'u' Nothing
    AddItems b'\x90' Nothing
    // Scalars.
    None b'N' Nothing
    NewTrue b'\x88' Nothing
    NewFalse b'\x89' Nothing
    BinInt b'J' I4
    BinInt1 b'K' U1
    BinInt2 b'M' U2
    Long1 b'\x8a' Bytes1
    Long4 b'\x8b' BytesI4
    BinFloat b'G' F8
    Int b'I' Line
    Long b'L' Line
    Float b'F' Line
    // Strings.
    BinUnicode b'X' Bytes4
    ShortBinUnicode b'\x8c' Bytes1
    BinUnicode8 b'\x8d' Bytes8
    ShortBinString b'U' Bytes1
    BinString b'T' BytesI4
    ShortBinBytes b'C' Bytes1
    BinBytes b'B' Bytes4
    BinBytes8 b'\x8e' Bytes8
    ByteArray8 b'\x96' Bytes8
    String b'S' Line
    Unicode b'V' Line
    // Objects.
    Global b'c' Lines
    StackGlobal b'\x93' Nothing
    Reduce b'R' Nothing
    NewObj b'\x81' Nothing
    NewObjEx b'\x92' Nothing
    Inst b'i' Lines
    Obj b'o' Nothing
    Build b'b' Nothing
    PersId b'P' Line
    BinPersId b'Q' Nothing
    // Memo and stack.
    Put b'p' Line
    BinPut b'q' U1
    LongBinPut b'r' U4
    Memoize b'\x94' Nothing
    Get b'g' Line
    BinGet b'h' U1
    LongBinGet b'j' U4
    Dup b'2' Nothing
    Pop b'0' Nothing
    PopMark b'1' Nothing
    // Known, and refused: they need a registry or buffers from outside the file.
    Ext1 b'\x82' U1
    Ext2 b'\x83' U2
    Ext4 b'\x84' U4
    NextBuffer b'\x97' Nothing
    ReadonlyBuffer b'\x98' Nothing
}

const BY_BYTE: [Option<(Op, Argument)>; 256] = {
    let mut table = [None; 256];
    let mut i = 0;
    while i < TABLE.len() {
        table[TABLE[i].0 as usize] = Some(TABLE[i]);
        i += 1;
    }
    table
};

/// The opcode a byte stands for.
pub(super) fn opcode(byte: u8) -> Option<(Op, Argument)> {
    BY_BYTE[usize::from(byte)]
}
