//! Backward on other threads, and libtorch's threads for Rust code.

use super::{leaf, made, one, values, Power};
use densenet::autograd::{apply, backward, num_threads, parallel_for, run_backward};
use densenet::autograd::{AutogradError, LibtorchThreads, Options};
use densenet::kernels::Threads;
use std::collections::HashSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tch::{Kind, Tensor};

#[test]
fn a_graph_may_go_backward_on_another_thread_than_it_was_made_on() {
    let x = leaf(&[3.]);
    let y = one(apply(Power::of(2.), &[&x]));
    thread::spawn(move || backward(&y)).join().unwrap().unwrap();
    assert_eq!(values(&x.grad()), [6.]);
}

#[test]
fn one_graph_may_go_backward_on_many_threads_at_once() {
    const PASSES: usize = 200;
    let x = leaf(&[3.]);
    let running = Arc::new(AtomicUsize::new(0));
    let alone = Arc::clone(&running);
    let double = made(
        |ctx, inputs| {
            ctx.save_for_backward(&[&inputs[0]]);
            Ok(vec![&inputs[0] * 2.])
        },
        move |ctx, grads| {
            assert_eq!(
                alone.fetch_add(1, Ordering::SeqCst),
                0,
                "never twice at once: a Function need not be Sync"
            );
            let _ = ctx.saved(0)?;
            thread::yield_now();
            alone.fetch_sub(1, Ordering::SeqCst);
            Ok(vec![grads[0].as_ref().map(|grad| grad * 2.)])
        },
    );
    let y = one(apply(double, &[&x]));
    let graphs: Vec<Tensor> = (0..4).map(|_| y.shallow_clone()).collect();
    thread::scope(|scope| {
        for graph in graphs {
            scope.spawn(move || {
                for _ in 0..PASSES / 4 {
                    let options = Options { retain_graph: true, ..Options::default() };
                    run_backward(&[&graph], &[None], options).unwrap();
                }
            });
        }
    });
    assert_eq!(values(&x.grad()), [2. * PASSES as f64]);
}

/// The engine moves a backward to a thread of its own pool when too many are inside each other (60).
#[test]
fn backward_may_run_on_the_engines_own_threads() {
    fn nested(depth: usize, seen: &Arc<Mutex<HashSet<thread::ThreadId>>>) -> Result<(), AutogradError> {
        if depth == 0 {
            return Ok(());
        }
        let (inner, x) = (Arc::clone(seen), leaf(&[1.]));
        let function = made(
            |_, inputs| Ok(vec![&inputs[0] * 2.]),
            move |_, grads| {
                inner.lock().unwrap().insert(thread::current().id());
                tch::with_grad(|| nested(depth - 1, &inner))?;
                Ok(vec![grads[0].as_ref().map(|grad| grad * 2.)])
            },
        );
        backward(&one(apply(function, &[&x])))?;
        assert_eq!(values(&x.grad()), [2.]);
        Ok(())
    }
    let seen = Arc::default();
    nested(150, &seen).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 1 && seen.contains(&thread::current().id()), "{} threads", seen.len());
}

#[test]
fn an_error_on_one_of_the_engines_threads_comes_back_typed() {
    fn nested(depth: usize) -> Result<(), AutogradError> {
        let function = made(
            |_, inputs| Ok(vec![&inputs[0] * 2.]),
            move |_, _| match depth {
                0 => Err("the innermost".into()),
                _ => tch::with_grad(|| nested(depth - 1)).map(|()| vec![None]).map_err(Into::into),
            },
        );
        backward(&one(apply(function, &[&leaf(&[1.])])))
    }
    let mut error: Box<dyn std::error::Error> = Box::new(nested(100).unwrap_err());
    let mut depth = 0;
    while error.is::<AutogradError>() {
        match *error.downcast::<AutogradError>().unwrap() {
            AutogradError::Failed { source, .. } => error = source,
            other => panic!("{other:?}"),
        }
        depth += 1;
    }
    assert_eq!((depth, error.to_string().as_str()), (101, "the innermost"));
}

#[test]
fn every_task_runs_once() {
    for tasks in [0, 1, 2, 3, 7, 64, 1000] {
        let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        parallel_for(tasks, &|task| {
            counts[task].fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{tasks} tasks");
    }
}

/// Each task waits for all the others, so it can only end when all run at once.
#[test]
fn as_many_tasks_as_threads_run_at_once_each_on_its_own_thread() {
    let threads = LibtorchThreads.count();
    assert_eq!(threads, tch::get_num_threads() as usize);
    let (arrived, ids) = (AtomicUsize::new(0), Mutex::new(HashSet::new()));
    LibtorchThreads.run(threads, &|_| {
        ids.lock().unwrap().insert(thread::current().id());
        arrived.fetch_add(1, Ordering::SeqCst);
        let start = Instant::now();
        while arrived.load(Ordering::SeqCst) < threads {
            assert!(start.elapsed() < Duration::from_secs(60), "the others never came");
            thread::yield_now();
        }
    });
    assert_eq!(ids.lock().unwrap().len(), threads);
}

#[test]
fn torch_operations_and_parallel_loops_work_inside_a_task() {
    let sums = Mutex::new(Vec::new());
    parallel_for(8, &|task| {
        assert!(num_threads() >= 1);
        let inner = AtomicUsize::new(0);
        parallel_for(5, &|_| {
            inner.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        let matrix = Tensor::ones([64, 64], (Kind::Float, tch::Device::Cpu)) * task as f64;
        let sum = matrix.matmul(&matrix).sum(Kind::Double).double_value(&[]);
        sums.lock().unwrap().push((task, inner.into_inner(), sum));
    })
    .unwrap();
    let mut sums = sums.into_inner().unwrap();
    sums.sort_by_key(|&(task, ..)| task);
    let want: Vec<_> = (0..8).map(|task| (task, 5, (task * task * 64 * 64 * 64) as f64)).collect();
    assert_eq!(sums, want);
}

#[test]
fn a_custom_backward_may_use_the_threads() {
    let x = leaf(&[1., 2., 3., 4.]);
    let function = made(
        |_, inputs| Ok(vec![&inputs[0] * 3.]),
        |_, grads| {
            let grad = grads[0].as_ref().unwrap().contiguous();
            let slots: Vec<Mutex<f64>> = (0..4).map(|_| Mutex::new(0.)).collect();
            let read = values(&grad);
            parallel_for(4, &|i| *slots[i].lock().unwrap() = 3. * read[i])?;
            let out: Vec<f64> = slots.into_iter().map(|slot| slot.into_inner().unwrap()).collect();
            Ok(vec![Some(Tensor::from_slice(&out))])
        },
    );
    backward(&one(apply(function, &[&x])).sum(Kind::Double)).unwrap();
    assert_eq!(values(&x.grad()), [3.; 4]);
}

#[test]
fn a_tasks_panic_is_an_error_of_parallel_for_and_goes_on_in_the_kernels_threads() {
    let body = |task: usize| {
        if task == 3 {
            panic!("task {task} is wrong");
        }
    };
    match parallel_for(6, &body) {
        Err(AutogradError::TaskPanicked { task: 3, message }) => assert_eq!(message, "task 3 is wrong"),
        other => panic!("{other:?}"),
    }
    let payload = catch_unwind(AssertUnwindSafe(|| LibtorchThreads.run(6, &body))).unwrap_err();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "task 3 is wrong");
    parallel_for(6, &|_| ()).unwrap();
}
