//! Whether products of f32 tensors on a GPU round their factors to tf32, which its tensor cores multiply.
//!
//! A thread chooses for itself. candle's own switch is one for the whole process, where models that want tf32 and models that
//! do not run at once.

use std::cell::Cell;

thread_local! {
    static TF32: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, whose products on a GPU use tf32 or not. The choice from before holds again afterwards, also after a panic.
pub fn with_tf32<T>(is_tf32: bool, work: impl FnOnce() -> T) -> T {
    let _before = Before(TF32.replace(is_tf32));
    work()
}

/// Whether products on a GPU that this thread starts use tf32.
pub fn uses_tf32() -> bool {
    TF32.get()
}

/// The choice that holds again when the value is dropped.
struct Before(bool);

impl Drop for Before {
    fn drop(&mut self) {
        TF32.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_holds_for_the_work_and_the_work_inside_it_chooses_anew() {
        assert!(!uses_tf32());
        let seen = with_tf32(true, || {
            let inside = with_tf32(false, uses_tf32);
            (uses_tf32(), inside, with_tf32(true, uses_tf32), uses_tf32())
        });
        assert_eq!(seen, (true, false, true, true));
        assert!(!uses_tf32());
    }

    #[test]
    fn a_panic_ends_the_choice() {
        let work = || with_tf32::<()>(true, || panic!("on purpose"));
        let failed = std::panic::catch_unwind(work);
        assert!(failed.is_err());
        assert!(!uses_tf32());
    }

    #[test]
    fn another_thread_chooses_for_itself() {
        let other = with_tf32(true, || std::thread::spawn(uses_tf32).join());
        assert!(!other.unwrap());
    }
}
