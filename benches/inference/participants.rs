//! Who takes part.

use super::case::{Case, Mode, Network};
use crate::peer::Peer;
use anyhow::{bail, Result};
use serde_json::{json, Value};
use std::path::Path;

/// One row of the tables.
#[derive(Clone, Copy, Debug)]
pub struct Participant {
    pub name: &'static str,
    who: Who,
    /// Measured only where `--only` names it.
    special: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    /// A `participant` of `peer_inference.py`, and the packages it needs besides torch.
    Python(&'static str, &'static [&'static str]),
    /// `ours.rs`.
    Ours(Ours),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Ours {
    /// tch's `vision::densenet` instead of this crate's network.
    tch: bool,
    numerics: &'static str,
    channels_last: bool,
    /// Whether `runtime::keep_freed_memory()` is called first, as the command does.
    keep: bool,
}

const OURS: Ours = Ours { tch: false, numerics: "exact", channels_last: false, keep: true };

/// Whose logits all are compared with.
pub const REFERENCE: &str = "PyTorch eager";
/// The faster of the two is what the others' times are divided by.
pub const RIVALS: [&str; 2] = ["ONNX Runtime", "OpenVINO"];
pub const FUSED: &str = "densenet, fused";
pub const EXACT: &str = "densenet, exact";

const ALL: [Participant; 11] = [
    python(REFERENCE, "eager", &[]),
    python("PyTorch eager, channels last", "channels_last", &[]),
    python("PyTorch torch.compile, freezing", "compile", &[]),
    python("PyTorch TorchScript, optimize_for_inference", "torchscript", &[]),
    python(RIVALS[0], "onnx_runtime", &["onnxruntime", "onnx", "onnxscript"]),
    python(RIVALS[1], "openvino", &["openvino", "onnx", "onnxscript"]),
    ours("tch's vision::densenet", Ours { tch: true, keep: false, ..OURS }, false),
    ours(EXACT, OURS, false),
    ours(FUSED, Ours { numerics: "fused", ..OURS }, false),
    ours("densenet without keep_freed_memory(), exact", Ours { keep: false, ..OURS }, true),
    ours("densenet channels last, exact", Ours { channels_last: true, ..OURS }, true),
];

const fn python(name: &'static str, variant: &'static str, packages: &'static [&'static str]) -> Participant {
    Participant { name, who: Who::Python(variant, packages), special: false }
}

const fn ours(name: &'static str, ours: Ours, special: bool) -> Participant {
    Participant { name, who: Who::Ours(ours), special }
}

/// Those whose name has one of the parts in it, or, without parts, all that are not special.
pub fn wanted(parts: &[String]) -> Result<Vec<Participant>> {
    let has = |name: &str| parts.iter().any(|part| name.to_lowercase().contains(&part.to_lowercase()));
    let wanted: Vec<_> =
        ALL.into_iter().filter(|one| if parts.is_empty() { !one.special } else { has(one.name) }).collect();
    if wanted.is_empty() {
        bail!("no participant has any of {parts:?} in its name: {:?}", ALL.map(|one| one.name));
    }
    Ok(wanted)
}

impl Participant {
    /// PyTorch eager.
    pub fn reference() -> Participant {
        ALL[0]
    }

    /// Whether it runs from an ONNX file.
    pub fn takes_onnx(&self) -> bool {
        RIVALS.contains(&self.name)
    }

    /// Whether it is this crate, whose exact logits are PyTorch's to the bit.
    pub fn is_exact(&self) -> bool {
        matches!(self.who, Who::Ours(Ours { tch: false, numerics: "exact", channels_last: false, .. }))
    }

    /// Why it cannot run such a case on any machine.
    pub fn cannot(&self, case: &Case) -> Option<&'static str> {
        let Who::Ours(ours) = self.who else { return None };
        match (ours, case) {
            (Ours { tch: true, .. }, Case { network: Network::FashionMnist, .. }) => {
                Some("tch has no such network")
            }
            (Ours { tch: true, .. }, Case { mode: Mode::Throughput, .. }) => {
                Some("tch's network cannot be shared between threads")
            }
            _ => None,
        }
    }

    /// Starts its process.
    ///
    /// # Errors
    /// Says which packages are missing.
    pub fn start(&self) -> Result<Peer> {
        match self.who {
            Who::Ours(_) => Peer::this_binary(self.name),
            Who::Python(_, packages) => {
                let mut peer = Peer::python(self.name)?;
                let missing = peer.ask(&json!({ "command": "missing", "packages": packages }))?;
                match missing.as_array().map(Vec::as_slice) {
                    Some([]) => Ok(peer),
                    _ => bail!("this Python lacks {missing}; `make bench-inference` has them"),
                }
            }
        }
    }

    /// The question that makes it ready. `weights` and `input` are safetensors files, `onnx` the network's ONNX file.
    pub fn question(&self, case: &Case, weights: &Path, input: &Path, onnx: Option<&Path>) -> Value {
        let together = case.mode == Mode::Throughput;
        let mut question =
            json!({ "command": "prepare", "threads": case.threads, "input": input, "together": together });
        match self.who {
            Who::Python(variant, _) => {
                question["participant"] = variant.into();
                if self.takes_onnx() {
                    question["onnx"] = json!(onnx);
                } else {
                    model(&mut question, case.network, weights);
                }
            }
            Who::Ours(Ours { tch, numerics, channels_last, keep }) => {
                // The embedded network by its name, as its users open it.
                let weights = match case.network {
                    Network::Published(_) => json!(weights),
                    Network::FashionMnist => json!(case.network.name()),
                };
                question["arch"] = case.network.name().into();
                question["weights"] = weights;
                question["tch"] = tch.into();
                question["numerics"] = numerics.into();
                question["channels_last"] = channels_last.into();
                question["keep_freed_memory"] = keep.into();
            }
        }
        question
    }
}

/// What `peer_inference.py` builds a network from.
pub fn model(question: &mut Value, network: Network, weights: &Path) {
    question["weights"] = json!(weights);
    match network {
        Network::Published(arch) => question["arch"] = arch.name().into(),
        Network::FashionMnist => question["config"] = json!(network.config()),
    }
}
