//! Bytes between forward and backward, as libtorch's allocator counts them.

use super::{channels_last, numbers, Setup};
use crate::oracle::ask;
use crate::support::small_network;
use densenet::autograd::{backward, count_cpu_memory, run_backward, Options};
use densenet::model::Memory;
use densenet::{Arch, DenseNetConfig};
use serde_json::json;

/// What a training-mode forward pass allocates and leaves in use: its input and the network are from before.
fn kept(config: &DenseNetConfig, memory: Memory, shape: [i64; 4], last: bool) -> i64 {
    let setup = Setup { channels_last: last, ..Setup::of(config.clone(), shape) };
    let (_vs, network) = setup.network(memory);
    let input = if last { channels_last(&numbers(&shape, 0.5)) } else { numbers(&shape, 0.5) };
    count_cpu_memory(|memory| {
        let logits = network.try_forward(&input, true).unwrap();
        assert!(logits.requires_grad());
        memory.live()
    })
    .unwrap()
}

/// One block of `layers` layers.
fn block(layers: i64) -> DenseNetConfig {
    DenseNetConfig { num_init_features: 16, ..small_network(&[layers], 10) }
}

#[test]
fn what_is_kept_is_a_straight_line_in_depth_but_for_two_vectors_a_layer() {
    let (shape, growth_rate) = ([2, 3, 32, 32], 8);
    let counts =
        |memory| (2..12).map(|layers| kept(&block(layers), memory, shape, false)).collect::<Vec<_>>();
    let bends = |counts: &[i64]| counts.windows(3).map(|w| w[2] - 2 * w[1] + w[0]).collect::<Vec<_>>();
    // The batch's mean and 1/√(variance + ε) of a layer's C channels, f32: one more layer reads k channels more.
    let vectors = 2 * 4 * growth_rate;
    assert_eq!(bends(&counts(Memory::Efficient)), vec![vectors; 8]);
    // Standard also keeps C channels of the concatenation and of relu1's output: 8×8 pixels of 2 pictures.
    let maps = 2 * 4 * growth_rate * 2 * 8 * 8;
    assert_eq!(bends(&counts(Memory::Standard)), vec![vectors + maps; 8]);
}

/// Bytes of every layer's concatenation and relu1's output, f32. (The features, which otherwise only the concatenations
/// hold, are read from the block's output.)
fn forgotten(config: &DenseNetConfig, [pictures, _, height, width]: [i64; 4]) -> i64 {
    let (mut channels, mut pixels, mut values) = (config.num_init_features, height / 4 * (width / 4), 0);
    for layers in &config.block_config {
        for _ in 0..*layers {
            values += 2 * channels * pixels;
            channels += config.growth_rate;
        }
        (channels, pixels) = (channels / 2, pixels / 4);
    }
    4 * pictures * values
}

#[test]
fn no_more_is_kept_than_by_torchvisions_memory_efficient_network() {
    // The second is where the vectors weigh most: many channels, few pixels.
    let small = DenseNetConfig { growth_rate: 16, num_init_features: 32, ..small_network(&[3, 2, 3], 10) };
    for (config, shape) in [(small, [2, 3, 64, 48]), (Arch::DenseNet161.config(), [2, 3, 64, 64])] {
        for channels_last in [false, true] {
            let theirs = |memory_efficient: bool| {
                let request = json!({
                    "config": config, "shape": shape, "memory_efficient": memory_efficient, "channels_last": channels_last
                });
                ask("kept_bytes", request).as_i64().unwrap()
            };
            let ours = |memory| kept(&config, memory, shape, channels_last);
            let (efficient, standard) = (ours(Memory::Efficient), ours(Memory::Standard));
            let case = format!("{:?}, channels_last {channels_last}", config.block_config);
            assert!(efficient <= theirs(true), "{case}: {efficient} bytes, torchvision {}", theirs(true));
            assert!(standard <= theirs(false), "{case}: {standard} bytes, torchvision {}", theirs(false));
            assert_eq!(standard - efficient, forgotten(&config, shape), "{case}");
        }
    }
}

#[test]
fn what_is_made_again_is_gone_after_every_layer_and_after_every_pass() {
    let setup = Setup::of(block(10), [2, 3, 32, 32]);
    let (_vs, network) = setup.network(Memory::Efficient);
    let input = setup.input(0.5);
    // Gradients exist from here on.
    backward(&setup.loss(&network, &input)).unwrap();
    count_cpu_memory(|memory| {
        let loss = setup.loss(&network, &input);
        let kept = memory.live();
        memory.restart_peak();
        for _ in 0..3 {
            run_backward(&[&loss], &[None], Options { retain_graph: true, ..Options::default() }).unwrap();
            assert_eq!(memory.live(), kept, "nothing more is kept");
        }
        // At once there are, of the last layer: concatenation, relu1's output, and their gradients; and what the
        // features' gradients take. All layers' at once would be ten times as much.
        let widest = 2 * 8 * 8 * (16 + 9 * 8) * 4;
        let extra = memory.peak() - kept;
        assert!(extra < 8 * widest, "{extra} bytes at the peak, the widest concatenation has {widest}");
        backward(&loss).unwrap();
        drop(loss);
        assert_eq!(memory.live(), 0, "all is freed");
    })
    .unwrap();
}
