//! What a network's parameters are, without reading them.

use crate::autograd;
use crate::model::batch_norm::BatchNorm2d;
use crate::model::densenet::DenseNet;
use crate::model::layers::Conv2d;
use tch::Tensor;

/// Every tensor's address and version, and the settings of the layers around them. libtorch raises a tensor's version with
/// every operation that writes to it, through whatever view.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<u64>);

impl Fingerprint {
    pub fn of(network: &DenseNet) -> Fingerprint {
        let mut print = Fingerprint(Vec::new());
        let features = &network.features;
        features.stem.convs.iter().for_each(|conv| print.conv(conv));
        features.stem.norms.iter().for_each(|norm| print.norm(norm));
        print.0.extend([features.stem.pool, features.stem.blur].map(u64::from));
        for block in &features.blocks {
            print.0.push(block.layers.len() as u64);
            for layer in &block.layers {
                print.norm(&layer.norm1);
                print.conv(&layer.conv1);
                layer.norm2.iter().for_each(|norm| print.norm(norm));
                layer.conv2.iter().for_each(|conv| print.conv(conv));
            }
        }
        for transition in &features.transitions {
            print.norm(&transition.norm);
            print.conv(&transition.conv);
        }
        print.norm(&features.norm5);
        if let Some(classifier) = &network.classifier {
            print.tensor(&classifier.weight);
            print.tensor(&classifier.bias);
        }
        print
    }

    fn tensor(&mut self, tensor: &Tensor) {
        self.0.push(tensor.data_ptr() as u64);
        // A tensor made in inference mode has no version: its address alone counts.
        self.0.push(autograd::version(tensor).unwrap_or(-1) as u64);
    }

    fn conv(&mut self, conv: &Conv2d) {
        self.tensor(&conv.weight);
        self.0.extend([conv.stride as u64, conv.padding as u64]);
    }

    fn norm(&mut self, norm: &BatchNorm2d) {
        // libtorch's batch norm moves the running statistics without raising their versions; the counter of passes that it
        // moves with them has one.
        let counter = &norm.num_batches_tracked;
        for tensor in [&norm.weight, &norm.bias, &norm.running_mean, &norm.running_var, counter] {
            self.tensor(tensor);
        }
        self.0.push(norm.eps.to_bits());
    }
}
