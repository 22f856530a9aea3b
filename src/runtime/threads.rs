//! libtorch's thread counts.

use super::{Result, RuntimeError};

/// libtorch's thread counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Threads {
    /// Threads that one operator uses (OpenMP).
    pub intra_op: i32,
    /// Threads that run operators beside each other (TorchScript's `fork`; eager networks use none).
    pub inter_op: i32,
}

/// The thread counts in force. torch: `get_num_threads`, `get_num_interop_threads`.
pub fn threads() -> Threads {
    Threads { intra_op: tch::get_num_threads(), inter_op: tch::get_num_interop_threads() }
}

/// Sets how many threads one operator uses, for the whole process. torch: `set_num_threads`.
///
/// The count is part of what makes results equal to the bit: sums are split by it.
///
/// # Errors
/// [`RuntimeError::ThreadCount`] for 0, or more than an `i32` holds.
pub fn set_threads(threads: usize) -> Result<()> {
    match i32::try_from(threads) {
        Ok(count) if count > 0 => {
            tch::set_num_threads(count);
            Ok(())
        }
        _ => Err(RuntimeError::ThreadCount { threads }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_count_of_zero_or_past_an_i32_is_refused_and_changes_nothing() {
        let before = threads();
        for wrong in [0, i32::MAX as usize + 1, usize::MAX] {
            assert!(
                matches!(set_threads(wrong), Err(RuntimeError::ThreadCount { threads }) if threads == wrong)
            );
        }
        assert_eq!(threads(), before);
        // Setting what is set: other tests of this process share the count.
        set_threads(before.intra_op as usize).unwrap();
        assert_eq!(threads(), before);
    }
}
