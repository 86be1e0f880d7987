//! Sums of 100 MB of f32 between ranks on this machine, beside what iperf3 moves over the loopback device.
//!
//! `cargo bench --bench all_reduce`; needs iperf3.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::process::{Command, Stdio};
use std::time::Duration;

const BYTES: usize = 100_000_000;
const ROUNDS: usize = 7;
const SECONDS: &str = "3";

fn main() {
    let iperf = iperf3();
    match iperf {
        Some(rate) => println!("iperf3 over loopback: {:.2} GB/s", rate / 1e9),
        None => println!("iperf3 is not there: only our side is measured"),
    }
    println!("| ranks | median of {ROUNDS} | bytes moved a second | share of iperf3 |");
    println!("| --- | --- | --- | --- |");
    for ranks in [2, 4, 8] {
        let mut seconds = match vatic::time_all_reduce(ranks, BYTES / 4, ROUNDS) {
            Ok(seconds) => seconds,
            Err(error) => return println!("{ranks} ranks: {error}"),
        };
        seconds.sort_by(f64::total_cmp);
        let median = seconds[ROUNDS / 2];
        // Each rank sends each other one its part twice: to be summed, and summed.
        let moved = 2.0 * BYTES as f64 * (ranks - 1) as f64;
        let rate = moved / median;
        let share = iperf.map_or("-".to_owned(), |iperf| {
            format!("{:.0} %", 100.0 * rate / iperf)
        });
        println!(
            "| {ranks} | {:.0} ms | {:.2} GB/s | {share} |",
            median * 1e3,
            rate / 1e9
        );
    }
}

/// Bytes a second of one stream.
fn iperf3() -> Option<f64> {
    let mut server = Command::new("iperf3")
        .args(["-s", "-1", "-p", "52017", "-B", "127.0.0.1"])
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    std::thread::sleep(Duration::from_millis(500));
    let client = Command::new("iperf3")
        .args(["-c", "127.0.0.1", "-p", "52017", "-t", SECONDS, "-J"])
        .output();
    // It serves one client and ends; if none came it must not stay.
    let _ = server.kill();
    let _ = server.wait();
    let report: serde_json::Value = serde_json::from_slice(&client.ok()?.stdout).ok()?;
    Some(report["end"]["sum_received"]["bits_per_second"].as_f64()? / 8.0)
}
