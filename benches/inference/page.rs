//! The record as a section of a page: tables, and plots in its folder `images`.

use super::case::{Mode, Network};
use super::participants::{EXACT, FUSED, REFERENCE};
use super::record::{Measured, Record, Row};
use crate::peer::table::{interval, median, ratio, ratios};
use anyhow::{Context, Result};
use densenet::report::{bar_chart, Bars};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What this program wrote before stands between these lines.
const BEGIN: &str = "<!-- inference: written by `make bench-inference` from here … -->";
const END: &str = "<!-- … to here -->";

/// Puts the record's section into the page, in the place of the one before, or at its end.
pub fn write(path: &Path, record: &Record) -> Result<()> {
    let page = if path.exists() { fs::read_to_string(path)? } else { "# Performance\n".to_string() };
    let (before, after) = match page.split_once(BEGIN) {
        Some((before, rest)) => {
            let what = format!("{}: no line {END:?} after {BEGIN:?}", path.display());
            (before.to_string(), rest.split_once(END).context(what)?.1.to_string())
        }
        None => (format!("{}\n\n", page.trim_end()), "\n".to_string()),
    };
    let folder = path.parent().unwrap_or(Path::new("")).join("images");
    let section = section(record, &folder)?;
    fs::write(path, format!("{before}{BEGIN}\n{section}{END}{after}"))?;
    Ok(())
}

fn section(record: &Record, images: &Path) -> Result<String> {
    let mut text = String::from("\n## Forward passes on a CPU\n\n");
    let Some(first) = record.cases.first() else { return Ok(text) };
    let version = |name: &str| {
        let rows = record.cases.iter().flat_map(|case| &case.rows);
        rows.clone()
            .find(|row| row.name == name)
            .map_or("not measured".to_string(), |row| row.version.clone())
    };
    let peaks: BTreeSet<String> = (record.cases.iter())
        .map(|case| format!("{} {}: {:.0}", case.case.threads, threads(case.case.threads), case.peak_gflops))
        .collect();
    writeln!(
        text,
        "On {} ({}), otherwise idle; evaluation mode, no gradients, f32 throughout, random weights, the same for all \
         (Fashion-MNIST: the embedded network). PyTorch {}, ONNX Runtime {}, OpenVINO {}, libtorch {}. Each participant is a \
         process of its own, set up as its documentation says (`benches/peer_inference.py`, `benches/inference/ours.rs`), and \
         stays up while all are asked in turn, a few passes at a time. ONNX files are PyTorch's own exporter's; OpenVINO is told \
         to compute in f32, which processors with bf16 instructions would not do by themselves. `make bench-inference` measures \
         this again.\n",
        first.processor,
        first.level,
        version(REFERENCE),
        version(super::participants::RIVALS[0]),
        version(super::participants::RIVALS[1]),
        first.libtorch,
    )?;
    writeln!(
        text,
        "A cell: the median of the rounds · the median of the rounds' ratios to the faster of ONNX Runtime and OpenVINO (below 1 \
         is faster than both) · the share of the processor's FMA peak, counting the plain network's operations (Winograd's \
         convolution needs fewer, so it is no bound). FMA peak, GFLOP/s: {}.\n",
        peaks.into_iter().collect::<Vec<_>>().join("; ")
    )?;
    for group in groups(record) {
        table(&mut text, &group)?;
    }
    summary(&mut text, record)?;
    for threads in thread_counts(record) {
        let file = format!("inference_{threads}_{}.svg", self::threads(threads));
        if draw(record, threads, &images.join(&file))? {
            writeln!(
                text,
                "![Share of the FMA peak, {threads} {}](images/{file})\n",
                self::threads(threads)
            )?;
        }
    }
    memory(&mut text, record)?;
    Ok(text)
}

fn threads(count: usize) -> &'static str {
    if count == 1 {
        "thread"
    } else {
        "threads"
    }
}

