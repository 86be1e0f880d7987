//! Tests of logs: writers and readers at the same time, states that are gone, old listings.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::error::report;

fn log(directory: &Path) -> Log {
    Log::new(Place::Local(directory.join("log")))
}

/// The last state, and its value; 0 if there is no state.
fn last(log: &Log) -> (Option<LogPosition>, u64) {
    match log.latest::<u64>().unwrap() {
        Some((seen, value)) => (Some(seen), value),
        None => (None, 0),
    }
}

/// Adds one to the value, and returns what was seen before.
fn add(log: &Log) -> Option<LogPosition> {
    let (seen, value) = last(log);
    assert!(log.commit(seen.as_ref(), &(value + 1)).unwrap());
    seen
}

#[test]
fn of_many_writers_one_wins_each_number() {
    let directory = tempfile::tempdir().unwrap();
    let is_over = AtomicBool::new(false);
    let log = log(directory.path());
    let (fast, slow) = std::thread::scope(|scope| {
        let fast = || {
            let tries = (0..60).map(|_| {
                let (seen, value) = last(&log);
                u64::from(log.commit(seen.as_ref(), &(value + 1)).unwrap())
            });
            tries.sum::<u64>()
        };
        // A slow writer is overtaken by more states than are kept.
        let slow = || {
            let mut won = 0;
            while !is_over.load(Ordering::Relaxed) {
                let (seen, value) = last(&log);
                let far =
                    seen.as_ref().map_or(0, LogPosition::number) + KEPT + REMOVAL_INTERVAL + 2;
                while !is_over.load(Ordering::Relaxed)
                    && log.last_number().unwrap().is_none_or(|last| last < far)
                {
                    std::thread::yield_now();
                }
                won += u64::from(log.commit(seen.as_ref(), &(value + 1)).unwrap());
            }
            won
        };
        let fast: Vec<_> = (0..6).map(|_| scope.spawn(fast)).collect();
        let slow: Vec<_> = (0..2).map(|_| scope.spawn(slow)).collect();
        let fast: u64 = fast.into_iter().map(|writer| writer.join().unwrap()).sum();
        is_over.store(true, Ordering::Relaxed);
        let slow: u64 = slow.into_iter().map(|writer| writer.join().unwrap()).sum();
        (fast, slow)
    });
    assert!(fast > 2 * KEPT, "{fast} states removed none");
    assert_eq!(
        last(&log).1,
        fast + slow,
        "no increment is lost or counted twice"
    );
    let kept = log.numbers().unwrap().len() as u64;
    assert!(kept <= KEPT + REMOVAL_INTERVAL, "{kept} states");
}

/// Writers take turns at random, so each has read a state of any age when it writes.
#[test]
fn writers_that_read_long_ago_lose() {
    for seed in 1..=3u64 {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path());
        let mut writers: [Option<(Option<LogPosition>, u64)>; 4] = [None, None, None, None];
        let (mut random, mut won) = (seed, 0);
        for step in 0..400 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // The first two writers take nearly all turns.
            let writer = match (random >> 33) % 64 {
                turn @ 0..2 => 2 + turn as usize,
                turn => (turn % 2) as usize,
            };
            match writers[writer].take() {
                None => writers[writer] = Some(last(&log)),
                Some((seen, value)) => {
                    won += u64::from(log.commit(seen.as_ref(), &(value + 1)).unwrap());
                }
            }
            assert_eq!(last(&log).1, won, "seed {seed}, step {step}");
        }
        assert!(won > 2 * KEPT, "seed {seed}: {won} states removed none");
    }
}

#[test]
fn a_number_that_was_removed_is_not_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    let seen: Vec<Option<LogPosition>> = (0..100).map(|_| add(&log)).collect();
    let numbers = log.numbers().unwrap();
    assert_eq!(numbers, (65..100).collect::<Vec<_>>());
    for seen in &seen {
        assert!(!log.commit(seen.as_ref(), &0u64).unwrap(), "{seen:?}");
    }
    // The refused files are gone, and nobody read them.
    assert_eq!(log.numbers().unwrap(), numbers);
    assert_eq!(last(&log).1, 100);
    add(&log);
    assert_eq!(last(&log).1, 101);
}

/// A writer that sleeps between the creation of its file and the question whether it was the first.
#[test]
fn a_published_state_is_known_however_many_follow() {
    for following in [0, 1, 5, 40, 47] {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path());
        for _ in 0..16 {
            add(&log);
        }
        let (seen, value) = last(&log);
        let id = log
            .create(16, seen.as_ref(), &(value + 1))
            .unwrap()
            .unwrap();
        for _ in 0..following {
            add(&log);
        }
        let is_first = log.is_first(seen.as_ref(), 16, &id);
        assert!(is_first.unwrap(), "{following} states followed");
    }
}

