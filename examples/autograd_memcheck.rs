//! Every way through the C++ of `autograd` once, and the fused networks on kernels of every instruction set: for a memory
//! checker (`scripts/memcheck.sh`).
//!
//! Prints `ok` at its end. Small tensors, since valgrind runs it many times slower.

use densenet::autograd::{
    apply, backward, convolution_backward, count_cpu_memory, grad, native_batch_norm_backward, parallel_for,
    run_backward, with_cpu_autocast, AutogradError, BatchNorm, BoxError, Context, Convolution, Function,
    Options,
};
use densenet::kernels::Level;
use densenet::model::{Init, Kernels, Memory};
use densenet::tch::{nn, no_grad, Device, Kind, Tensor};
use densenet::{DenseNet, DenseNetConfig};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a `Cube` is to do wrong.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    ForwardFails,
    BackwardFails,
    BackwardPanics,
    TooManyGradients,
    ChangesItsInput,
    RepeatsItsOutput,
}

/// x³ and an index; saves its input, its output and a scrap of its own.
struct Cube {
    fault: Fault,
    _owned: Vec<u8>,
}

impl Cube {
    fn with(fault: Fault) -> Cube {
        Cube { fault, _owned: vec![1; 100] }
    }
}

impl Function for Cube {
    const NAME: &'static str = "Cube";

    fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Result<Vec<Tensor>, BoxError> {
        let x = &inputs[0];
        let cube = x.f_pow_tensor_scalar(3)?;
        let index = x.f_argsort(0, false)?;
        ctx.save_for_backward(&[x, &cube, &index]);
        ctx.mark_non_differentiable(&index);
        match self.fault {
            Fault::ForwardFails => return Err("as asked".into()),
            Fault::ChangesItsInput => drop(x.shallow_clone().f_add_scalar_(1)?),
            Fault::RepeatsItsOutput => return Ok(vec![cube.shallow_clone(), cube]),
            _ => (),
        }
        Ok(vec![cube, index])
    }

    fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, BoxError> {
        match self.fault {
            Fault::BackwardFails => return Err("as asked".into()),
            Fault::BackwardPanics => std::panic::resume_unwind(Box::new("as asked")),
            Fault::TooManyGradients => return Ok(vec![None, Some(Tensor::from(1.0))]),
            _ => (),
        }
        let saved = ctx.saved_tensors()?;
        let grad = match &grads[0] {
            Some(grad) => grad.shallow_clone(),
            None => ctx.zeros_like_output(0)?,
        };
        Ok(vec![ctx.needs_input_grad(0).then(|| grad * &saved[0] * &saved[0] * 3.)])
    }
}

/// As `Cube`, once only.
struct Once;

impl Function for Once {
    const NAME: &'static str = "Once";
    const TWICE_DIFFERENTIABLE: bool = false;

    fn forward(&mut self, _: &mut Context, inputs: &[Tensor]) -> Result<Vec<Tensor>, BoxError> {
        Ok(vec![inputs[0].f_mul_scalar(2.)?])
    }

