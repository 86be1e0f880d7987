//! Signals that end a script, with the exit code of each.

use std::io::Write;
use std::process::{Command, Stdio};

use super::memory;
use crate::vatic;

#[cfg(unix)]
#[test]
fn signals_end_a_script() {
    for (name, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        // The signal comes while a statement runs, and while the program waits for more of the script.
        for statement in [
            "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b;\n",
            "",
        ] {
            let mut child = vatic(memory())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut input = child.stdin.take().unwrap();
            input.write_all(b"\\echo ready\n").unwrap();
            let mut ready = [0; 6];
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
            input.write_all(statement.as_bytes()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
            let sent = Command::new("kill")
                .args([name, &child.id().to_string()])
                .status();
            assert!(sent.unwrap().success());
            assert_eq!(
                child.wait().unwrap().code(),
                Some(code),
                "{name} {statement:?}"
            );
        }
    }
}
