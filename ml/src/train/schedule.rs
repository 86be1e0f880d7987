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

#[cfg(test)]
mod tests {
    use super::*;

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