#[test]
fn a_state_that_is_lost_in_sleep_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    for _ in 0..20 {
        add(&log);
    }
    let (seen, value) = last(&log);
    let id = log
        .create(20, seen.as_ref(), &(value + 1))
        .unwrap()
        .unwrap();
    for _ in 0..80 {
        add(&log);
    }
    let error = log.is_first(seen.as_ref(), 20, &id).unwrap_err();
    assert!(error.to_string().contains("not known"), "{error}");
}

#[test]
fn a_first_state_is_known_from_the_first_state_of_an_old_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    let id = log.create(0, None, &1u64).unwrap().unwrap();
    assert!(log.is_first(None, 0, &id).unwrap());
    add(&log);
    assert!(log.is_first(None, 0, &id).unwrap());
    for _ in 0..62 {
        add(&log);
    }
    assert!(log.read(0).unwrap().is_none());
    assert!(!log.commit(None, &1u64).unwrap());
    assert_eq!(last(&log).1, 64);
}

#[test]
fn states_of_older_versions_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    let place = directory.path().join("log");
    fs::create_dir(&place).unwrap();
    // Older versions removed no state.
    for number in 0..200u64 {
        let payload = number.to_string();
        let sha256 = sha256(payload.as_bytes());
        let content = serde_json::json!({"payload": payload, "sha256": sha256});
        fs::write(place.join(file_name(number)), content.to_string()).unwrap();
    }
    for _ in 0..64 {
        add(&log);
    }
    assert_eq!(last(&log).1, 199 + 64);
    assert!(log.numbers().unwrap().len() < 64);
}

/// The value of the last state, or the code of the error, and how long the reader waited: with a listing that is this old
/// number for the first calls.
fn read_with_listings(
    log: &Log,
    calls: usize,
    old: impl Fn(usize) -> u64,
) -> (Result<u64, SqlState>, Duration) {
    let (call, slept) = (Cell::new(0), Cell::new(Duration::ZERO));
    let last_number = || {
        call.set(call.get() + 1);
        match call.get() <= calls {
            true => Ok(Some(old(call.get()))),
            false => log.last_number(),
        }
    };
    let sleep = |pause: Duration| slept.set(slept.get() + pause);
    let found = log.latest_by::<u64>(last_number, sleep);
    let value = found.map(|found| found.unwrap().1);
    (value.map_err(|error| report(&error).state), slept.get())
}

#[test]
fn a_listing_that_is_old_is_awaited_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    for _ in 0..100 {
        add(&log);
    }
    let (value, slept) = read_with_listings(&log, 50, |_| 10);
    assert_eq!(value, Ok(100));
    assert!(slept > Duration::from_secs(30), "{slept:?}");
    let (value, slept) = read_with_listings(&log, usize::MAX, |_| 10);
    assert_eq!(value, Err(SqlState::LostRace));
    assert!(slept <= OLD_LISTING_MAX, "{slept:?}");
    assert!(slept > OLD_LISTING_MAX - PAUSE_MAX * 2, "{slept:?}");
    // A state that was removed between the listing and the reading, once and each time.
    let (value, slept) = read_with_listings(&log, 1, |_| 10);
    assert_eq!((value, slept), (Ok(100), Duration::ZERO));
    let (value, slept) = read_with_listings(&log, usize::MAX, |call| call as u64);
    assert_eq!((value, slept), (Err(SqlState::LostRace), Duration::ZERO));
}

#[test]
fn strange_names_and_damaged_files_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::new(Place::Local(directory.path().to_owned()));
    assert_eq!(log.latest::<u64>().unwrap(), None);
    assert!(log.commit(None, &7u64).unwrap());
    assert!(!log.commit(None, &8u64).unwrap());
    for name in ["1.json", "007.json", "x.json", ".tmp"] {
        fs::write(directory.path().join(name), "{}").unwrap();
    }
    assert_eq!(last(&log).1, 7);
    let path = directory.path().join(file_name(0));
    let damaged = fs::read_to_string(&path).unwrap().replace("\"7\"", "\"9\"");
    fs::write(&path, damaged).unwrap();
    assert!(
        log.latest::<u64>()
            .unwrap_err()
            .to_string()
            .contains("SHA-256")
    );
}
