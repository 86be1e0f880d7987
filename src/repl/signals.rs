//! Handling of Ctrl-C, SIGTERM and SIGHUP: cancels the running statement and restores the terminal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datafusion::common::runtime::SpawnedTask;
use tokio::sync::watch;

use super::exit::{Exit, Flow};

/// A second Ctrl-C during a statement within this time ends the program at once.
const TWICE: Duration = Duration::from_secs(2);
/// How long a statement may take to stop before the program ends.
const GRACE: Duration = Duration::from_secs(2);

/// The reason for stopping a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Ctrl-C.
    Interrupted,
    /// The program was told to end by this signal.
    Terminated(u8),
}

impl Stop {
    /// The control flow after the stop: Ctrl-C ends a script, but in an interactive shell only the statement.
    pub(super) fn flow(self, is_interactive: bool) -> Flow {
        match self {
            Self::Interrupted if is_interactive => Flow::Failed,
            Self::Interrupted => Flow::Exit(Exit::Interrupted),
            Self::Terminated(signal) => Flow::Exit(Exit::Signal(signal)),
        }
    }
}

/// The signals of the process.
#[derive(Debug)]
pub(super) struct Signals {
    stop: watch::Receiver<Option<Stop>>,
    is_at_prompt: Arc<AtomicBool>,
    /// The time of the last Ctrl-C during the current statement.
    last: Arc<Mutex<Option<Instant>>>,
    _watching: SpawnedTask<()>,
    _terminal: Arc<Terminal>,
}

impl Signals {
    pub(super) fn watch() -> Self {
        let (sender, stop) = watch::channel(None);
        let is_at_prompt = Arc::new(AtomicBool::new(false));
        let terminal = Arc::new(Terminal::prepare());
        let of_watcher = Arc::clone(&terminal);
        let at_prompt = Arc::clone(&is_at_prompt);
        let last = Arc::new(Mutex::new(None::<Instant>));
        let pressed = Arc::clone(&last);
        // Handlers are installed here and not at the task's first run, so that no signal ends the process in between.
        let mut received = Received::new();
        let watching = SpawnedTask::spawn(async move {
            loop {
                match received.next().await {
                    INTERRUPT => {
                        let before = pressed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .replace(Instant::now());
                        if before.is_some_and(|before| before.elapsed() < TWICE) {
                            of_watcher.restore();
                            std::process::exit(Exit::Interrupted.code().into());
                        }
                        sender.send_replace(Some(Stop::Interrupted));
                    }
                    signal => {
                        sender.send_replace(Some(Stop::Terminated(signal)));
                        if !at_prompt.load(Ordering::Relaxed) {
                            // The statement is dropped, which cleans up its partial results.
                            tokio::time::sleep(GRACE).await;
                        }
                        of_watcher.restore();
                        std::process::exit(Exit::Signal(signal).code().into());
                    }
                }
            }
        });
        Self {
            stop,
            is_at_prompt,
            last,
            _watching: watching,
            _terminal: terminal,
        }
    }

    /// Forgets an earlier Ctrl-C, which was meant for an earlier statement.
    pub(super) fn forget(&mut self) {
        self.stop.borrow_and_update();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sets whether the program is at the prompt, where no statement needs time to stop.
    pub(super) fn at_prompt(&self, is_at_prompt: bool) {
        self.is_at_prompt.store(is_at_prompt, Ordering::Relaxed);
    }

    /// Waits for a request to stop.
    pub(super) async fn stopped(&mut self) -> Stop {
        loop {
            if self.stop.changed().await.is_err() {
                // The watching task has ended.
                std::future::pending::<()>().await;
            }
            if let Some(stop) = *self.stop.borrow() {
                return stop;
            }
        }
    }
}

const INTERRUPT: u8 = 2;

/// Streams of SIGINT, SIGTERM and SIGHUP with their numbers.
#[cfg(unix)]
struct Received(Vec<(u8, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl Received {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [
            (INTERRUPT, SignalKind::interrupt()),
            (15, SignalKind::terminate()),
            (1, SignalKind::hangup()),
        ];
        let signals = kinds.into_iter();
        Self(
            signals
                .filter_map(|(number, kind)| Some((number, signal(kind).ok()?)))
                .collect(),
        )
    }

    async fn next(&mut self) -> u8 {
        let waiting = self.0.iter_mut().map(|(number, signal)| {
            Box::pin(async move {
                signal.recv().await;
                *number
            })
        });
        match waiting.collect::<Vec<_>>() {
            // No signal handler could be installed.
            waiting if waiting.is_empty() => std::future::pending().await,
            waiting => futures::future::select_all(waiting).await.0,
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Received;

#[cfg(not(unix))]
impl Received {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) -> u8 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => INTERRUPT,
            Err(_) => std::future::pending().await,
        }
    }
}

/// The terminal's original mode, restored on drop.
#[derive(Debug)]
struct Terminal {
    #[cfg(unix)]
    mode: Option<Mutex<Termios>>,
}

#[cfg(unix)]
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

impl Terminal {
    /// Keeps the terminal from writing `^C`, which would break the progress line.
    fn prepare() -> Self {
        Self {
            #[cfg(unix)]
            mode: tcgetattr(std::io::stdin()).ok().map(|mode| {
                let mut quiet = mode.clone();
                quiet.local_flags.remove(LocalFlags::ECHOCTL);
                // A failure only affects the looks.
                let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &quiet);
                Mutex::new(mode)
            }),
        }
    }

    fn restore(&self) {
        #[cfg(unix)]
        if let Some(Ok(mode)) = self.mode.as_ref().map(Mutex::lock) {
            // The program ends in any case.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &mode);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}
