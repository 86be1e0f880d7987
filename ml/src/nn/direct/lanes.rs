//! [`Lanes`]: the vectors of `f32` of an instruction set; [`Instructions`]: the widest set of this processor.
//!
//! The kernels are written once, over [`Lanes`]. Each number of their results is a sum in an order that does not depend on the
//! width of a vector, so all instruction sets give the same bits.

use std::arch::x86_64::{
    __m256, __m512, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_set1_ps,
    _mm256_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps,
    _mm512_set1_ps, _mm512_storeu_ps,
};

/// The most numbers of a vector.
pub(super) const LANES_MAX: usize = 16;

/// The vectors of an instruction set.
///
/// # Safety
/// A value exists only on processors that have the set, and AVX2 besides. [`Lanes::COUNT`] divides [`LANES_MAX`] and is at least
/// eight.
pub(in crate::nn) unsafe trait Lanes: Copy {
    /// A vector.
    type Vector: Copy;
    /// The numbers of a vector.
    const COUNT: usize;

    /// A vector of one number.
    fn splat(self, number: f32) -> Self::Vector;

    /// a + b
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// a b + c, rounded once.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// Each number that is greater than 0, and 0 for the others. NaN stays NaN.
    fn positive(self, a: Self::Vector) -> Self::Vector;

    /// The numbers at `from`.
    ///
    /// # Safety
    /// `from` points to at least [`Lanes::COUNT`] numbers that may be read.
    unsafe fn load(self, from: *const f32) -> Self::Vector;

    /// Writes the numbers to `to`.
    ///
    /// # Safety
    /// `to` points to at least [`Lanes::COUNT`] numbers that may be written.
    unsafe fn store(self, to: *mut f32, vector: Self::Vector);

    /// Runs `work`, compiled for the instruction set.
    fn run<W: Work>(self, work: W) -> W::Output;
}

/// Work on vectors of any width.
pub(in crate::nn) trait Work {
    type Output;

    /// Implementations are `#[inline(always)]`: only what is inlined into [`Lanes::run`] is compiled for its instruction set.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// AVX2 with FMA.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Avx2(());

/// AVX-512F.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Avx512(Avx2);

/// An instruction set that this processor has.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) enum Instructions {
    Avx2(Avx2),
    Avx512(Avx512),
}

impl Instructions {
    /// The sets of this processor, the widest first.
    pub(in crate::nn) fn all() -> impl Iterator<Item = Self> {
        let narrow = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let narrow = narrow.then_some(Avx2(()));
        let wide = narrow.filter(|_| is_x86_feature_detected!("avx512f"));
        let wide = wide.map(|narrow| Self::Avx512(Avx512(narrow)));
        wide.into_iter().chain(narrow.map(Self::Avx2))
    }

    /// The set for rows of so many numbers: vectors that are half empty are slower than those of half the width.
    pub(super) fn for_numbers(self, numbers: usize) -> Self {
        match self {
            Self::Avx512(Avx512(narrow)) if numbers <= Avx2::COUNT => Self::Avx2(narrow),
            widest => widest,
        }
    }

    /// The numbers of a vector.
    pub(in crate::nn) fn lanes(self) -> usize {
        match self {
            Self::Avx2(_) => Avx2::COUNT,
            Self::Avx512(_) => Avx512::COUNT,
        }
    }

    /// Runs `work` with the vectors of the set.
    pub(in crate::nn) fn run<W: Work>(self, work: W) -> W::Output {
        match self {
            Self::Avx2(lanes) => lanes.run(work),
            Self::Avx512(lanes) => lanes.run(work),
        }
    }
}

// SAFETY: `Instructions::all` alone makes values, where the processor has AVX2 and FMA; 8 divides 16.
unsafe impl Lanes for Avx2 {
    type Vector = __m256;
    const COUNT: usize = 8;

    #[inline(always)]
    fn splat(self, number: f32) -> __m256 {
        // SAFETY: `self` exists only where AVX2 and FMA do.
        unsafe { _mm256_set1_ps(number) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: as in `splat`.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: as in `splat`.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn positive(self, a: __m256) -> __m256 {
        // SAFETY: as in `splat`. If there is no greater one, the result is the second number.
        unsafe { _mm256_max_ps(_mm256_set1_ps(0.0), a) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: as in `splat`; the caller promises that the numbers may be read.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, vector: __m256) {
        // SAFETY: as in `splat`; the caller promises that the numbers may be written.
        unsafe { _mm256_storeu_ps(to, vector) }
    }

    fn run<W: Work>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<W: Work>(lanes: Avx2, work: W) -> W::Output {
            work.run(lanes)
        }
        // SAFETY: as in `splat`.
        unsafe { compiled(self, work) }
    }
}

// SAFETY: `Instructions::all` alone makes values, where the processor has AVX-512F besides what the field stands for.
unsafe impl Lanes for Avx512 {
    type Vector = __m512;
    const COUNT: usize = 16;

    #[inline(always)]
    fn splat(self, number: f32) -> __m512 {
        // SAFETY: `self` exists only where AVX-512F does.
        unsafe { _mm512_set1_ps(number) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn positive(self, a: __m512) -> __m512 {
        // SAFETY: as in `splat`. If there is no greater one, the result is the second number.
        unsafe { _mm512_max_ps(_mm512_set1_ps(0.0), a) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: as in `splat`; the caller promises that the numbers may be read.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, vector: __m512) {
        // SAFETY: as in `splat`; the caller promises that the numbers may be written.
        unsafe { _mm512_storeu_ps(to, vector) }
    }

    fn run<W: Work>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn compiled<W: Work>(lanes: Avx512, work: W) -> W::Output {
            work.run(lanes)
        }
        // SAFETY: as in `splat`; AVX2 and FMA are there too, as the field says.
        unsafe { compiled(self, work) }
    }
}
