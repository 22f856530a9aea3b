//! Fills named tensors from a state dict: all of them or none.
//!
//! Three steps: match names and shapes, read and convert, write. Only the last touches the targets, and nothing in it
//! can fail that the first two let pass.

use super::copy;
use super::error::{CheckpointError, Result};
use super::infer::infer;
use super::normalize::{normalize, NameOptions, Normalized};
use super::prefix;
use super::report::{Hint, LoadReport, Misshaped};
use super::state_dict::{StateDict, TensorView};
use super::suggest::{suggest, Named};
use std::collections::{HashMap, HashSet};
use tch::{Device, Kind, Tensor};

/// How [`load`] treats what does not fit.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Whether missing, unexpected and mis-shaped tensors are an error (the default) or only reported.
    pub strict: bool,
    /// What to do about the head.
    pub head: Head,
    /// How the file's names are read.
    pub names: NameOptions,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { strict: true, head: Head::Required, names: NameOptions::default() }
    }
}

/// What [`load`] does about tensors outside `features.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// They are loaded like all others.
    #[default]
    Required,
    /// They keep their values, and the file's are left out, whatever they are: only the backbone is loaded.
    Skip,
}

/// Copies a state dict into named tensors.
///
/// `into` holds each tensor under its full name, in any order; names may have a prefix of their own (a network under a
/// sub-path of a bigger `VarStore`), and so may the file's: both are read from `features.` on, old and foreign names by
/// [`super::RENAMES`]. Names that are equal as they stand are never reinterpreted.
///
/// Targets keep their dtype, device, `requires_grad` and memory; values are converted as torch's `copy_` does. As in
/// torch, a counter of shape \[1\] fills a scalar, and a missing `num_batches_tracked` leaves the target's value. NaN
/// and infinity are values like others. The state dict must not share memory with the targets.
///
/// # Errors
/// On any error no target has changed. [`CheckpointError::ClassifierSize`] if only the number of classes differs,
/// [`CheckpointError::Mismatch`] for everything else that does not fit (both only if `options.strict`);
/// [`normalize`]'s errors; those of reading a tensor; [`CheckpointError::Unconvertible`] for complex and quantized
/// values; [`CheckpointError::DuplicateTarget`] and [`CheckpointError::TargetNotWritable`] for a bad `into`.
pub fn load(into: &[(String, Tensor)], dict: &StateDict, options: &LoadOptions) -> Result<LoadReport> {
    let targets = Targets::new(into)?;
    let file = if targets.are_exactly(dict) {
        Normalized::unchanged(dict)
    } else {
        normalize(dict, &options.names)?
    };
    let (report, pairs) = match_up(&targets, &file, options.head)?;
    if options.strict && (!report.fits() || (pairs.is_empty() && !into.is_empty())) {
        return Err(verdict(report, &targets));
    }
    write(read(pairs)?)?;
    Ok(report)
}

struct Target<'a> {
    /// The caller's name.
    name: &'a str,
    /// The name from `features.` on.
    bare: &'a str,
    tensor: &'a Tensor,
}

struct Targets<'a> {
    all: Vec<Target<'a>>,
    by_name: HashMap<&'a str, usize>,
    by_bare: HashMap<&'a str, usize>,
}

impl<'a> Targets<'a> {
    fn new(into: &'a [(String, Tensor)]) -> Result<Self> {
        let found = prefix::find(into.iter().map(|(name, _)| name.as_str()));
        // With several networks among the targets only names that are equal as they stand can match.
        let prefix = if let [one] = found[..] { one } else { "" };
        let mut targets =
            Targets { all: Vec::with_capacity(into.len()), by_name: HashMap::new(), by_bare: HashMap::new() };
        for (index, (name, tensor)) in into.iter().enumerate() {
            check_writable(name, tensor)?;
            if targets.by_name.insert(name, index).is_some() {
                return Err(CheckpointError::DuplicateTarget { name: name.clone() });
            }
            let bare = name.strip_prefix(prefix).unwrap_or(name);
            // `backbone.classifier.weight` is the network's, a `classifier.weight` beside it somebody else's.
            if bare.len() < name.len() || !targets.by_bare.contains_key(bare) {
                targets.by_bare.insert(bare, index);
            }
            targets.all.push(Target { name, bare, tensor });
        }
        Ok(targets)
    }