    fn backward(&self, _: &Context, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, BoxError> {
        Ok(vec![grads[0].as_ref().map(|grad| grad * 2.)])
    }
}

fn leaf() -> Tensor {
    Tensor::from_slice(&[1f64, -2., 3.]).set_requires_grad(true)
}

fn cube(x: &Tensor, fault: Fault) -> Result<Tensor, AutogradError> {
    Ok(apply(Cube::with(fault), &[x])?.remove(0).sum(Kind::Double))
}

fn functions() -> Result<(), BoxError> {
    let recorded = Options { create_graph: true, ..Options::default() };
    let retained = Options { retain_graph: true, ..Options::default() };
    let x = leaf();
    let y = cube(&x, Fault::None)?;
    run_backward(&[&y], &[None], retained)?;
    backward(&y)?;
    assert!(matches!(backward(&y), Err(AutogradError::Released { .. })));
    drop(cube(&x, Fault::None)?);
    drop(no_grad(|| cube(&x, Fault::None))?);
    let first = grad(&[&cube(&x, Fault::None)?], &[&x], &[None], recorded)?.remove(0).ok_or("a gradient")?;
    backward(&first.sum(Kind::Double))?;
    let once = apply(Once, &[&x])?.remove(0).sum(Kind::Double);
    let first = grad(&[&once], &[&x], &[None], recorded)?.remove(0).ok_or("a gradient")?;
    assert!(matches!(backward(&first.sum(Kind::Double)), Err(AutogradError::DifferentiatedTwice { .. })));
    let elsewhere = cube(&x, Fault::None)?;
    std::thread::spawn(move || backward(&elsewhere)).join().map_err(|_| "a thread's panic")??;
    for fault in [Fault::ForwardFails, Fault::ChangesItsInput, Fault::RepeatsItsOutput] {
        assert!(cube(&(leaf() * 1.), fault).is_err(), "{fault:?}");
    }
    for fault in [Fault::BackwardFails, Fault::BackwardPanics, Fault::TooManyGradients] {
        assert!(backward(&cube(&x, fault)?).is_err(), "{fault:?}");
        assert!(
            Tensor::f_run_backward(&[cube(&x, fault)?], &[&x], false, false).is_err(),
            "{fault:?}, through tch"
        );
    }
    let mut input = leaf() * 1.;
    let y = cube(&input, Fault::None)?;
    input += 1.;
    assert!(matches!(backward(&y), Err(AutogradError::SavedTensorChanged { .. })));
    let many: Vec<Tensor> = (0..200).map(|_| leaf()).collect();
    let sum = many
        .iter()
        .try_fold(Tensor::from(0f64), |sum, x| Ok::<_, AutogradError>(sum + cube(x, Fault::None)?));
    backward(&sum?)?;
    Ok(())
}

fn operations() -> Result<(), BoxError> {
    let options = (Kind::Float, Device::Cpu);
    let (input, weight) = (Tensor::ones([1, 2, 5, 5], options), Tensor::ones([3, 2, 3, 3], options));
    let grad = Tensor::ones([1, 3, 3, 3], options);
    convolution_backward(&grad, &input, &weight, &Convolution::default(), [true; 3])?;
    assert!(convolution_backward(&grad, &input, &input, &Convolution::default(), [true; 3]).is_err());
    let (_, mean, invstd) = input.f_native_batch_norm::<&Tensor>(None, None, None, None, true, 0.1, 1e-5)?;
    let norm = BatchNorm {
        weight: None,
        running_mean: None,
        running_var: None,
        saved_mean: Some(&mean),
        saved_invstd: Some(&invstd),
        train: true,
        eps: 1e-5,
    };
    native_batch_norm_backward(&input, &input, &norm, [true; 3])?;
    let cast = with_cpu_autocast(Kind::BFloat16, || input.f_conv2d::<&Tensor>(&weight, None, 1, 0, 1, 1))??;
    assert_eq!(cast.kind(), Kind::BFloat16);
    let ran = AtomicUsize::new(0);
    parallel_for(10, &|_| {
        ran.fetch_add(1, Ordering::Relaxed);
    })?;
    assert_eq!(ran.into_inner(), 10);
    let panicking = |task: usize| {
        if task == 3 {
            std::panic::resume_unwind(Box::new("as asked"))
        }
    };
    assert!(parallel_for(10, &panicking).is_err());
    Ok(())
}

/// The memory-efficient network replaces what libtorch's nodes keep.
fn network() -> Result<(), BoxError> {
    let config = DenseNetConfig {
        growth_rate: 4,
        block_config: vec![2, 2],
        num_init_features: 8,
        num_classes: 3,
        memory: Memory::Efficient,
        ..DenseNetConfig::default()
    };
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::with_init(&vs.root(), &config, Init::Zeros)?;
    let input = Tensor::ones([2, 3, 16, 16], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let left = count_cpu_memory(|memory| {
        drop(network.try_forward(&input, true)?);
        Ok::<_, BoxError>(memory.live())
    })??;
    assert_eq!(left, 0);
    let loss = network.try_forward(&input, true)?.f_sum(Kind::Float)?;
    let recorded = Options { create_graph: true, ..Options::default() };
    let first = grad(&[&loss], &[&input], &[None], recorded)?.remove(0).ok_or("a gradient")?;
    backward(&(first.f_square()?.f_sum(Kind::Float)? + &loss))?;
    let features = [8, 4].map(|channels| Tensor::ones([2, channels, 4, 4], (Kind::Float, Device::Cpu)));
    let output = network.features.blocks[0].layers[1].try_forward(&features, true)?.f_sum(Kind::Float)?;
    drop(no_grad(|| features[0].shallow_clone().f_zero_())?);
    assert!(matches!(backward(&output), Err(AutogradError::SavedTensorChanged { .. })));
    Ok(())
}

/// The fused networks lend kernels libtorch's memory: at sizes and widths that are multiples of nothing.
fn fused() -> Result<(), BoxError> {
    let levels = Level::available().into_iter().map(Kernels::At);
    for kernels in levels.chain([Kernels::Aten]) {
        for (memory, bn_size, drop_rate) in [
            (Memory::Fused, Some(5), 0.0),
            (Memory::Minimal, Some(5), 0.0),
            (Memory::Minimal, Some(3), 0.2),
            (Memory::Fused, None, 0.2),
        ] {
            let config = DenseNetConfig {
                growth_rate: 3,
                block_config: vec![2, 1],
                num_init_features: 7,
                bn_size,
                drop_rate,
                num_classes: 3,
                memory,
                ..DenseNetConfig::default()
            };
            let vs = nn::VarStore::new(Device::Cpu);
            let mut network = DenseNet::with_init(&vs.root(), &config, Init::Torchvision)?;
            network.set_kernels(kernels);
            for (n, h, w) in [(1, 33, 29), (3, 31, 45)] {
                let input = Tensor::rand([n, 3, h, w], (Kind::Float, Device::Cpu)).set_requires_grad(true);
                backward(&network.try_forward(&input, true)?.f_sum(Kind::Float)?)?;
                drop(no_grad(|| network.try_forward(&input, false))?);
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), BoxError> {
    functions()?;
    operations()?;
    network()?;
    fused()?;
    println!("ok");
    Ok(())
}
