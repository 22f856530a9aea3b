//! Memory that several threads write.

/// A pointer that tasks share, each to write what no other touches.
#[derive(Debug)]
pub(super) struct Shared<T = f32>(pub(super) *mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: a pointer by itself does nothing; whoever writes through it argues that tasks keep apart, and that what it was
// made from outlives their work.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer. (A closure that names this method holds the whole, and so is `Sync`.)
    pub(super) fn get(self) -> *mut T {
        self.0
    }
}
