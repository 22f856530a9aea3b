//! Against live torchvision with `memory_efficient=True`.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch, small_network};
use densenet::model::Init;
use densenet::DenseNet;
use serde_json::json;
use tch::{nn, no_grad, Device};

#[test]
fn gradients_are_torchvisions_and_statistics_move_once_where_torchvisions_move_twice() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
    let folder = scratch();
    let out = folder.path().join("step.safetensors");
    let config = small_network(&[3, 2, 3], 10);
    ask("efficient_step", json!({ "config": config, "seed": 3, "shape": [2, 3, 64, 48], "out": out }));
    let want = read_safetensors(&out);
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::with_init(&vs.root(), &config.memory_efficient(true), Init::Zeros).unwrap();
    no_grad(|| {
        for (key, mut tensor) in network.named_tensors() {
            tensor.copy_(&want[&format!("start.{key}")]);
        }
    });
    let input = want["input"].set_requires_grad(true);
    let loss = network.try_forward(&input, true).unwrap().cross_entropy_for_logits(&want["target"]);
    loss.backward();
    assert_same_bits("loss", &loss, &want["loss"]);
    assert_same_bits("grad.input", &input.grad(), &want["grad.input"]);
    let (mut gradients, mut inside, mut outside) = (0, 0, 0);
    for (key, tensor) in network.named_tensors() {
        if let Some(gradient) = want.get(&format!("grad.{key}")) {
            assert_same_bits(&format!("grad.{key}"), &tensor.grad(), gradient);
            gradients += 1;
        } else if key.ends_with("num_batches_tracked") {
            assert_eq!(tensor.int64_value(&[]), 8, "{key}: from 7");
            // torchvision's checkpoint runs norm1 again, counters and all.
            let theirs = want[&format!("after.{key}")].int64_value(&[]);
            let twice = key.contains("denselayer") && key.contains("norm1");
            assert_eq!(theirs, if twice { 9 } else { 8 }, "{key}: torchvision's");
            *if twice { &mut inside } else { &mut outside } += 1;
        }
    }
    assert_eq!((gradients > 50, inside, outside), (true, 8, 12));
}
