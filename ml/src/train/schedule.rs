//! The learning rate over the course of a training.

use crate::model::options::Schedule;

/// The factor on the learning rate at `progress`, the share of all steps done, in `[0, 1)`.
pub fn factor(schedule: Schedule, progress: f64) -> f64 {
    match schedule {
        Schedule::Constant => 1.0,
        Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        Schedule::Linear => 1.0 - progress,
        Schedule::Step => 0.1f64.powi((progress * 3.0) as i32),
    }
}

/// The factor on the learning rate in the step of this number among all steps: it rises over the first of them, a share `warmup` of
/// all, and follows the schedule over the others.
pub fn factor_of_step(schedule: Schedule, warmup: f64, step: usize, steps: usize) -> f64 {
    let rising = (warmup * steps as f64).ceil() as usize;
    match step < rising {
        true => (step + 1) as f64 / rising as f64,
        false => factor(
            schedule,
            (step - rising) as f64 / (steps - rising).max(1) as f64,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_before_it_falls() {
        let factors = |warmup: f64| -> Vec<f64> {
            let steps = 0..8;
            let factors = steps.map(|step| factor_of_step(Schedule::Linear, warmup, step, 8));
            factors.collect()
        };
        assert_eq!(factors(0.5), [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]);
        let plain: Vec<f64> = (0..8).map(|step| 1.0 - f64::from(step) / 8.0).collect();
        assert_eq!(factors(0.0), plain);
        assert_eq!(factors(0.99)[7], 1.0);
    }

    #[test]
    fn schedules_fall_from_one() {
        for (name, schedule) in Schedule::ALL {
            assert_eq!(factor(*schedule, 0.0), 1.0, "{name}");
            assert!(factor(*schedule, 0.9) <= factor(*schedule, 0.4), "{name}");
        }
        assert!((factor(Schedule::Cosine, 0.5) - 0.5).abs() < 1e-12);
        assert!((factor(Schedule::Step, 0.7) - 0.01).abs() < 1e-12);
    }
}
