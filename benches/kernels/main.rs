//! The fused network's CPU kernels in GF/s, beside PyTorch's and the processor's peak.
//!
//! ```text
//! cargo bench --bench kernels -- --only 14x14 --level avx2
//! ```
//!
//! One process, libtorch's own threads for both. A figure is the best of some repetitions; flops are those of the plain
//! convolution, whatever the algorithm: Winograd's may pass the peak.

mod conv3x3;

use clap::Parser;
use densenet::autograd::LibtorchThreads;
use densenet::kernels::Level;
use densenet::measure::peak;
use std::time::{Duration, Instant};

/// Measures the kernels.
#[derive(Parser)]
struct Args {
    /// Only shapes whose name has this in it
    #[arg(long, default_value = "")]
    only: String,
    /// avx512, avx2 or portable [default: the best there is]
    #[arg(long)]
    level: Option<String>,
    /// Threads, ours and PyTorch's [default: one a processor]
    #[arg(long)]
    threads: Option<usize>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let level = match &args.level {
        None => Level::best(),
        Some(name) => Level::available()
            .into_iter()
            .find(|level| level.name() == name)
            .ok_or_else(|| anyhow::anyhow!("this processor has no level {name}"))?,
    };
    let threads = match args.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    tch::set_num_threads(i32::try_from(threads)?);
    println!("{level}, {threads} threads, FMA peak {:.0} GF/s", peak::gflops(level, &LibtorchThreads));
    conv3x3::run(level, &args.only)
}

/// The shortest of at least five runs, and of as many as fit into a quarter of a second; after one that does not count.
fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let (begun, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 5 || begun.elapsed() < Duration::from_millis(250) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}
