//! Fault injection: ends a process at one point of a protocol, for tests. Release builds do nothing here.
//!
//! `VATIC_FAULT=point:count:file` ends the process when it passes the point for the count-th time, unless the file
//! exists. The process creates the file first, so only one of many processes ends, and the file proves it. With `panic-`
//! before the point, only the thread panics; with `hang-`, the thread sleeps forever.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Clone, Copy)]
enum Kind {
    Abort,
    Panic,
    Hang,
}

struct Fault {
    point: String,
    kind: Kind,
    count: u64,
    file: String,
    passed: AtomicU64,
}

static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
    let text = std::env::var("VATIC_FAULT").ok()?;
    let mut parts = text.splitn(3, ':');
    let point = parts.next()?;
    let kinds = [("panic-", Kind::Panic), ("hang-", Kind::Hang)];
    let named = kinds
        .iter()
        .find_map(|(prefix, kind)| Some((point.strip_prefix(prefix)?, *kind)));
    let (point, kind) = named.unwrap_or((point, Kind::Abort));
    Some(Fault {
        point: point.to_owned(),
        kind,
        count: parts.next()?.parse().ok()?,
        file: parts.next()?.to_owned(),
        passed: AtomicU64::new(0),
    })
});

/// Ends the process or the thread here, or stops the thread, if `VATIC_FAULT` names this point.
pub(crate) fn point(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    #[cfg(test)]
    here::pass(name);
    let Some(fault) = FAULT.as_ref().filter(|fault| fault.point == name) else {
        return;
    };
    let passed = fault.passed.fetch_add(1, Ordering::Relaxed) + 1;
    if passed == fault.count && std::fs::File::create_new(&fault.file).is_ok() {
        match fault.kind {
            Kind::Panic => panic!("on purpose"),
            Kind::Abort => std::process::abort(),
            Kind::Hang => loop {
                std::thread::sleep(Duration::from_secs(60));
            },
        }
    }
}

/// Fault injection for one thread, for tests within a process.
#[cfg(test)]
pub(crate) mod here {
    use std::cell::Cell;

    thread_local! {
        static ARMED: Cell<Option<(&'static str, u32)>> = const { Cell::new(None) };
    }

    /// Makes the thread panic when it passes the point for the count-th time.
    pub(crate) fn arm(point: &'static str, count: u32) {
        ARMED.set(Some((point, count)));
    }

    /// Disarms the point, and returns whether it was still armed.
    pub(crate) fn disarm() -> bool {
        ARMED.take().is_some()
    }

    pub(super) fn pass(name: &str) {
        match ARMED.take() {
            Some((point, 1)) if point == name => panic!("on purpose"),
            Some((point, count)) if point == name => ARMED.set(Some((point, count - 1))),
            armed => ARMED.set(armed),
        }
    }
}
