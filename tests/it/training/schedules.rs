//! Learning rates against `torch.optim.lr_scheduler`.

use crate::oracle::ask;
use densenet::train::{AdamW, OneCycle, Rule, Schedule, Scheduler, Sgd, WarmUp};
use serde_json::json;

fn schedules() -> Vec<Schedule> {
    vec![
        Schedule::Constant,
        Schedule::Step { every: 1.5, gamma: 0.3 },
        Schedule::MultiStep { milestones: vec![2.0, 3.0, 3.0, 5.5], gamma: 0.1 },
        Schedule::Cosine { min_lr: 0.0 },
        Schedule::Cosine { min_lr: 1e-4 },
        Schedule::OneCycle(OneCycle::default()),
        Schedule::OneCycle(OneCycle {
            pct_start: 0.45,
            div_factor: 10.0,
            final_div_factor: 100.0,
            cycle_momentum: Some((0.85, 0.95)),
        }),
    ]
}

#[test]
fn rates_and_momentum_of_every_step_are_torchs_to_the_bit() {
    const EPOCHS: usize = 8;
    let base = vec![0.1, 0.003];
    for schedule in schedules() {
        for warm_up in [None, Some(WarmUp { epochs: 1.5, start_factor: 0.01 })] {
            for steps_per_epoch in [4, 37] {
                for rule in [Rule::Sgd(Sgd::default()), Rule::AdamW(AdamW::default())] {
                    let theirs = ask(
                        "schedule_rates",
                        json!({
                            "schedule": schedule, "warm_up": warm_up, "rule": rule, "base": base,
                            "epochs": EPOCHS, "steps_per_epoch": steps_per_epoch,
                        }),
                    );
                    let case = format!("{schedule:?}, {warm_up:?}, {steps_per_epoch} steps, {rule:?}");
                    let mut ours =
                        Scheduler::new(&schedule, warm_up, base.clone(), EPOCHS, steps_per_epoch).unwrap();
                    for step in 0..EPOCHS * steps_per_epoch {
                        assert_eq!(json!(ours.rates()), theirs["rates"][step], "{case}: step {step}");
                        let momentum = ours.momentum().unwrap_or(0.9);
                        assert_eq!(json!(momentum), theirs["momenta"][step], "{case}: momentum, step {step}");
                        ours.step();
                    }
                }
            }
        }
    }
}

#[test]
fn a_schedule_that_is_advanced_stands_where_one_step_after_the_other_leads() {
    for schedule in schedules() {
        let warm_up = Some(WarmUp { epochs: 1.0, start_factor: 0.2 });
        let new = || Scheduler::new(&schedule, warm_up, vec![0.1], 5, 20).unwrap();
        let (mut walked, mut advanced) = (new(), new());
        (0..63).for_each(|_| walked.step());
        advanced.advance_to(63);
        assert_eq!(walked.rates(), advanced.rates());
        assert_ne!(walked.rates(), new().rates());
        assert_eq!(advanced.steps(), 63);
    }
}
