//! What is kept, for how long, and that nothing stays.

use super::{leaf, made, one, Exp, Power};
use densenet::autograd::{apply, backward, count_cpu_memory, grad, run_backward, Options};
use std::process::Command;
use std::sync::Arc;
use tch::{Kind, Tensor};

fn exp(alive: &Arc<()>, x: &Tensor) -> Tensor {
    one(apply(Exp { _alive: Arc::clone(alive) }, &[x]))
}

#[test]
fn a_saved_output_makes_no_cycle() {
    let alive = Arc::new(());
    let x = leaf(&[1.]);
    let y = exp(&alive, &x);
    assert_eq!(Arc::strong_count(&alive), 2, "the graph holds the function");
    drop(y);
    assert_eq!(Arc::strong_count(&alive), 1, "and is gone with its output");
    let y = exp(&alive, &x);
    backward(&y).unwrap();
    drop(y);
    assert_eq!(Arc::strong_count(&alive), 1, "after backward as well");
    let y = exp(&alive, &x);
    let options = Options { create_graph: true, ..Options::default() };
    let first = grad(&[&y], &[&x], &[None], options).unwrap().remove(0).unwrap();
    drop(y);
    assert_eq!(Arc::strong_count(&alive), 2, "the derivative's graph needs it");
    drop(first);
    assert_eq!(Arc::strong_count(&alive), 1, "after a recorded backward as well");
}

#[test]
fn a_forward_that_is_never_followed_by_a_backward_leaves_nothing() {
    let alive = Arc::new(());
    let x = leaf(&[1.; 1000]);
    let left = count_cpu_memory(|memory| {
        drop(one(apply(Power { exponent: 3., _alive: Arc::clone(&alive) }, &[&(&x * 2.)])));
        memory.live()
    });
    assert_eq!(left.unwrap(), 0);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn backward_frees_the_saved_tensors_unless_the_graph_is_retained() {
    let x = leaf(&[1.; 1000]);
    count_cpu_memory(|memory| {
        let input = &x * 2.;
        let y = one(apply(Power::of(3.), &[&input]));
        drop(input);
        assert_eq!(memory.live(), 16000, "the saved input and the output");
        let ones = y.ones_like();
        run_backward(&[&y], &[Some(&ones)], Options { retain_graph: true, ..Options::default() }).unwrap();
        assert_eq!(memory.live(), 32000, "and the ones and the leaf's gradient");
        run_backward(&[&y], &[Some(&ones)], Options::default()).unwrap();
        assert_eq!(memory.live(), 24000, "without the saved input");
    })
    .unwrap();
}

#[test]
fn a_failed_forward_leaves_nothing() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let x = leaf(&[1.; 1000]);
    let left = count_cpu_memory(|memory| {
        let fails = made(
            move |ctx, inputs| {
                let _ = &held;
                let big = &inputs[0] * 2.;
                ctx.save_for_backward(&[&big]);
                Err("no".into())
            },
            |_, _| Ok(vec![None]),
        );
        assert!(apply(fails, &[&x]).is_err());
        memory.live()
    });
    assert_eq!(left.unwrap(), 0);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn a_graph_of_a_hundred_thousand_functions_is_freed_without_exhausting_the_stack() {
    let alive = Arc::new(());
    let x = leaf(&[1.]);
    let mut y = x.shallow_clone();
    for _ in 0..100_000 {
        y = one(apply(Power { exponent: 1., _alive: Arc::clone(&alive) }, &[&y]));
    }
    assert_eq!(Arc::strong_count(&alive), 100_001);
    drop(y);
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// One call of each kind.
const KINDS: [(&str, fn()); 10] = [
    ("backward", || backward(&sum(&power(&leaf(&[1.; 64])))).unwrap()),
    ("no backward", || drop(power(&leaf(&[1.; 64])))),
    ("saved output", || backward(&sum(&exp(&Arc::new(()), &leaf(&[1.; 64])))).unwrap()),
    ("no gradient", || drop(tch::no_grad(|| power(&leaf(&[1.; 64]))))),
    ("two backwards", || {
        let y = sum(&power(&leaf(&[1.; 64])));
        run_backward(&[&y], &[None], Options { retain_graph: true, ..Options::default() }).unwrap();
        backward(&y).unwrap();
    }),
    ("second derivative", || {
        let x = leaf(&[1.; 64]);
        let options = Options { create_graph: true, ..Options::default() };
        let first = grad(&[&sum(&power(&x))], &[&x], &[None], options).unwrap().remove(0).unwrap();
        backward(&sum(&first)).unwrap();
    }),
    ("error in forward", || {
        let fails = made(|_, _| Err("no".into()), |_, _| Ok(vec![None]));
        assert!(apply(fails, &[&leaf(&[1.; 64])]).is_err());
    }),
    ("error in backward", || {
        let fails = made(|_, inputs| Ok(vec![&inputs[0] * 2.]), |_, _| Err("no".into()));
        assert!(backward(&sum(&one(apply(fails, &[&leaf(&[1.; 64])])))).is_err());
    }),
    ("panic in backward, through tch", || {
        let fails = made(
            |_, inputs| Ok(vec![&inputs[0] * 2.]),
            |_, _| std::panic::resume_unwind(Box::new("quietly")),
        );
        let x = leaf(&[1.; 64]);
        assert!(Tensor::f_run_backward(&[sum(&one(apply(fails, &[&x])))], &[&x], false, false).is_err());
    }),
    ("saved tensor changed", || {
        let mut x = leaf(&[1.; 64]) * 1.;
        let y = sum(&power(&x));
        x += 1.;
        assert!(backward(&y).is_err());
    }),
];

fn power(x: &Tensor) -> Tensor {
    one(apply(Power::of(3.), &[x]))
}

fn sum(x: &Tensor) -> Tensor {
    x.sum(Kind::Double)
}

const LEAK_CHILD: &str = "DENSENET_TEST_LEAK_CHILD";

/// Resident memory in bytes.
#[cfg(target_os = "linux")]
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<i64>().unwrap() * 4096
}

/// In a process of its own, where no other test allocates.
#[test]
#[cfg(target_os = "linux")]
fn ten_thousand_calls_of_each_kind_leave_memory_where_it_was() {
    if std::env::var_os(LEAK_CHILD).is_some() {
        // Past the harness's own words.
        println!();
        for (kind, call) in KINDS {
            (0..1000).for_each(|_| call());
            let round = || {
                let before = resident();
                let live = count_cpu_memory(|memory| {
                    (0..10_000).for_each(|_| call());
                    memory.live()
                });
                (resident() - before, live.unwrap())
            };
            // What leaks leaks twice; what the system or a library takes once does not.
            let (first, second) = (round(), round());
            println!("{kind}\t{}\t{}", first.0.min(second.0), first.1.max(second.1));
        }
        return;
    }
    let name = "autograd::keeping::ten_thousand_calls_of_each_kind_leave_memory_where_it_was";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(LEAK_CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Vec<&str>> =
        text.lines().map(|line| line.split('\t').collect::<Vec<_>>()).filter(|row| row.len() == 3).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), KINDS.map(|(kind, _)| kind), "{text}");
    for row in rows {
        let (resident, live): (i64, i64) = (row[1].parse().unwrap(), row[2].parse().unwrap());
        assert_eq!(live, 0, "{}: bytes of tensors left", row[0]);
        // A leak of 32 bytes a call would be 320 kB; the allocator itself moves by a few pages.
        assert!(resident < 200_000, "{}: resident memory grew by {resident} bytes in 10,000 calls", row[0]);
    }
}