    /// Whether the file's names are the targets' own, counters aside.
    fn are_exactly(&self, dict: &StateDict) -> bool {
        let names: HashSet<&str> = dict.tensors.iter().map(|(name, _)| name.as_str()).collect();
        names.len() == dict.tensors.len()
            && names.iter().all(|name| self.by_name.contains_key(name))
            && self.all.iter().all(|target| names.contains(target.name) || is_counter(target.bare))
    }
}

fn check_writable(name: &str, tensor: &Tensor) -> Result<()> {
    let refuse = |reason| Err(CheckpointError::TargetNotWritable { name: name.to_string(), reason });
    if !tensor.defined() {
        return refuse("undefined");
    }
    if tensor.is_sparse() || tensor.is_mkldnn() {
        return refuse("not a strided tensor");
    }
    let expanded = tensor.size().iter().zip(tensor.stride()).any(|(&size, stride)| size > 1 && stride == 0);
    if expanded {
        return refuse("expanded: several of its elements share one place in memory");
    }
    Ok(())
}

fn is_counter(name: &str) -> bool {
    name == "num_batches_tracked" || name.ends_with(".num_batches_tracked")
}

fn in_backbone(name: &str) -> bool {
    name.starts_with("features.")
}

/// A target and what will fill it.
type Pair<'a> = (&'a Tensor, &'a TensorView);

fn match_up<'a>(
    targets: &Targets<'a>,
    file: &'a Normalized<'a>,
    head: Head,
) -> Result<(LoadReport, Vec<Pair<'a>>)> {
    let mut report = LoadReport {
        dropped: file.dropped.clone(),
        stripped_prefix: file.stripped_prefix.clone(),
        rules: file.rules.iter().map(|rule| rule.name).collect(),
        renamed: file.renamed,
        ..LoadReport::default()
    };
    let mut pairs = Vec::with_capacity(targets.all.len());
    let mut filled = vec![false; targets.all.len()];
    let mut left_over: Vec<Named> = Vec::new();
    let mut unwanted_classifier = false;
    for tensor in &file.tensors {
        let index =
            targets.by_bare.get(tensor.name.as_str()).or_else(|| targets.by_name.get(tensor.name.as_str()));
        let bare = index.map_or(tensor.name.as_str(), |&index| targets.all[index].bare);
        if head == Head::Skip && !in_backbone(bare) {
            report.skipped.push(tensor.original.to_string());
            continue;
        }
        let Some(&index) = index else {
            unwanted_classifier |= bare == "classifier.weight";
            report.unexpected.push(tensor.original.to_string());
            left_over.push((tensor.original, tensor.view.shape()));
            continue;
        };
        let target = &targets.all[index];
        filled[index] = true;
        let shape = target.tensor.size();
        if !same_shape(tensor.view.shape(), &shape) {
            report.misshaped.push(Misshaped {
                name: target.name.to_string(),
                file: tensor.view.shape().to_vec(),
                target: shape,
            });
            continue;
        }
        check_convertible(tensor.original, tensor.view.kind(), target.tensor.kind())?;
        pairs.push((target.tensor, tensor.view.as_ref()));
    }
    report.loaded = pairs.len();
    let mut wanting: Vec<(&str, Vec<i64>)> = Vec::new();
    for (target, _) in targets.all.iter().zip(&filled).filter(|(_, filled)| !**filled) {
        if head == Head::Skip && !in_backbone(target.bare) {
            continue;
        }
        if is_counter(target.bare) {
            report.counters_kept += 1;
            continue;
        }
        report.missing.push(target.name.to_string());
        wanting.push((target.name, target.tensor.size()));
    }
    let no_classifier = targets.by_bare.get("classifier.weight").is_some_and(|&index| !filled[index]);
    let unplaced = file.head_candidates.iter().any(|head| report.unexpected.contains(head));
    if head == Head::Required && (no_classifier || unplaced) {
        report.hints.push(match &file.head_candidates[..] {
            [] => Hint::NoClassifier,
            candidates => Hint::SeveralHeads { candidates: candidates.to_vec() },
        });
    }
    if unwanted_classifier {
        report.hints.push(Hint::UnwantedClassifier);
    }
    let ours = |name: &String| {
        targets.by_name.get(name.as_str()).is_some_and(|&index| in_backbone(targets.all[index].bare))
    };
    if report.missing.iter().any(ours) || report.misshaped.iter().any(|wrong| ours(&wrong.name)) {
        // A file whose own tensors fit each other is another network, not a damaged one.
        if let Ok(whole) = infer(file) {
            report.hints.push(Hint::OtherNetwork { network: whole.describe() });
            return Ok((report, pairs));
        }
    }
    let wanting: Vec<Named> = wanting.iter().map(|(name, shape)| (*name, &shape[..])).collect();
    report.hints.extend(suggest(&wanting, &left_over));
    Ok((report, pairs))
}

