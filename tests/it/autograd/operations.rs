//! The operations that tch lacks, against libtorch's own gradients and against PyTorch.

use crate::support::assert_same_bits;
use densenet::autograd::{backward, convolution_backward, cpu_autocast_enabled, native_batch_norm_backward};
use densenet::autograd::{count_cpu_memory, with_cpu_autocast, AutogradError, BatchNorm, Convolution};
use tch::{Device, Kind, Tensor};

/// Fixed numbers, without the global generator.
fn numbers(shape: &[i64]) -> Tensor {
    let count = shape.iter().product::<i64>();
    (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.7).sin().to_kind(Kind::Float).reshape(shape)
}

#[test]
fn convolution_backward_is_autograds_own_to_the_bit() {
    let convolution = Convolution { stride: [2, 1], padding: [1, 2], dilation: [1, 2], groups: 2 };
    let input = numbers(&[2, 4, 9, 8]).set_requires_grad(true);
    let weight = numbers(&[6, 2, 3, 3]).set_requires_grad(true);
    let bias = numbers(&[6]).set_requires_grad(true);
    let Convolution { stride, padding, dilation, groups } = convolution;
    let output = input.conv2d(&weight, Some(&bias), stride, padding, dilation, groups);
    let grad = numbers(&output.size());
    backward(&(&output * &grad).sum(Kind::Float)).unwrap();
    let ours =
        convolution_backward(&grad, &input.detach(), &weight.detach(), &convolution, [true; 3]).unwrap();
    for (name, got, leaf) in
        [("input", &ours[0], &input), ("weight", &ours[1], &weight), ("bias", &ours[2], &bias)]
    {
        assert_same_bits(name, got.as_ref().unwrap(), &leaf.grad());
    }
    let some =
        convolution_backward(&grad, &input.detach(), &weight.detach(), &convolution, [false, true, false])
            .unwrap();
    assert!(some[0].is_none() && some[2].is_none());
    assert_same_bits("weight alone", some[1].as_ref().unwrap(), &weight.grad());
    let wrong = convolution_backward(&grad, &weight.detach(), &weight.detach(), &convolution, [true; 3]);
    assert!(matches!(wrong, Err(AutogradError::Torch { .. })), "{wrong:?}");
}

#[test]
fn native_batch_norm_backward_is_autograds_own_to_the_bit() {
    for train in [true, false] {
        let input = numbers(&[3, 5, 4, 4]).set_requires_grad(true);
        let weight = numbers(&[5]).set_requires_grad(true);
        let bias = numbers(&[5]).set_requires_grad(true);
        let (mean, var) = (numbers(&[5]), numbers(&[5]).square() + 0.5);
        let (output, saved_mean, saved_invstd) =
            input.native_batch_norm(Some(&weight), Some(&bias), Some(&mean), Some(&var), train, 0.1, 1e-5);
        let grad = numbers(&output.size());
        backward(&(&output * &grad).sum(Kind::Float)).unwrap();
        let frozen = [&weight, &saved_mean, &saved_invstd].map(Tensor::detach);
        let norm = BatchNorm {
            weight: Some(&frozen[0]),
            running_mean: Some(&mean),
            running_var: Some(&var),
            saved_mean: train.then_some(&frozen[1]),
            saved_invstd: train.then_some(&frozen[2]),
            train,
            eps: 1e-5,
        };
        let ours = native_batch_norm_backward(&grad, &input.detach(), &norm, [true; 3]).unwrap();
        for (name, got, leaf) in
            [("input", &ours[0], &input), ("weight", &ours[1], &weight), ("bias", &ours[2], &bias)]
        {
            assert_same_bits(name, got.as_ref().unwrap(), &leaf.grad());
        }
    }
}

#[test]
fn autocast_is_on_inside_and_off_outside_also_after_a_panic() {
    let (input, weight) = (numbers(&[1, 2, 5, 5]), numbers(&[3, 2, 3, 3]));
    let run = || input.conv2d(&weight, None::<&Tensor>, [1, 1], [0, 0], [1, 1], 1).kind();
    assert_eq!(run(), Kind::Float);
    let inside = with_cpu_autocast(Kind::BFloat16, || (run(), cpu_autocast_enabled().unwrap())).unwrap();
    assert_eq!(inside, (Kind::BFloat16, true));
    let nested = with_cpu_autocast(Kind::BFloat16, || {
        let inner = with_cpu_autocast(Kind::Half, || cpu_autocast_enabled().unwrap()).unwrap();
        (inner, run())
    });
    assert_eq!(nested.unwrap(), (true, Kind::BFloat16), "the outer type is back");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = with_cpu_autocast(Kind::BFloat16, || -> () { std::panic::resume_unwind(Box::new(())) });
    }));
    assert!(panicked.is_err());
    assert_eq!((run(), cpu_autocast_enabled().unwrap()), (Kind::Float, false));
    assert!(matches!(with_cpu_autocast(Kind::Double, run), Err(AutogradError::Torch { .. })));
}

#[test]
fn memory_is_counted_on_this_thread_alone_and_to_the_byte() {
    let options = (Kind::Float, Device::Cpu);
    let before = Tensor::zeros([1000], options);
    count_cpu_memory(|memory| {
        drop(before);
        assert_eq!(memory.live(), 0, "what was there before does not count");
        let kept = Tensor::zeros([250], options);
        drop(Tensor::zeros([500], options));
        assert_eq!((memory.live(), memory.peak()), (1000, 3000));
        memory.restart_peak();
        assert_eq!(memory.peak(), 1000);
        drop(std::thread::spawn(move || Tensor::zeros([10_000], options)).join().unwrap());
        assert_eq!(memory.live(), 1000, "another thread's");
        let inner = count_cpu_memory(|inner| {
            let tensor = Tensor::zeros([10], options);
            (inner.live(), tensor)
        });
        let (live, tensor) = inner.unwrap();
        assert_eq!((live, memory.live()), (40, 1040), "both count");
        drop((kept, tensor));
        assert_eq!(memory.live(), 0);
    })
    .unwrap();
}