/// Cases of one network and mode, in a table's order.
fn groups(record: &Record) -> Vec<Vec<&Measured>> {
    let mut groups: Vec<Vec<&Measured>> = Vec::new();
    for case in &record.cases {
        let same = |group: &&mut Vec<&Measured>| {
            (group[0].case.network, group[0].case.mode) == (case.case.network, case.case.mode)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(case),
            None => groups.push(vec![case]),
        }
    }
    for group in &mut groups {
        group.sort_by_key(|case| (case.case.batch_size, case.case.threads));
    }
    groups.sort_by_key(|group| (group[0].case.mode as u8, group[0].case.network.name()));
    groups
}

/// Names in the order of the first case that has them.
fn names(cases: &[&Measured]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in cases.iter().flat_map(|case| &case.rows) {
        if !names.contains(&row.name) {
            names.push(row.name.clone());
        }
    }
    names
}

fn table(text: &mut String, cases: &[&Measured]) -> Result<()> {
    let (network, mode) = (cases[0].case.network, cases[0].case.mode);
    let side = network.side();
    let counts_images = mode == Mode::Throughput || network == Network::FashionMnist;
    let unit = if counts_images { "images a second" } else { "ms an image" };
    let how = match mode {
        Mode::Latency => "all threads on one pass",
        Mode::Throughput => "a pass on each thread, of one network",
    };
    writeln!(text, "### {}, {side}×{side}, {how}: {unit}\n", network.name())?;
    let mut header = String::from("|");
    for case in cases {
        let count = case.case.threads;
        write!(header, " | batch {}, {count} {}", case.case.batch_size, threads(count))?;
    }
    writeln!(text, "{header} | logits off by |\n|{} --- |", " --- |".repeat(cases.len() + 1))?;
    for name in names(cases) {
        let mark = if name == FUSED { "**" } else { "" };
        write!(text, "| {mark}{name}{mark}")?;
        for case in cases {
            match case.row(&name) {
                Some(row) => write!(text, " | {}", cell(case, row, counts_images))?,
                None => write!(text, " | –")?,
            }
        }
        let rows: Vec<&Row> = cases.iter().filter_map(|case| case.row(&name)).collect();
        writeln!(text, " | {} |", off(&rows))?;
    }
    writeln!(text)?;
    let missing: BTreeSet<&(String, String)> = cases.iter().flat_map(|case| &case.not_measured).collect();
    for (name, reason) in missing {
        writeln!(text, "{name} was **not measured**: {reason}\n")?;
    }
    Ok(())
}

fn cell(case: &Measured, row: &Row, counts_images: bool) -> String {
    let ms = row.ms();
    let figure = match (counts_images, ms < 10.0) {
        (true, _) => format!("{:.0}", 1000.0 / ms),
        (false, true) => format!("{ms:.2}"),
        (false, false) => format!("{ms:.1}"),
    };
    let ratio = ratio(&row.rounds, &case.rival().rounds);
    format!("{figure} · {ratio:.2} · {:.0} %", 100.0 * case.share_of_peak(row))
}

/// How far the logits are from PyTorch eager's, at most.
fn off(rows: &[&Row]) -> String {
    match rows.iter().map(|row| row.max_ulp).collect::<Option<Vec<i64>>>() {
        Some(ulps) => format!("{} ULP", ulps.into_iter().max().unwrap_or(0)),
        None => format!("{:.0e}", rows.iter().map(|row| row.relative).fold(0.0, f64::max)),
    }
}

