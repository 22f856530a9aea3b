//! TorchScript archives: modules whose attributes are tensors and other modules, and the source of their classes.
//!
//! tch's `.ot` is one: a module called `__torch__.Module` that holds all tensors, its methods none. Source: torch's
//! `torch/csrc/jit/serialization/export_module.cpp` and `docs/source/jit_language_reference.rst`.

use super::entry::Entry;
use super::pth;
use super::zip::ZipWriter;
use super::Sink;
use crate::checkpoint::error::{CheckpointError, Result};
use crate::checkpoint::pickle::Writer;

const ROOT: &str = "archive";
/// `version`: the oldest that has every operator as it is used here, so that older libtorchs read the file too.
const VERSION: &str = "3\n";
/// The class of tch's archives.
const OT_CLASS: &str = "Module";

/// An instance of a class: its tensors, its flags, then its children.
pub(crate) struct ScriptModule<'a> {
    /// The class's name behind `__torch__.`, in dotted form.
    pub(crate) class: String,
    /// Parameters and buffers, which of the two its class says.
    pub(crate) tensors: Vec<Entry<'a>>,
    /// Attributes that are true or false.
    pub(crate) flags: Vec<(&'static str, bool)>,
    /// Submodules.
    pub(crate) children: Vec<(String, ScriptModule<'a>)>,
}

/// A file of source text.
pub(crate) struct ScriptSource {
    /// The module its classes are in, behind `__torch__`; empty for `__torch__` itself.
    pub(crate) module: String,
    /// TorchScript.
    pub(crate) text: String,
}

/// Writes an archive that `torch::jit::load` reads; `extra` are the files that its `_extra_files` finds.
pub(super) fn write(
    sink: &mut Sink,
    root: &ScriptModule,
    sources: &[ScriptSource],
    extra: &[(&str, &[u8])],
) -> Result<()> {
    let mut pickle = Writer::new();
    let mut storages = Vec::new();
    push_module(&mut pickle, root, &mut storages)?;
    let mut constants = Writer::new();
    constants.tuple(0, |_| ());
    let mut zip = ZipWriter::new(sink, ROOT);
    for (index, entry) in storages.iter().enumerate() {
        zip.member(&format!("data/{index}"), &entry.bytes()?)?;
    }
    zip.member("data.pkl", &pickle.finish())?;
    for source in sources {
        let path = source.module.split('.').fold("code/__torch__".to_string(), |path, part| match part {
            "" => path,
            part => format!("{path}/{part}"),
        });
        zip.member(&format!("{path}.py"), source.text.as_bytes())?;
    }
    zip.member("constants.pkl", &constants.finish())?;
    for (name, bytes) in extra {
        zip.member(&format!("extra/{name}"), bytes)?;
    }
    zip.member("version", VERSION.as_bytes())?;
    zip.member("byteorder", b"little")?;
    zip.finish()
}

/// Pushes an object with its attributes, and lists the storages of its tensors.
fn push_module<'a>(
    pickle: &mut Writer,
    module: &'a ScriptModule<'a>,
    storages: &mut Vec<&'a Entry<'a>>,
) -> Result<()> {
    enum Attribute<'a> {
        Tensor(&'a Entry<'a>, &'static str),
        Flag(bool),
        Module(&'a ScriptModule<'a>),
    }
    let mut attributes: Vec<(&str, Attribute)> = Vec::new();
    for entry in &module.tensors {
        attributes.push((&entry.name, Attribute::Tensor(entry, pth::class(entry)?)));
    }
    attributes.extend(module.flags.iter().map(|(name, value)| (*name, Attribute::Flag(*value))));
    let children = module.children.iter();
    attributes.extend(children.map(|(name, child)| (name.as_str(), Attribute::Module(child))));

    let (path, class) = match module.class.rsplit_once('.') {
        Some((path, class)) => (format!("__torch__.{path}"), class),
        None => ("__torch__".to_string(), module.class.as_str()),
    };
    pickle.global(&path, class);
    pickle.tuple(0, |_| ());
    pickle.new_object();
    pickle.empty_dict();
    let mut result = Ok(());
    pickle.set_items(&attributes, |pickle, (name, attribute)| {
        pickle.text(name);
        match attribute {
            Attribute::Tensor(entry, class) => {
                pth::tensor(pickle, entry, class, &storages.len().to_string(), false);
                storages.push(entry);
            }
            Attribute::Flag(value) => pickle.bool(*value),
            Attribute::Module(child) => {
                let pushed = push_module(pickle, child, storages);
                result = std::mem::replace(&mut result, Ok(())).and(pushed);
            }
        }
    });
    pickle.build();
    result
}

/// Writes tch's own format, as `VarStore::save` does: names with bars for dots.
pub(super) fn write_ot(sink: &mut Sink, entries: &[Entry]) -> Result<()> {
    let mut tensors = Vec::with_capacity(entries.len());
    for entry in entries {
        let unspeakable = |c: char| c.is_control() || matches!(c, '"' | '\\' | '|');
        if entry.name.contains(unspeakable) {
            let problem = "holds a quote, a bar, a backslash or a control character, which .ot cannot hold";
            return Err(CheckpointError::UnwritableName { tensor: entry.name.to_string(), problem });
        }
        tensors.push(entry.clone().named(entry.name.replace('.', "|")));
    }
    let names: String = tensors.iter().map(|entry| format!("\"{}\", ", entry.name)).collect();
    let mut text =
        format!("class {OT_CLASS}(Module):\n  __parameters__ = [{names}]\n  __buffers__ = []\n  __annotations__ = []\n");
    for entry in &tensors {
        text.push_str(&format!("  __annotations__[\"{}\"] = Tensor\n", entry.name));
    }
    let root = ScriptModule { class: OT_CLASS.to_string(), tensors, flags: Vec::new(), children: Vec::new() };
    write(sink, &root, &[ScriptSource { module: String::new(), text }], &[])
}
