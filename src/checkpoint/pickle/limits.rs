//! How much of a pickle is read. Honest checkpoints stay far below: the largest DenseNet checkpoint with an optimizer has
//! 351 KB, 99,063 opcodes, 22,798 memo entries and 13 nested marks.

/// Bytes of one pickle.
pub(in crate::checkpoint) const BYTES: usize = 64 << 20;
/// Opcodes of one pickle. Each makes at most one node, so this bounds the tree.
pub(in crate::checkpoint) const OPCODES: usize = 4_000_000;
/// Memo entries.
pub(in crate::checkpoint) const MEMO: usize = 1_000_000;
/// Marks open at once.
pub(in crate::checkpoint) const MARKS: usize = 256;
/// Bytes of a module's or class's name.
pub(in crate::checkpoint) const NAME: usize = crate::checkpoint::limits::NAME;
/// Different classes and functions named. A whole module with its optimizer and settings names about 50.
pub(in crate::checkpoint) const GLOBALS: usize = 4096;
/// Values looked at while a tree is searched, for each of its values. Values may be shared, so that a short pickle is a
/// large tree to whoever walks it; honest ones are looked at about six times.
pub(in crate::checkpoint) const STEPS_A_VALUE: u64 = 64;
/// As many more, so that small trees need no thought.
pub(in crate::checkpoint) const FREE_STEPS: u64 = 1 << 16;
