//! Where the ranks of a training on a cluster find each other, and learn that one of them is gone.
//!
//! ```text
//! rank ── Join(run, rank, address) ──▶ coordinator       all ranks joined:
//! rank ◀── Start(addresses of all) ─── coordinator       they connect to each other and train
//! rank ── Beat, Progress, End ───────▶ coordinator
//! rank ◀── Beat, Abort ─────────────── coordinator       one ended badly, vanished or stayed silent
//! ```
//! A run id names one attempt and no other, so it is the fencing token: whoever comes with an old one is sent away.
//!
//! * `message` what is said
//! * `attempt` one attempt as the coordinator sees it, without I/O
//! * `rank` a rank as it sees itself, without I/O
//! * `coordinator` the attempts of an engine and their connections
//! * `member` a rank's side
//! * `models` what executors say of themselves, whether they train or not

mod attempt;
mod coordinator;
mod message;
mod models;
mod rank;
mod remote_rank;
#[cfg(test)]
mod schedules;

pub(super) use attempt::Outcome;
pub(super) use coordinator::Coordinator;
pub(super) use models::tell_models;
pub(super) use remote_rank::RemoteRendezvous;
