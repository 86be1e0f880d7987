//! [`simd_fn`]: loops compiled for the widest vector instructions of the processor, chosen at run time.
//!
//! Rust compiles for the oldest processor of an architecture. The oldest x86-64 processor adds four floats at once,
//! current ones add sixteen. Only elementwise loops use the macro, so the vector width does not change a result.

/// Defines a function whose body is compiled once for each generation of vector instructions. The function returns
/// nothing and writes its results to its arguments.
macro_rules! simd_fn {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident<$life:lifetime $(, $number:ident: $bound:ident)?>(
            $($arg:ident: $type:ty),* $(,)?
        ) $body:block
    ) => {
        $(#[$meta])*
        $vis fn $name<$life $(, $number: $bound)?>($($arg: $type),*) {
            struct Work<$life $(, $number: $bound)?> { $($arg: $type),* }
            impl<$life $(, $number: $bound)?> pulp::WithSimd for Work<$life $(, $number)?> {
                type Output = ();
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _simd: S) {
                    let Self { $($arg),* } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Work { $($arg),* });
        }
    };
}

pub(crate) use simd_fn;
