//! The times of trials; the slowest are printed at the end.

use std::cmp::Reverse;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

/// The number of trials that are printed. A run of no more trials prints none.
const SHOWN: usize = 10;

/// The times of the trials that have ended, with their names.
#[derive(Default, Clone)]
pub(crate) struct Times(Arc<Mutex<Vec<(Duration, String)>>>);

impl Times {
    /// A trial whose time is taken.
    pub(crate) fn trial(
        &self,
        name: String,
        run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
    ) -> Trial {
        let (times, of) = (self.clone(), name.clone());
        Trial::test(name, move || {
            let began = Instant::now();
            let outcome = run();
            times.0.lock().unwrap().push((began.elapsed(), of));
            outcome
        })
    }

    /// Prints the slowest trials.
    pub(crate) fn print_slowest(&self) {
        let mut times = self.0.lock().unwrap();
        if times.len() <= SHOWN {
            return;
        }
        times.sort_unstable_by_key(|(time, _)| Reverse(*time));
        let mut out = std::io::stdout().lock();
        writeln!(out, "the slowest of {} trials:", times.len()).unwrap();
        for (time, name) in &times[..SHOWN] {
            writeln!(out, "{:7.1} s  {name}", time.as_secs_f64()).unwrap();
        }
    }
}
