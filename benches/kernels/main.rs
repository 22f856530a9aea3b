//! The fused network's CPU kernels, each beside the best that libtorch has for the same numbers and beside what the
//! processor can do at most. Prints tables in Markdown; docs/kernels.md has them.
//!
//! ```text
//! cargo bench --bench kernels
//! cargo bench --bench kernels -- --only '3×3 forward' --level avx2 --threads 1
//! ```
//!
//! One process, libtorch's own threads for both; participants run in turn, round by round, and a figure is that of the
//! shortest run. Operations are those of the plain algorithm (two a multiplication and addition), whatever is really done:
//! Winograd's may pass the peak. libtorch's part is the convolution alone, on an input that is normalized already and lies
//! dense; ours is everything that the pass does.

mod conv1x1;
mod conv3x3;
mod norm;
mod numbers;
mod peak;
mod table;

use clap::Parser;
use densenet::autograd::LibtorchThreads;
use densenet::kernels::{Level, Machine};
use table::Table;

/// Measures the kernels.
#[derive(Parser)]
struct Args {
    /// Only cases whose name, group first, has this in it
    #[arg(long, default_value = "")]
    only: String,
    /// avx512, avx2 (libtorch is held to it too) or portable [default: the best there is]
    #[arg(long)]
    level: Option<String>,
    /// Threads, ours and libtorch's [default: one a processor]
    #[arg(long)]
    threads: Option<usize>,
    /// Measure every algorithm of the 3×3 convolution, not only the one that is chosen
    #[arg(long)]
    algorithms: bool,
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
    if level.name() == "avx2" {
        // Read when libtorch, MKL and oneDNN first compute.
        for (name, value) in [
            ("ATEN_CPU_CAPABILITY", "avx2"),
            ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
            ("ONEDNN_MAX_CPU_ISA", "AVX2"),
        ] {
            std::env::set_var(name, value);
        }
    }
    let threads = match args.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    densenet::runtime::keep_freed_memory();
    tch::set_num_threads(i32::try_from(threads)?);
    println!("{level}, {threads} threads");
    let on = Machine { level, threads: &LibtorchThreads };
    peak::warm_up(on);
    let mut table = Table::new(on, &args.only);
    tch::no_grad(|| {
        conv1x1::measure(&mut table)?;
        conv3x3::measure(&mut table, args.algorithms)?;
        norm::measure(&mut table)
    })
}
