//! What stays between the passes.

use crate::support::seed;
use densenet::autograd::count_cpu_memory;
use densenet::model::{Init, Kernels, Memory, Stem};
use densenet::{Arch, DenseNet, DenseNetConfig};
use tch::{nn, no_grad, Device, Kind, Tensor};

/// Bytes that a forward pass in training leaves behind.
fn kept(config: &DenseNetConfig, memory: Memory, kernels: Kernels, shape: [i64; 4]) -> i64 {
    let vs = nn::VarStore::new(Device::Cpu);
    let config = DenseNetConfig { memory, ..config.clone() };
    let mut network = DenseNet::with_init(&vs.root(), &config, Init::Zeros).unwrap();
    network.set_kernels(kernels);
    let xs = Tensor::ones(shape, (Kind::Float, Device::Cpu)).set_requires_grad(false);
    let (_logits, bytes) = count_cpu_memory(|memory| {
        let logits = network.try_forward(&xs, true).unwrap();
        let bytes = memory.live();
        (logits, bytes)
    })
    .unwrap();
    bytes
}

fn block(layers: i64) -> DenseNetConfig {
    DenseNetConfig {
        growth_rate: 12,
        block_config: vec![layers],
        num_init_features: 24,
        stem: Stem::Small,
        num_classes: 10,
        ..DenseNetConfig::default()
    }
}

/// N·H·W of the pictures below.
const ROWS: i64 = 2 * 16 * 16;

#[test]
fn memory_grows_linearly_with_depth() {
    let grows = |memory, kernels| -> Vec<i64> {
        let kept: Vec<i64> = [4, 8, 12, 16, 20]
            .iter()
            .map(|&layers| kept(&block(layers), memory, kernels, [2, 3, 16, 16]))
            .collect();
        kept.windows(2).map(|pair| pair[1] - pair[0]).collect()
    };
    for memory in [Memory::Fused, Memory::Minimal] {
        for kernels in [Kernels::Best, Kernels::Aten] {
            let steps = grows(memory, kernels);
            let (least, most) = (*steps.iter().min().unwrap(), *steps.iter().max().unwrap());
            // Rows are padded: four layers more are 48 columns, give or take 16 (and 16 more against cache conflicts).
            assert!(most - least <= 2 * 16 * 4 * ROWS, "{memory:?}, {kernels:?}: {steps:?}");
        }
    }
    // The ruler itself: a network that keeps every concatenation.
    let standard = grows(Memory::Standard, Kernels::Best);
    assert!(standard[3] - standard[0] > 10 * 2 * 16 * 4 * ROWS, "{standard:?}");
}

#[test]
fn fused_keeps_a_quarter_and_minimal_less_than_a_fifth_of_standard() {
    let config = Arch::DenseNet121.config();
    let of = |memory| kept(&config, memory, Kernels::Best, [2, 3, 64, 64]) as f64;
    let (standard, fused, minimal) = (of(Memory::Standard), of(Memory::Fused), of(Memory::Minimal));
    assert!(fused <= 0.25 * standard, "fused: {}", fused / standard);
    assert!(minimal <= 0.18 * standard, "minimal: {}", minimal / standard);
}

#[test]
fn a_pass_without_a_graph_and_a_graph_without_a_pass_leave_nothing() {
    let _guard = seed(1);
    let vs = nn::VarStore::new(Device::Cpu);
    let config = DenseNetConfig { memory: Memory::Fused, ..block(3) };
    let network = DenseNet::new(&vs.root(), &config).unwrap();
    let xs = Tensor::ones([2, 3, 16, 16], (Kind::Float, Device::Cpu));
    for train in [true, false] {
        let (live, logits) = count_cpu_memory(|memory| {
            let logits = no_grad(|| network.try_forward(&xs, train)).unwrap();
            drop(network.try_forward(&xs, train).unwrap());
            (memory.live(), logits)
        })
        .unwrap();
        // The logits themselves, in the allocator's smallest portions.
        assert!(live <= 1024, "train {train}: {live} bytes");
        assert_eq!(logits.size(), [2, 10]);
    }
}
