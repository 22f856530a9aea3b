//! Where kernels get their threads from.

use std::ops::Range;

/// Threads to share a kernel's work: libtorch's own in the network, anything else in tests.
pub trait Threads: Sync {
    /// Threads that [`run`](Self::run) uses at once, at least 1.
    fn count(&self) -> usize;
    /// Calls `body` once for each of `0..tasks`, and returns when all have returned. Up to [`count`](Self::count) calls
    /// run at once, each on a thread of its own.
    fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync));
}

/// No thread but the caller's.
#[derive(Debug, Clone, Copy)]
pub struct Serial;

impl Threads for Serial {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(body);
    }
}

/// Threads started for each call and ended with it: for tests and measurements without libtorch.
#[derive(Debug, Clone, Copy)]
pub struct Scoped(
    /// How many; at least 1.
    pub usize,
);

impl Threads for Scoped {
    fn count(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        let threads = self.0.min(tasks);
        std::thread::scope(|scope| {
            for thread in 1..threads {
                scope.spawn(move || part(tasks, threads, thread).for_each(body));
            }
            part(tasks, threads.max(1), 0).for_each(body);
        });
    }
}

/// The `index`-th of `parts` nearly equal parts of `0..total`; empty ones come where there are more parts than items.
pub fn part(total: usize, parts: usize, index: usize) -> Range<usize> {
    total * index / parts..total * (index + 1) / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        for threads in 1..5 {
            for tasks in 0..9 {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                Scoped(threads).run(tasks, &|task| {
                    counts[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{threads} {tasks}");
            }
        }
    }

    #[test]
    fn parts_cover_the_whole_without_overlap() {
        for total in 0..20 {
            for parts in 1..7 {
                let all: Vec<usize> = (0..parts).flat_map(|index| part(total, parts, index)).collect();
                assert_eq!(all, (0..total).collect::<Vec<_>>());
            }
        }
    }
}
