//! Loops compiled for the widest vectors of the processor, chosen at run time.
//!
//! Rust compiles for the oldest processor of an architecture; of x86-64 that one adds four floats at once where today's
//! add sixteen. Only elementwise loops stand here, so the width cannot show in a result.

/// Defines a function whose body is compiled once for each generation of vector instructions. It returns nothing: what
/// it computes it writes to its arguments.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$life:lifetime>($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name<$life>($($arg: $type),*) {
            struct Work<$life> { $($arg: $type),* }
            impl<$life> pulp::WithSimd for Work<$life> {
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
