//! Updates, mean weights and scaled losses against torch's.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch};
use densenet::train::{AdamW, Ema, EmaOptions, GradScaler, Group, Optimizer, Rule, Sgd};
use serde_json::json;
use std::collections::BTreeMap;
use tch::{no_grad, Tensor};

const STEPS: usize = 100;

fn sgd(momentum: f64, dampening: f64, nesterov: bool) -> Rule {
    Rule::Sgd(Sgd { momentum, dampening, nesterov })
}

/// Vectors longer and shorter than a register, convolutions' shapes, a scalar.
fn shapes() -> Vec<Vec<i64>> {
    vec![vec![13, 5, 3, 3], vec![64, 32, 1, 1], vec![7], vec![33], vec![10, 129], vec![], vec![3, 3]]
}

fn rules() -> Vec<Rule> {
    vec![
        sgd(0.0, 0.0, false),
        sgd(0.9, 0.0, false),
        sgd(0.9, 0.0, true),
        sgd(0.8, 0.3, false),
        Rule::AdamW(AdamW::default()),
        Rule::AdamW(AdamW { beta1: 0.8, beta2: 0.95, eps: 1e-3 }),
    ]
}

/// Parameters in groups as the oracle makes them.
fn groups(tensors: &BTreeMap<String, Tensor>, decays: &[f64], lr: f64) -> Vec<Group> {
    let mut groups: Vec<Group> =
        decays.iter().map(|&weight_decay| Group { parameters: Vec::new(), lr, weight_decay }).collect();
    for index in 0..shapes().len() {
        let parameter = tensors[&format!("before.{index}")].copy().set_requires_grad(true);
        groups[index % decays.len()].parameters.push((index.to_string(), parameter));
    }
    groups
}

fn step(optimizer: &mut Optimizer, tensors: &BTreeMap<String, Tensor>, step: usize) {
    optimizer.zero_grad().unwrap();
    for (name, parameter) in optimizer.groups.iter().flat_map(|group| &group.parameters) {
        if let Some(gradient) = tensors.get(&format!("grad.{step}.{name}")) {
            // A gradient comes by a backward pass alone.
            (parameter * gradient).sum(None).backward();
            assert_same_bits("the gradient", &parameter.grad(), gradient);
        }
    }
    optimizer.step().unwrap();
    optimizer.groups.iter_mut().for_each(|group| group.lr *= 0.99);
}

fn compare(case: &str, optimizer: &Optimizer, tensors: &BTreeMap<String, Tensor>) {
    for (name, parameter) in optimizer.groups.iter().flat_map(|group| &group.parameters) {
        let want = &tensors[&format!("after.{name}")];
        assert_same_bits(&format!("{case}: parameter {name}"), parameter, want);
    }
    let state = optimizer.state();
    let theirs = tensors.keys().filter(|key| key.starts_with("state.")).count();
    assert_eq!(state.len(), theirs, "{case}: state");
    for (name, tensor) in state {
        assert_same_bits(&format!("{case}: {name}"), &tensor, &tensors[&format!("state.{name}")]);
    }
}

#[test]
fn parameters_and_state_after_100_steps_are_torchs_to_the_bit() {
    let folder = scratch();
    for rule in rules() {
        for decays in [vec![0.0], vec![1e-2, 0.0, 0.3]] {
            let out = folder.path().join("o.safetensors");
            let request = json!({
                "rule": rule, "weight_decays": decays, "lr": 0.03, "steps": STEPS, "shapes": shapes(), "seed": 9, "out": out
            });
            ask("optimize", request);
            let tensors = read_safetensors(&out);
            let case = format!("{rule:?}, decay {decays:?}");
            let mut optimizer = Optimizer::new(rule, groups(&tensors, &decays, 0.03)).unwrap();
            let mut taken_over = None;
            for number in 0..STEPS {
                if number == 40 {
                    // Half-way another optimizer takes over, by the saved state.
                    let parameters = optimizer.groups.iter().flat_map(|group| &group.parameters);
                    let now: BTreeMap<String, Tensor> = parameters
                        .map(|(name, parameter)| (format!("before.{name}"), parameter.detach()))
                        .collect();
                    let lr = optimizer.groups[0].lr;
                    let mut second = Optimizer::new(rule, groups(&now, &decays, lr)).unwrap();
                    second.load_state(&optimizer.state()).unwrap();
                    taken_over = Some(second);
                }
                step(&mut optimizer, &tensors, number);
                if let Some(second) = &mut taken_over {
                    step(second, &tensors, number);
                }
            }
            compare(&case, &optimizer, &tensors);
            compare(&format!("{case}, resumed"), &taken_over.unwrap(), &tensors);
        }
    }
}

