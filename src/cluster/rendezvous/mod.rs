//! The rendezvous of the ranks of a training on a cluster: ranks find each other, and learn that a rank is gone.
//!
//! ```text
//! rank ── Enter(run, rank, address) ─▶ coordinator       the rank reads its rows
//! rank ── Join ──────────────────────▶ coordinator       all ranks have their rows:
//! rank ◀── Start(addresses of all) ─── coordinator       they connect to each other and train
//! rank ── Beat, Progress, End ───────▶ coordinator
//! rank ◀── Beat, Abort ─────────────── coordinator       a rank failed, vanished or stayed silent
//! ```
//! A beat tells whether the rank reads, computes, waits for another rank or writes, and what it has moved. Nothing is
//! limited by how long it takes: an attempt is lost when nothing moves although all ranks wait for each other.
//!
//! A run id names exactly one attempt, so it is the fencing token: a rank with an old run id is turned away.
//!
//! * `message` the messages between ranks and coordinator
//! * `attempt` the coordinator's state of one attempt, without I/O; `losses` what ends it as lost
//! * `rank` the state of a rank, without I/O
//! * `coordinator` the attempts of an engine and their connections
//! * `remote_rank` the connection of a rank to the coordinator; `checkpoint` its checkpoints
//! * `reports` the models and devices that executors report, whether they train or not; `orders` the engine's orders to their
//!   model caches, which answer the reports; `stock` the executor's side of both

mod attempt;
mod checkpoint;
mod coordinator;
mod losses;
mod message;
mod orders;
mod rank;
mod remote_rank;
mod reports;
#[cfg(test)]
mod schedules;
mod stock;

pub(super) use attempt::{LINK_TIMEOUT, Outcome};
pub(super) use coordinator::{Coordinator, RankReport};
pub(super) use orders::OrderEnd;
pub(super) use remote_rank::RemoteRendezvous;
pub(super) use reports::{FIRST_REPORT_MAX, introduce, report_until_refused};
pub(super) use stock::Stock;