/// torch: "loading 1-dim tensor from 0.3.* to version 0.4+" (`Module._load_from_state_dict`).
fn same_shape(file: &[i64], target: &[i64]) -> bool {
    file == target || (target.is_empty() && file == [1])
}

fn check_convertible(name: &str, from: Kind, to: Kind) -> Result<()> {
    let plain = |kind| {
        !matches!(
            kind,
            Kind::ComplexHalf
                | Kind::ComplexFloat
                | Kind::ComplexDouble
                | Kind::QInt8
                | Kind::QUInt8
                | Kind::QInt32
        )
    };
    if from == to || (plain(from) && plain(to)) {
        return Ok(());
    }
    Err(CheckpointError::Unconvertible { name: name.to_string(), from, to })
}

/// The error for a report that does not fit.
fn verdict(report: LoadReport, targets: &Targets) -> CheckpointError {
    if report.missing.is_empty() && report.unexpected.is_empty() {
        let bare = |wrong: &Misshaped| {
            targets.by_name.get(wrong.name.as_str()).map(|&index| targets.all[index].bare)
        };
        let only_the_head = report.misshaped.iter().all(|wrong| !bare(wrong).is_some_and(in_backbone));
        let weight = report.misshaped.iter().find(|wrong| bare(wrong) == Some("classifier.weight"));
        if let (true, Some(Misshaped { name, file, target })) = (only_the_head, weight) {
            if let (&[file, width], &[target, other]) = (&file[..], &target[..]) {
                if width == other {
                    return CheckpointError::ClassifierSize { name: name.clone(), file, target };
                }
            }
        }
    }
    CheckpointError::Mismatch(Box::new(report))
}

/// A tensor's values, ready to be written: nothing about them can fail any more.
enum Values<'a> {
    /// Where they lie in the source, in the target's order, as numbers of this dtype.
    InPlace(&'a [u8], Kind),
    /// Read, inflated, reordered or moved.
    Read(Tensor),
}

/// Does all that can fail.
fn read(pairs: Vec<Pair<'_>>) -> Result<Vec<(&Tensor, Values<'_>)>> {
    pairs.into_iter().map(|(target, view)| Ok((target, read_one(target, view)?))).collect()
}

fn read_one<'a>(target: &Tensor, view: &'a TensorView) -> Result<Values<'a>> {
    let on_cpu = target.device() == Device::Cpu;
    if on_cpu && target.is_contiguous() {
        if let Some(bytes) = view.in_place() {
            return Ok(Values::InPlace(bytes, view.kind()));
        }
    }
    let mut source = view.to_tensor()?;
    if source.dim() != target.dim() {
        source = source.f_reshape(target.size())?;
    }
    // On the CPU `copy_` converts as it writes. Another device can run out of memory: find out before writing, and
    // convert first, since not every device has every dtype.
    if !on_cpu {
        source = source.f_to_kind(target.kind())?.f_to_device(target.device())?;
    }
    Ok(Values::Read(source))
}

/// Copies in place; what was read is freed as soon as it is copied.
fn write(values: Vec<(&Tensor, Values)>) -> Result<()> {
    tch::no_grad(|| {
        values.into_iter().try_for_each(|(target, values)| match values {
            Values::InPlace(bytes, kind) => copy::bytes(&target.f_view([-1])?, bytes, kind),
            Values::Read(source) => copy::tensor(target, &source),
        })
    })
}
