//! Memory of passes under way, used again by the next.

use crate::kernels::{conv1x1, conv3x3, stem, Aligned};
use std::sync::{Mutex, PoisonError};

/// What one pass at a time needs. Grows to what the largest pictures asked for, and stays; its contents mean nothing between
/// passes.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub stem: stem::Scratch,
    pub conv1: conv1x1::Scratch,
    pub conv3: conv3x3::Scratch,
    /// Each block's features.
    pub features: Vec<Aligned>,
    /// conv1's outputs.
    pub bottleneck: Aligned,
    /// The new columns of a layer that reads the features itself.
    pub columns: Aligned,
    /// What the transition's (or the last) pooling gives.
    pub pooled: Aligned,
    /// The classifier's outputs, padded.
    pub logits: Aligned,
    /// The deep stem's maps.
    pub maps: [Aligned; 2],
}

/// Workspaces that no pass uses now: no more than there are processors, however many passes ran at once.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Workspace>>);

impl Pool {
    /// Runs `body` with a workspace that nobody else has meanwhile.
    pub fn with<R>(&self, body: impl FnOnce(&mut Workspace) -> R) -> R {
        let spare = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = spare().pop();
        let mut workspace = taken.unwrap_or_default();
        // A pass that panics drops its workspace.
        let result = body(&mut workspace);
        let keep = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut spare = spare();
        if spare.len() < keep {
            spare.push(workspace);
        }
        result
    }

    /// How many are kept.
    #[cfg(test)]
    pub fn spare(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn a_workspace_is_used_again_and_no_more_are_kept_than_there_are_processors() {
        let pool = Pool::default();
        pool.with(|workspace| workspace.pooled.take(5)[0] = 7.0);
        pool.with(|workspace| assert_eq!(workspace.pooled.take(5)[0], 7.0));
        assert_eq!(pool.spare(), 1);
        let processors = std::thread::available_parallelism().unwrap().get();
        let threads = processors + 3;
        let all_inside = Barrier::new(threads);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| pool.with(|_| all_inside.wait()));
            }
        });
        assert_eq!(pool.spare(), processors);
    }
}
