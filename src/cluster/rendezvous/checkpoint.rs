//! [`CheckpointFile`]: the checkpoint of a rank on a cluster, whose beats say that the rank waits for it.

use std::sync::Arc;

use vatic_ml::train::control::Checkpoints;

use crate::cluster::pulse::{Activity, Pulse};
use crate::storage::Place;
use crate::testing::crash;

/// A checkpoint in a file that all machines can reach.
pub(super) struct CheckpointFile {
    pub(super) place: Place,
    pub(super) pulse: Arc<Pulse>,
}

impl CheckpointFile {
    /// Works with the file, while the rank's beats say that it waits for so many bytes. A store that does not answer is found
    /// in the same way, whether it is read or written.
    fn waiting<T>(&self, bytes: u64, work: impl FnOnce(&Place) -> T) -> T {
        self.pulse.set(Activity::Writing { bytes });
        let done = work(&self.place);
        self.pulse.set(Activity::Computing);
        done
    }
}

impl Checkpoints for CheckpointFile {
    fn load(&self) -> Option<Vec<u8>> {
        self.waiting(0, Place::read).ok()
    }

    fn save(&self, content: &[u8]) -> vatic_ml::Result<()> {
        let bytes = content.len() as u64;
        self.waiting(bytes, |place| place.replace(content))?;
        crash::point("checkpoint-kept");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_rank_that_waits_for_its_checkpoint_says_so() {
        // A file that does not answer until somebody writes.
        let (reader, mut writer) = std::io::pipe().unwrap();
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let pulse = Arc::new(Pulse::default());
        let file = CheckpointFile {
            place: Place::Local(path.into()),
            pulse: Arc::clone(&pulse),
        };
        let loading = std::thread::spawn(move || file.load());
        let began = Instant::now();
        while pulse.vitals().activity != (Activity::Writing { bytes: 0 }) {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{:?}",
                pulse.vitals()
            );
            std::thread::yield_now();
        }
        writer.write_all(b"weights").unwrap();
        drop(writer);
        assert_eq!(loading.join().unwrap().as_deref(), Some(&b"weights"[..]));
        assert_eq!(pulse.vitals().activity, Activity::Computing);
    }
}