#[test]
fn a_state_of_another_optimizer_is_refused_and_changes_nothing() {
    let parameter = Tensor::from_slice(&[1f32, 2.0]).set_requires_grad(true);
    let group = || {
        vec![Group { parameters: vec![("p".into(), parameter.shallow_clone())], lr: 0.1, weight_decay: 0.0 }]
    };
    let mut optimizer = Optimizer::new(sgd(0.9, 0.0, true), group()).unwrap();
    parameter.sum(None).backward();
    optimizer.step().unwrap();
    let before: Vec<f32> = Vec::try_from(&optimizer.state()[0].1).unwrap();
    let refused = [
        (vec![("p.momentum_buffer".to_string(), Tensor::from_slice(&[1f32]))], "has another shape"),
        (vec![("p.exp_avg".to_string(), Tensor::from_slice(&[1f32, 1.0]))], "belongs to no parameter"),
        (
            vec![("q.momentum_buffer".to_string(), Tensor::from_slice(&[1f32, 1.0]))],
            "belongs to no parameter",
        ),
    ];
    for (state, why) in refused {
        let error = optimizer.load_state(&state).unwrap_err().to_string();
        assert!(error.contains(&state[0].0) && error.contains(why), "{error}");
    }
    assert_eq!(Vec::<f32>::try_from(&optimizer.state()[0].1).unwrap(), before);

    let mut adamw = Optimizer::new(Rule::AdamW(AdamW::default()), group()).unwrap();
    let error = adamw.load_state(&[("p.step".to_string(), Tensor::from(3f32))]).unwrap_err().to_string();
    assert!(error.contains("p.exp_avg is missing"), "{error}");
    for rule in [sgd(0.0, 0.0, true), sgd(0.9, 0.1, true), sgd(-1.0, 0.0, false), sgd(f64::NAN, 0.0, false)] {
        assert!(Optimizer::new(rule, group()).is_err(), "{rule:?}");
    }
    let twice = group().into_iter().chain(group()).collect();
    assert!(Optimizer::new(sgd(0.0, 0.0, false), twice)
        .unwrap_err()
        .to_string()
        .contains("p is given twice"));
}

#[test]
fn mean_weights_are_torchs_to_the_bit_and_change_places_with_the_network() {
    let folder = scratch();
    let out = folder.path().join("o.safetensors");
    let shapes = [vec![17, 3, 3, 3], vec![5], vec![]];
    ask("average", json!({ "decay": 0.97, "updates": 20, "shapes": shapes, "seed": 2, "out": out }));
    let theirs = read_safetensors(&out);
    let network: Vec<(String, Tensor)> = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| (i.to_string(), Tensor::zeros(shape, (tch::Kind::Float, tch::Device::Cpu))))
        .collect();
    let mut ema = Ema::new(EmaOptions { decay: 0.97, warm_up: false }, &network).unwrap();
    for update in 0..20 {
        no_grad(|| {
            for (name, tensor) in &network {
                tensor.shallow_clone().copy_(&theirs[&format!("seen.{update}.{name}")]);
            }
        });
        ema.update(&network).unwrap();
    }
    for (name, mean) in ema.tensors() {
        assert_same_bits(name, mean, &theirs[&format!("mean.{name}")]);
    }
    ema.swap(&network);
    for ((name, mean), (_, tensor)) in ema.tensors().iter().zip(&network) {
        assert_same_bits(name, tensor, &theirs[&format!("mean.{name}")]);
        assert_same_bits(name, mean, &theirs[&format!("seen.19.{name}")]);
    }
}

#[test]
fn the_losss_scale_and_unscaled_gradients_are_those_of_grad_scaler() {
    let folder = scratch();
    let out = folder.path().join("o.safetensors");
    let (steps, infinite) = (4100, [0usize, 1, 2500]);
    let scales = ask("scale_gradients", json!({ "steps": steps, "infinite": infinite, "out": out }));
    let tensors = read_safetensors(&out);
    let mut scaler = GradScaler::default();
    for step in 0..steps {
        assert_eq!(scales[step].as_f64(), Some(scaler.scale()), "step {step}");
        if let Some(gradient) = tensors.get(&format!("scaled.{step}")) {
            let finite = scaler.unscale(&[gradient.shallow_clone()]).unwrap();
            assert_eq!(finite, !infinite.contains(&step));
            assert_same_bits(&format!("step {step}"), gradient, &tensors[&format!("unscaled.{step}")]);
        }
        scaler.update(!infinite.contains(&step));
    }
}
