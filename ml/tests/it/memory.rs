//! The memory that a training reserves for its steps is an upper bound of what it takes, whatever its layers are.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::channel;

use vatic_ml::collective::LocalCollective;
use vatic_ml::model::options::{DataSplit, TrainOptions};
use vatic_ml::train::control::{Control, Memory, ReservedMemory};
use vatic_ml::train::fit::fit;
use vatic_ml::train::raw::RankRows;
use vatic_ml::{Result, worker};

use crate::layers::images;
use crate::{model_type, spec_of};

/// Counts the memory that each thread takes and gives back.
struct Counting;

thread_local! {
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// What the training of this thread has reserved for its steps.
    static RESERVED: Cell<isize> = const { Cell::new(0) };
    /// What was taken before.
    static BEFORE: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    TAKEN.set(TAKEN.get() + bytes);
    PEAK.set(PEAK.get().max(TAKEN.get()));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does the work. To count takes no memory: the counters are constants without destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller promises what the system's allocator needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// An account without a limit. The memory of a thread counts from its reservation for steps on.
struct Account;

impl Memory for Account {
    fn reserve(&self, bytes: usize, what: &str) -> Result<ReservedMemory> {
        if what == "the weights, gradients and outputs of a step" {
            RESERVED.set(bytes as isize);
            BEFORE.set(TAKEN.get());
            PEAK.set(TAKEN.get());
        }
        Ok(ReservedMemory(Box::new(())))
    }
}

/// The buffers of a product of matrices, which depend on the caches of the processor.
const BUFFERS: isize = 16 << 20;

/// Trains a network of these layers on so many images of 6 x 6, in one step.
fn check(layers: &[&str], rows: usize) {
    check_augmented(layers, rows, &[]);
}

/// The same with these augmentations.
fn check_augmented(layers: &[&str], rows: usize, augment: &[&str]) {
    let options = TrainOptions {
        model_type: "sequential".into(),
        layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
        input_shape: vec![1, 6, 6],
        augment: augment.iter().map(|text| (*text).to_owned()).collect(),
        data_split: DataSplit::None,
        batch_size: Some(rows),
        shards: Some(1),
        epochs: Some(1),
        ..TrainOptions::default()
    };
    let (batch, hashes) = images(rows);
    let spec = spec_of(&batch, &options);
    let rows = RankRows {
        batches: vec![batch],
        hashes: vec![hashes],
        ..RankRows::default()
    };
    let (sender, receiver) = channel();
    let train = move || {
        let control = Control {
            memory: Some(Arc::new(Account)),
            ..Control::default()
        };
        let collective = LocalCollective::group(1).remove(0);
        fit(&spec, model_type("sequential"), rows, &collective, &control).unwrap();
        sender
            .send((RESERVED.get(), PEAK.get() - BEFORE.get()))
            .unwrap();
    };
    worker::spawn("rank", train).unwrap();
    let (reserved, taken) = receiver.recv().unwrap();
    assert!(
        taken > 0 && taken <= reserved + BUFFERS,
        "{layers:?}: reserved {} KiB, took {} KiB",
        reserved >> 10,
        taken >> 10
    );
}

#[test]
fn a_step_takes_no_more_than_it_reserves() {
    for layer in [
        "relu",
        "gelu",
        "silu",
        "tanh",
        "sigmoid",
        "leaky_relu",
        "dropout(0.5)",
        "layer_norm",
        "batch_norm",
        "group_norm(2)",
        "residual(leaky_relu, dropout(0.1))",
    ] {
        let mut layers = vec!["flatten", "linear(2048)"];
        layers.extend([layer; 12]);
        layers.push("linear(classes)");
        check(&layers, 256);
    }
    let images = [
        "conv2d(64, 3, padding=same)",
        "gelu",
        "conv2d(64, 3, padding=same)",
        "batch_norm",
        "max_pool2d(3, stride=1, padding=1)",
        "avg_pool2d(2)",
        "flatten",
        "linear(classes)",
    ];
    check(&images, 256);
    let sequences = [
        "reshape(36, 1)",
        "lstm(64, sequences=true)",
        "gru(64, sequences=true, bidirectional=true)",
        "transpose",
        "global_max_pool",
        "linear(classes)",
    ];
    check(&sequences, 64);
    let augment = ["flip", "rotate(20)", "colour(0.1)"];
    check_augmented(&["flatten", "linear(classes)"], 4_096, &augment);
}

#[test]
fn the_windows_of_a_convolution_take_no_memory() {
    let layers = [
        "conv2d(1, 64, padding=64)",
        "global_avg_pool",
        "linear(classes)",
    ];
    check(&layers, 16);
}
