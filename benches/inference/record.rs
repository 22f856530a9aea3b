//! What was measured, in memory and in a file of one JSON line a case.

use super::case::{Case, Mode};
use super::compare::processor_name;
use super::participants::{REFERENCE, RIVALS};
use crate::peer::number;
use crate::peer::table::{self, median};
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// One case's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub case: Case,
    pub processor: String,
    /// The instruction set of the peak and of our kernels.
    pub level: String,
    pub libtorch: String,
    /// The benchmark's binary, by its hash.
    pub build: String,
    /// Of as many threads as the case has.
    pub peak_gflops: f64,
    /// Operations, a multiply-add as two, of the plain network.
    pub gflop_per_image: f64,
    pub rows: Vec<Row>,
    /// Name and reason.
    pub not_measured: Vec<(String, String)>,
}

/// One participant's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub version: String,
    /// Milliseconds an image, a round each.
    pub rounds: Vec<f64>,
    /// Milliseconds of each pass.
    pub passes: Vec<f64>,
    /// From weights on disk to the first logits, while all the others got ready too.
    pub ready_seconds: f64,
    /// After all passes, and at most.
    pub resident_bytes: f64,
    pub peak_bytes: f64,
    /// Of networks that are to have PyTorch's bits.
    pub max_ulp: Option<i64>,
    /// Largest difference from PyTorch eager's logits over the largest logit.
    pub relative: f64,
}

/// One turn's.
pub struct Figures {
    pub ms_per_image: f64,
    pub passes: Vec<f64>,
}

impl Figures {
    pub fn of(answer: &Value, case: &Case) -> Result<Figures> {
        let passes = answer["milliseconds"].as_array().context("no passes")?;
        let passes =
            passes.iter().map(|pass| pass.as_f64().context("no number")).collect::<Result<Vec<_>>>()?;
        let whole = match case.mode {
            Mode::Latency => passes.iter().sum(),
            Mode::Throughput => number(answer, "wall_ms")?,
        };
        Ok(Figures { ms_per_image: whole / (passes.len() as f64 * case.batch_size as f64), passes })
    }
}

impl Row {
    pub fn ms(&self) -> f64 {
        median(&self.rounds)
    }

    /// The `share`-th of the passes, 0 to 1, in milliseconds.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.passes.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

impl Measured {
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The faster of ONNX Runtime and OpenVINO; where neither was measured PyTorch.
    pub fn rival(&self) -> &Row {
        let rivals = RIVALS.iter().filter_map(|name| self.row(name));
        let faster = rivals.min_by(|a, b| a.ms().total_cmp(&b.ms()));
        faster.or(self.row(REFERENCE)).unwrap_or(&self.rows[0])
    }

    /// Of the processor's peak, 0 to 1.
    pub fn share_of_peak(&self, row: &Row) -> f64 {
        1000.0 * self.gflop_per_image / row.ms() / self.peak_gflops
    }

    /// Prints the table.
    pub fn print(&self, json: bool) {
        let rival = self.rival().name.clone();
        let place = self.rows.iter().position(|row| row.name == rival).unwrap_or(0);
        let rows: Vec<table::Row> = self.rows.iter().map(|row| self.table_row(row)).collect();
        let fields = json!({ "bench": "inference", "case": self.case, "peak_gflops": self.peak_gflops });
        let Value::Object(fields) = fields else { return };
        if !json {
            println!(
                "\n{}, f32, {} rounds, {} ({}): ms an image, ratio with the median's 95 % interval, share of the FMA peak",
                self.case,
                self.rows.first().map_or(0, |row| row.rounds.len()),
                self.processor,
                self.level,
            );
        }
        table::print(&rows, place, "ms/image", &fields, json);
        for (name, reason) in self.not_measured.iter().filter(|_| !json) {
            println!("{name}: NOT MEASURED ({reason})");
        }
    }

    fn table_row(&self, row: &Row) -> table::Row {
        let (p99, share) = (row.percentile(0.99), self.share_of_peak(row));
        let (low, high) = table::interval(&table::ratios(&row.rounds, &self.rival().rounds));
        let logits = match row.max_ulp {
            Some(ulp) => format!("{ulp} ULP"),
            None => format!("{:.0e}", row.relative),
        };
        let megabytes = |bytes: f64| bytes / 1e6;
        table::Row {
            name: row.name.clone(),
            figures: row.rounds.clone(),
            note: format!(
                "[{low:.2}, {high:.2}]  {:3.0} %  99 of 100 passes in {p99:.2}  {:.0} MB, {:.0} at most  logits {logits} off",
                100.0 * share,
                megabytes(row.resident_bytes),
                megabytes(row.peak_bytes)
            ),
            fields: Map::from_iter([
                ("p50_ms".to_string(), row.percentile(0.5).into()),
                ("p99_ms".to_string(), p99.into()),
                ("interval".to_string(), json!([low, high])),
                ("share_of_peak".to_string(), share.into()),
                ("resident_bytes".to_string(), row.resident_bytes.into()),
                ("peak_bytes".to_string(), row.peak_bytes.into()),
                ("max_ulp".to_string(), row.max_ulp.into()),
                ("relative".to_string(), row.relative.into()),
                ("version".to_string(), row.version.as_str().into()),
            ]),
        }
    }
}

/// All cases so far.
pub struct Record {
    path: Option<PathBuf>,
    pub cases: Vec<Measured>,
}

impl Record {
    pub fn open(path: Option<&Path>) -> Result<Record> {
        let mut cases = Vec::new();
        if let Some(path) = path.filter(|path| path.exists()) {
            for line in fs::read_to_string(path)?.lines() {
                let measured = serde_json::from_str(line);
                cases.push(measured.with_context(|| format!("{}: remove it to begin anew", path.display()))?);
            }
        }
        Ok(Record { path: path.map(Path::to_path_buf), cases })
    }

    /// The case's figures, if they are of this machine and have every one of `names` that can be in it.
    pub fn find(&self, case: &Case, names: &[&str]) -> Result<Option<Measured>> {
        let Some(found) = self.cases.iter().find(|measured| measured.case == *case) else { return Ok(None) };
        if found.processor != processor_name() {
            bail!("{case} was recorded on {}: choose another --record", found.processor);
        }
        let known = |name: &&str| {
            found.row(name).is_some()
                || super::participants::wanted(&[])
                    .is_ok_and(|all| all.iter().any(|one| one.name == *name && one.cannot(case).is_some()))
        };
        let whole = names.iter().all(known);
        if whole && found.build != build()? {
            eprintln!("  measured by another build of this crate: remove its line from the record to measure it anew");
        }
        Ok(whole.then(|| found.clone()))
    }

    /// Adds a case, or takes the place of one, and writes the file at once.
    pub fn add(&mut self, measured: Measured) -> Result<()> {
        self.cases.retain(|other| other.case != measured.case);
        self.cases.push(measured);
        let Some(path) = &self.path else { return Ok(()) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        for measured in &self.cases {
            writeln!(file, "{}", serde_json::to_string(measured)?)?;
        }
        file.persist(path)?;
        Ok(())
    }
}

/// The first digits of this binary's SHA-256.
pub fn build() -> Result<String> {
    let hash = Sha256::digest(fs::read(std::env::current_exe()?)?);
    Ok(hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}
