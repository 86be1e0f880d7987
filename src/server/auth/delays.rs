//! The delays of logins after wrong passwords.

use std::time::{Duration, Instant};

/// Wrong passwords of a user that do not delay the next attempt.
const FAILURES_FREE: u32 = 5;
/// A minute without a wrong password resets the count.
pub(super) const FAILURES_KEPT: Duration = Duration::from_secs(60);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The wrong passwords that count at `now`; a minute without one resets the count.
pub(super) fn failures_at(last: Option<&(u32, Instant)>, now: Instant) -> u32 {
    let last = last.filter(|(_, at)| now.duration_since(*at) < FAILURES_KEPT);
    last.map_or(0, |(count, _)| *count)
}

/// The delay of a login after this many wrong passwords.
pub(super) fn delay(failures: u32) -> Duration {
    match failures.saturating_sub(FAILURES_FREE).min(16) {
        0 => Duration::ZERO,
        more => (Duration::from_millis(100) * 2u32.pow(more)).min(WAIT_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_passwords_delay_beyond_the_free_ones_until_a_minute_passes_without_one() {
        let began = Instant::now();
        let soon = began + Duration::from_secs(59);
        assert_eq!(failures_at(None, soon), 0);
        assert_eq!(failures_at(Some(&(7, began)), soon), 7);
        assert_eq!(
            failures_at(Some(&(7, began)), soon + Duration::from_secs(1)),
            0
        );
        assert_eq!(delay(FAILURES_FREE), Duration::ZERO);
        assert_eq!(delay(FAILURES_FREE + 1), Duration::from_millis(200));
        assert_eq!(delay(FAILURES_FREE + 2), Duration::from_millis(400));
        assert_eq!(delay(u32::MAX), WAIT_MAX);
    }
}
