//! The network as modules of TorchScript: every struct of `model` becomes an object of a class with its forward pass.

use super::source::{Attribute, Classes, MODULE};
use crate::checkpoint::{Entry, ScriptModule, ScriptSource};
use crate::model::{BatchNorm2d, Conv2d, DenseBlock, DenseLayer, DenseNet, Linear, StemLayers, Transition};
use tch::{Kind, Tensor};

/// A network's objects and the source of their classes.
pub(super) struct Exported<'a> {
    pub(super) root: ScriptModule<'a>,
    pub(super) source: ScriptSource,
}

/// The whole network, its floating-point tensors in `kind`.
pub(super) fn module(network: &DenseNet, kind: Kind) -> Exported<'_> {
    let mut builder = Builder { classes: Classes::default(), kind };
    let root = builder.network(network);
    let text = builder.classes.into_text();
    Exported { root, source: ScriptSource { module: MODULE.to_string(), text } }
}

struct Builder {
    classes: Classes,
    kind: Kind,
}

/// Submodules by name.
type Children<'a> = Vec<(String, ScriptModule<'a>)>;

const ONE_TENSOR: &str = "input: Tensor";

impl Builder {
    /// An object without tensors of its own, its class defined by the bodies' statements.
    fn container<'a>(
        &mut self,
        class: &str,
        argument: &str,
        children: Children<'a>,
        forward: &[String],
    ) -> ScriptModule<'a> {
        let attributes: Vec<(&str, Attribute)> = children
            .iter()
            .map(|(name, child)| {
                let class = child.class.rsplit('.').next().unwrap_or_default();
                (name.as_str(), Attribute::Module(class.to_string()))
            })
            .collect();
        let class = self.classes.define(class, &attributes, argument, forward);
        object(&class, Vec::new(), children)
    }

    /// An object with tensors alone.
    fn leaf<'a>(
        &mut self,
        class: &str,
        tensors: Vec<(&'static str, &'a Tensor, Attribute)>,
        result: &str,
    ) -> ScriptModule<'a> {
        let kind = self.kind;
        let entries = tensors.iter().map(|(name, tensor, _)| Entry::of_tensor(*name, tensor).in_kind(kind));
        let entries = entries.collect();
        let attributes: Vec<(&str, Attribute)> =
            tensors.into_iter().map(|(name, _, attribute)| (name, attribute)).collect();
        let class = self.classes.define(class, &attributes, ONE_TENSOR, &[format!("return {result}")]);
        object(&class, entries, Vec::new())
    }

    fn conv<'a>(&mut self, conv: &'a Conv2d) -> ScriptModule<'a> {
        let (stride, padding) = (conv.stride, conv.padding);
        self.leaf(
            &format!("Conv2dStride{stride}Padding{padding}"),
            vec![("weight", &conv.weight, Attribute::Parameter)],
            &format!(
                "torch.conv2d(input, self.weight, None, [{stride}, {stride}], [{padding}, {padding}], [1, 1], 1)"
            ),
        )
    }

    fn norm<'a>(&mut self, norm: &'a BatchNorm2d) -> ScriptModule<'a> {
        self.leaf(
            "BatchNorm2d",
            vec![
                ("weight", &norm.weight, Attribute::Parameter),
                ("bias", &norm.bias, Attribute::Parameter),
                ("running_mean", &norm.running_mean, Attribute::Buffer),
                ("running_var", &norm.running_var, Attribute::Buffer),
                ("num_batches_tracked", &norm.num_batches_tracked, Attribute::Buffer),
            ],
            &format!(
                "torch.batch_norm(input, self.weight, self.bias, self.running_mean, self.running_var, False, {:?}, \
                 {:?}, True)",
                norm.momentum, norm.eps
            ),
        )
    }

    fn linear<'a>(&mut self, linear: &'a Linear) -> ScriptModule<'a> {
        self.leaf(
            "Linear",
            vec![
                ("weight", &linear.weight, Attribute::Parameter),
                ("bias", &linear.bias, Attribute::Parameter),
            ],
            "torch.linear(input, self.weight, self.bias)",
        )
    }

    fn layer<'a>(&mut self, layer: &'a DenseLayer) -> ScriptModule<'a> {
        let mut children = named([("norm1", self.norm(&layer.norm1)), ("conv1", self.conv(&layer.conv1))]);
        let mut forward = vec![
            "x = (self.norm1).forward(torch.cat(features, 1), )".to_string(),
            "y = (self.conv1).forward(torch.relu_(x), )".to_string(),
        ];
        let mut class = "DenseLayerWithoutBottleneck";
        if let (Some(norm2), Some(conv2)) = (&layer.norm2, &layer.conv2) {
            class = "DenseLayer";
            children.extend(named([("norm2", self.norm(norm2)), ("conv2", self.conv(conv2))]));
            forward.push("z = (self.norm2).forward(y, )".to_string());
            forward.push("return (self.conv2).forward(torch.relu_(z), )".to_string());
        } else {
            forward.push("return y".to_string());
        }
        self.container(class, "features: List[Tensor]", children, &forward)
    }

    fn block<'a>(&mut self, block: &'a DenseBlock) -> ScriptModule<'a> {
        let mut children = Children::new();
        let mut forward = vec!["features = [input]".to_string()];
        for (i, layer) in block.layers.iter().enumerate() {
            let name = format!("denselayer{}", i + 1);
            forward.push(format!("_{i} = torch.append(features, (self.{name}).forward(features, ))"));
            children.push((name, self.layer(layer)));
        }
        forward.push("return torch.cat(features, 1)".to_string());
        self.container(&format!("DenseBlock{}", block.layers.len()), ONE_TENSOR, children, &forward)
    }

    fn transition<'a>(&mut self, transition: &'a Transition) -> ScriptModule<'a> {
        let children = named([("norm", self.norm(&transition.norm)), ("conv", self.conv(&transition.conv))]);
        let forward = [
            "x = (self.conv).forward(torch.relu_((self.norm).forward(input, )), )".to_string(),
            "return torch.avg_pool2d(x, [2, 2], [2, 2], [0, 0], False, True, None)".to_string(),
        ];
        self.container("Transition", ONE_TENSOR, children, &forward)
    }

    /// The stem's children, and the statements that make `x` of `input`.
    fn stem<'a>(&mut self, stem: &'a StemLayers) -> (Children<'a>, Vec<String>) {
        let (mut children, mut forward) = (Children::new(), vec!["x = input".to_string()]);
        for (i, conv) in stem.convs.iter().enumerate() {
            children.push((format!("conv{i}"), self.conv(conv)));
            forward.push(format!("x = (self.conv{i}).forward(x, )"));
            if let Some(norm) = stem.norms.get(i) {
                children.push((format!("norm{i}"), self.norm(norm)));
                forward.push(format!("x = torch.relu_((self.norm{i}).forward(x, ))"));
            }
        }
        let pool =
            |stride| format!("x = torch.max_pool2d(x, [3, 3], [{stride}, {stride}], [1, 1], [1, 1], False)");
        if stem.blur {
            // model/blur_pool.rs
            forward.extend([
                pool(1),
                "row = torch.tensor([0.25, 0.5, 0.25])".to_string(),
                "filter = torch.to(torch.outer(row, row), x)".to_string(),
                "channels = torch.size(x, 1)".to_string(),
                "filter = torch.repeat(torch.view(filter, [1, 1, 3, 3]), [channels, 1, 1, 1])".to_string(),
                "x = torch.conv2d(torch.reflection_pad2d(x, [1, 1, 1, 1]), filter, None, [2, 2], [0, 0], [1, 1], \
                 channels)"
                    .to_string(),
            ]);
        } else if stem.pool {
            forward.push(pool(2));
        }
        (children, forward)
    }

    fn network<'a>(&mut self, network: &'a DenseNet) -> ScriptModule<'a> {
        let features = &network.features;
        let (mut children, mut forward) = self.stem(&features.stem);
        for (i, block) in features.blocks.iter().enumerate() {
            let number = i + 1;
            children.push((format!("denseblock{number}"), self.block(block)));
            forward.push(format!("x = (self.denseblock{number}).forward(x, )"));
            if let Some(transition) = features.transitions.get(i) {
                children.push((format!("transition{number}"), self.transition(transition)));
                forward.push(format!("x = (self.transition{number}).forward(x, )"));
            }
        }
        children.push(("norm5".to_string(), self.norm(&features.norm5)));
        forward.push("return (self.norm5).forward(x, )".to_string());
        let features = self.container("Features", ONE_TENSOR, children, &forward);

        let mut children = named([("features", features)]);
        let mut forward = vec![
            "x = torch.relu((self.features).forward(input, ))".to_string(),
            "x = torch.flatten(torch.adaptive_avg_pool2d(x, [1, 1]), 1, -1)".to_string(),
        ];
        match &network.classifier {
            Some(classifier) => {
                children.extend(named([("classifier", self.linear(classifier))]));
                forward.push("return (self.classifier).forward(x, )".to_string());
            }
            None => forward.push("return x".to_string()),
        }
        self.container("DenseNet", ONE_TENSOR, children, &forward)
    }
}

fn object<'a>(class: &str, tensors: Vec<Entry<'a>>, children: Children<'a>) -> ScriptModule<'a> {
    ScriptModule { class: format!("{MODULE}.{class}"), tensors, flags: vec![("training", false)], children }
}

fn named<'a, const N: usize>(children: [(&str, ScriptModule<'a>); N]) -> Children<'a> {
    children.into_iter().map(|(name, child)| (name.to_string(), child)).collect()
}