/// This crate's fused passes against the faster rival, case by case, with what the ratio's interval is.
fn summary(text: &mut String, record: &Record) -> Result<()> {
    let pairs: Vec<_> = record.cases.iter().filter_map(|case| Some((case, case.row(FUSED)?))).collect();
    if pairs.is_empty() {
        return Ok(());
    }
    let pairs = |mode| pairs.iter().filter(move |(case, _)| case.case.mode == mode);
    let all: Vec<f64> = pairs(Mode::Latency)
        .filter(|(case, _)| case.case.network != Network::FashionMnist)
        .map(|(case, row)| ratio(&row.rounds, &case.rival().rounds))
        .collect();
    writeln!(text, "### `Numerics::Fused` against the faster of ONNX Runtime and OpenVINO\n")?;
    if !all.is_empty() {
        writeln!(
            text,
            "{} cases at 224×224: ratios {:.2} to {:.2}, median {:.2}. With the interval that holds the median with 95 % \
             confidence, and the time of half and of 99 in 100 passes:\n",
            all.len(),
            all.iter().copied().fold(f64::INFINITY, f64::min),
            all.iter().copied().fold(0.0, f64::max),
            median(&all),
        )?;
    }
    writeln!(
        text,
        "| case | ratio | interval | rival | p50, ms | p99, ms | rounds |\n|{}",
        " --- |".repeat(7)
    )?;
    for (case, row) in pairs(Mode::Latency).chain(pairs(Mode::Throughput)) {
        let rival = case.rival();
        let ratios = ratios(&row.rounds, &rival.rounds);
        let (low, high) = interval(&ratios);
        writeln!(
            text,
            "| {} | {:.2} | {low:.2} – {high:.2} | {} | {:.2} | {:.2} | {} |",
            case.case,
            median(&ratios),
            rival.name,
            row.percentile(0.5),
            row.percentile(0.99),
            row.rounds.len(),
        )?;
    }
    writeln!(text)?;
    Ok(())
}

/// What a process that classifies one picture at a time holds.
fn memory(text: &mut String, record: &Record) -> Result<()> {
    let single = |case: &&Measured| {
        case.case.batch_size == 1 && case.case.mode == Mode::Latency && case.row(FUSED).is_some()
    };
    let Some(case) =
        record.cases.iter().filter(single).max_by_key(|case| (case.rows.len(), case.case.threads))
    else {
        return Ok(());
    };
    writeln!(
        text,
        "### Memory: {}\n\nA process that has loaded the network and runs it, resident: after the last pass, and at its highest \
         (loading, and what making ready takes, included). ONNX Runtime's and OpenVINO's are Python processes without torch. \
         \"Ready\" is from the weights' file to the first logits, while the other participants got ready too.\n",
        case.case
    )?;
    writeln!(text, "| | steady, MB | peak, MB | ready, s |\n|{}", " --- |".repeat(4))?;
    for row in &case.rows {
        let mark = if row.name == FUSED || row.name == EXACT { "**" } else { "" };
        writeln!(
            text,
            "| {mark}{}{mark} | {:.0} | {:.0} | {:.1} |",
            row.name,
            row.resident_bytes / 1e6,
            row.peak_bytes / 1e6,
            row.ready_seconds
        )?;
    }
    writeln!(text)?;
    Ok(())
}

fn plotted(case: &&Measured) -> bool {
    case.case.mode == Mode::Latency && case.case.network != Network::FashionMnist
}

fn thread_counts(record: &Record) -> BTreeSet<usize> {
    record.cases.iter().filter(plotted).map(|case| case.case.threads).collect()
}

/// Draws the published networks' cases of so many threads; `false` where there are none.
fn draw(record: &Record, threads: usize, path: &Path) -> Result<bool> {
    let mut cases: Vec<&Measured> =
        record.cases.iter().filter(plotted).filter(|case| case.case.threads == threads).collect();
    cases.sort_by_key(|case| (case.case.network.name(), case.case.batch_size));
    if cases.is_empty() {
        return Ok(false);
    }
    let groups: Vec<String> = (cases.iter())
        .map(|case| {
            format!("{}, {}", case.case.network.name().trim_start_matches("densenet"), case.case.batch_size)
        })
        .collect();
    let series: Vec<_> = (names(&cases).into_iter())
        .map(|name| {
            let share = |case: &&Measured| Some(100.0 * case.share_of_peak(case.row(&name)?));
            let heights = cases.iter().map(share).collect();
            (name, heights)
        })
        .collect();
    let title = format!(
        "Forward passes: share of the FMA peak, {threads} {} (network, batch; higher is faster)",
        self::threads(threads)
    );
    fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
    fs::write(
        path,
        bar_chart(&Bars { title: &title, y_label: "% of the FMA peak", groups: &groups, series: &series }),
    )?;
    Ok(true)
}
