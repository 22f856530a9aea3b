//! TorchScript source: a class for each kind of module, whose `forward` is that module's in `model`.

/// The TorchScript module (the file `code/__torch__/densenet.py`) that the classes are in.
pub(super) const MODULE: &str = "densenet";

/// What an attribute of a class is.
pub(super) enum Attribute {
    Parameter,
    Buffer,
    /// A submodule of this class.
    Module(String),
}

/// Stands for the class's own name while its text is compared with others'.
const SELF: &str = "\0";

/// Classes written so far, each once: modules that compute the same share one.
#[derive(Default)]
pub(super) struct Classes(Vec<(String, String)>);

impl Classes {
    /// Writes a class and gives its name: `base`, with a number if that is another one's. `forward` is the body of
    /// `forward(self, ARGUMENT)`, a statement a line.
    pub(super) fn define(
        &mut self,
        base: &str,
        attributes: &[(&str, Attribute)],
        argument: &str,
        forward: &[String],
    ) -> String {
        let quoted = |wanted: fn(&Attribute) -> bool| -> String {
            let wanted = attributes.iter().filter(|(_, attribute)| wanted(attribute));
            wanted.map(|(name, _)| format!("\"{name}\", ")).collect()
        };
        let parameters = quoted(|attribute| matches!(attribute, Attribute::Parameter));
        let buffers = quoted(|attribute| matches!(attribute, Attribute::Buffer));
        let mut text = format!("  __parameters__ = [{parameters}]\n  __buffers__ = [{buffers}]\n");
        for (attribute, what) in attributes {
            match what {
                Attribute::Module(class) => text.push_str(&format!("  {attribute} : {}\n", full(class))),
                _ => text.push_str(&format!("  {attribute} : Tensor\n")),
            }
        }
        text.push_str("  training : bool\n");
        text.push_str(&format!("  def forward(self: {},\n    {argument}) -> Tensor:\n", full(SELF)));
        for statement in forward {
            text.push_str(&format!("    {statement}\n"));
        }
        if let Some((name, _)) = self.0.iter().find(|(name, known)| name.starts_with(base) && *known == text)
        {
            return name.clone();
        }
        let taken = |name: &str| self.0.iter().any(|(known, _)| known == name);
        let mut name = base.to_string();
        let mut number = 2;
        while taken(&name) {
            name = format!("{base}_{number}");
            number += 1;
        }
        self.0.push((name.clone(), text));
        name
    }

    /// The source of all of them.
    pub(super) fn into_text(self) -> String {
        let class =
            |(name, text): (String, String)| format!("class {name}(Module):\n{}", text.replace(SELF, &name));
        self.0.into_iter().map(class).collect()
    }
}

/// The name by which other classes know it.
fn full(class: &str) -> String {
    format!("__torch__.{MODULE}.{class}")
}
