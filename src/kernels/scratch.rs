//! Buffers of f32 on cache-line boundaries.

use std::ops::{Deref, DerefMut};

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; 16]);

/// f32s that begin on a 64-byte boundary, and room after them up to the next one.
#[derive(Clone, Default)]
pub struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        Aligned { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }

    /// `len` numbers: whatever was there before, or zeros. Grows, never shrinks: for scratch that is used again.
    pub fn take(&mut self, len: usize) -> &mut [f32] {
        if len > self.lines.len() * 16 {
            self.lines.resize(len.div_ceil(16), Line([0.0; 16]));
        }
        self.len = len;
        self
    }
}

impl Deref for Aligned {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `lines` holds at least `len` f32 (both constructors keep it so), and a `Line` is 16 f32 without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl std::fmt::Debug for Aligned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Aligned({} f32)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_aligned_and_grows_without_losing_its_alignment() {
        let mut scratch = Aligned::default();
        for len in [0, 1, 16, 17, 1000, 3] {
            let slice = scratch.take(len);
            assert_eq!(slice.len(), len);
            assert_eq!(slice.as_ptr() as usize % 64, 0);
        }
        assert!(Aligned::zeroed(33).iter().all(|x| *x == 0.0));
    }
}
