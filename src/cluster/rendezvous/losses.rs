//! What ends an [`Attempt`] as lost: silence, missing ranks, dark paths, and files that do not answer.

use std::time::Duration;

use super::attempt::{
    Actions, Attempt, JOIN_TIMEOUT, LEASE, Member, Outcome, Phase, Stall, abort, named,
};
use crate::cluster::pulse::Activity;

/// A path that came back after a stall may stall for this many times as long again.
const STALLS: u32 = 10;
/// A stall counts for this long.
const STALL_MEMORY: Duration = Duration::from_secs(600);
/// A rank may wait for its files for this many times the link timeout, in addition to the time that their bytes take at the
/// slowest rate.
const WRITE_TIMEOUTS: u32 = 4;
pub(super) const WRITE_BYTES_PER_S: u64 = 1 << 20;

impl Attempt {
    /// Before the start: a rank that does not come back. Its process may be busy with its rows, so it has longer.
    pub(super) fn silent(&self, now: Duration) -> Option<String> {
        let silence_max = LEASE + JOIN_TIMEOUT;
        let is_silent = |member: &Member| now.saturating_sub(member.last_seen) > silence_max;
        let mut members = self.members.iter();
        let (rank, member) = members.find(|(_, member)| is_silent(member))?;
        let seconds = silence_max.as_secs();
        Some(format!(
            "{} was silent for {seconds} s",
            named(*rank, member)
        ))
    }

    /// Before the start: ranks that do not enter although nobody reads any more. Until then, the cluster may compute the
    /// rows of a lost machine again.
    pub(super) fn missing(&mut self, now: Duration) -> Option<String> {
        let is_waiting = self.members.len() < self.world_size
            && !self.members.is_empty()
            && self.members.values().all(|member| member.is_ready);
        if !is_waiting {
            self.missing_since = None;
            return None;
        }
        let since = *self.missing_since.get_or_insert(now);
        if now.saturating_sub(since) <= JOIN_TIMEOUT {
            return None;
        }
        let missing = (0..self.world_size).filter(|rank| !self.members.contains_key(rank));
        let missing: Vec<String> = missing.map(|rank| rank.to_string()).collect();
        let seconds = JOIN_TIMEOUT.as_secs();
        let missing = missing.join(", ");
        Some(format!("worker {missing} did not join within {seconds} s"))
    }

    /// After the start: removes ranks that are silent.
    pub(super) fn give_up_silent(&mut self, now: Duration, actions: &mut Actions) {
        let is_silent =
            |member: &Member| !member.is_done && now.saturating_sub(member.last_seen) > LEASE;
        let silent: Vec<usize> = self
            .members
            .iter()
            .filter(|(_, member)| is_silent(member))
            .map(|(rank, _)| *rank)
            .collect();
        for rank in silent {
            let Some(member) = self.members.remove(&rank) else {
                continue;
            };
            abort(
                member.connection,
                "this rank was silent for too long",
                actions,
            );
            if matches!(self.phase, Phase::Running) {
                let (who, seconds) = (named(rank, &member), LEASE.as_secs());
                let lost = format!("{who} was silent for {seconds} s");
                self.end(Outcome::Lost(lost), actions);
            }
        }
    }

    /// Ranks that ended because of others, while no rank reports the cause.
    pub(super) fn unexplained(&self, now: Duration) -> Option<String> {
        let since = self.unexplained?;
        if now.saturating_sub(since) <= LEASE {
            return None;
        }
        let path = self.broken_path();
        Some(path.unwrap_or_else(|| "workers lost their connections to each other".into()))
    }

    /// A rank that is stuck at its files.
    pub(super) fn unwritten(&self, now: Duration) -> Option<String> {
        let mut open = self.members.iter().filter(|(_, member)| !member.is_done);
        open.find_map(|(rank, member)| {
            let Activity::Writing { bytes } = member.vitals.activity else {
                return None;
            };
            let at_rate = Duration::from_secs(bytes / WRITE_BYTES_PER_S);
            let limit = self.link_timeout * WRITE_TIMEOUTS + at_rate;
            let is_late = now.saturating_sub(member.moved_at) > limit;
            is_late.then(|| {
                let (who, seconds) = (named(*rank, member), limit.as_secs());
                format!("{who} did not finish to read or write its files within {seconds} s")
            })
        })
    }

    /// A path that is dark.
    pub(super) fn unreachable(&self, now: Duration) -> Option<String> {
        let quiet = now.saturating_sub(self.quiet_since()?);
        let limit = self.quiet_max(now);
        if quiet <= limit {
            return None;
        }
        let (path, seconds) = (self.broken_path()?, limit.as_secs());
        Some(format!("{path}: nothing moved for {seconds} s"))
    }

    /// The time since which nothing has moved, if all ranks at work wait for each other.
    pub(super) fn quiet_since(&self) -> Option<Duration> {
        if !matches!(self.phase, Phase::Running) {
            return None;
        }
        let waits = |member: &Member| {
            member.is_done || matches!(member.vitals.activity, Activity::Waiting { .. })
        };
        if !self.members.values().all(waits) {
            return None;
        }
        // The end of a rank is a movement too: the others may have moved, and not told yet.
        self.members.values().map(|member| member.moved_at).max()
    }

    /// The longest time without movement that is not a dark path.
    fn quiet_max(&self, now: Duration) -> Duration {
        let is_recent = |stall: &Stall| now.saturating_sub(stall.ended_at) <= STALL_MEMORY;
        let longest = self.stall.filter(is_recent);
        longest.map_or(self.link_timeout, |stall| {
            self.link_timeout.max(stall.length * STALLS)
        })
    }

    /// The rank that is behind the others, and the rank for which it waits.
    fn broken_path(&self) -> Option<String> {
        let waiting = self.members.iter().filter_map(|(rank, member)| {
            let Activity::Waiting { peer } = member.vitals.activity else {
                return None;
            };
            Some((*rank, member, peer))
        });
        let (rank, member, peer) =
            waiting.min_by_key(|(rank, member, _)| (member.is_done, member.vitals.round, *rank))?;
        let peer = match self.members.get(&peer) {
            Some(other) => named(peer, other),
            None => format!("worker {peer}"),
        };
        Some(format!("{} cannot reach {peer}", named(rank, member)))
    }

    /// Remembers a stall that is over.
    pub(super) fn stalled(&mut self, now: Duration, length: Duration) {
        let is_longest = self.stall.is_none_or(|stall| {
            length >= stall.length || now.saturating_sub(stall.ended_at) > STALL_MEMORY
        });
        if is_longest {
            let ended_at = now;
            self.stall = Some(Stall { ended_at, length });
        }
    }
}
