//! Products of matrices by cuBLAS, one or many at once.

use std::ffi::c_void;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::result::gemm_strided_batched_ex;
use candle_core::cuda_backend::cudarc::cublas::sys as cublas;
use candle_core::{CudaStorage, DType, Result, bail};

use super::numbers::Numbers;
use crate::device::products::uses_tf32;

/// A matrix, row after row, in each of many; all the same if `stride` is 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrices<'a> {
    pub(super) numbers: Numbers<'a>,
    /// The distance between two of them.
    pub(super) stride: usize,
    /// Whether rows and columns are exchanged.
    pub(super) is_transposed: bool,
}

/// Writes `batch` products `[rows, inner]` · `[inner, columns]` one after the other.
pub(super) fn products(
    left: Matrices<'_>,
    right: Matrices<'_>,
    (batch, rows, inner, columns): (usize, usize, usize, usize),
    to: Numbers<'_>,
) -> Result<()> {
    let covers = |matrices: &Matrices<'_>, size: usize| {
        (batch.saturating_sub(1)) * matrices.stride + size <= matrices.numbers.count
    };
    let fits = covers(&left, rows * inner)
        && covers(&right, inner * columns)
        && batch * rows * columns <= to.count
        && [rows, inner, columns, batch]
            .iter()
            .all(|&size| i32::try_from(size).is_ok());
    if !fits {
        bail!("products of {left:?} and {right:?}: {batch} of {rows} × {inner} × {columns}");
    }
    left.numbers.check_same(&right.numbers)?;
    left.numbers.check_same(&to)?;
    let number = match to.dtype {
        DType::F16 => cublas::cudaDataType_t::CUDA_R_16F,
        DType::BF16 => cublas::cudaDataType_t::CUDA_R_16BF,
        _ => cublas::cudaDataType_t::CUDA_R_32F,
    };
    let operation = |matrices: &Matrices<'_>| match matrices.is_transposed {
        true => cublas::cublasOperation_t::CUBLAS_OP_T,
        false => cublas::cublasOperation_t::CUBLAS_OP_N,
    };
    let width = |matrices: &Matrices<'_>, rows: usize, columns: usize| match matrices.is_transposed
    {
        true => rows as i32,
        false => columns as i32,
    };
    let (one, zero) = (1.0f32, 0.0f32);
    let device = to.device;
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().w()?;
    // cuBLAS stores matrices column after column: it computes the transposed product, right before left.
    // SAFETY: all addresses are memory of the device, whose sizes are checked above; the factors outlive the call, which
    // copies them.
    unsafe {
        gemm_strided_batched_ex(
            *device.cublas_handle().handle(),
            operation(&right),
            operation(&left),
            columns as i32,
            rows as i32,
            inner as i32,
            (&raw const one).cast(),
            right.numbers.address as *const c_void,
            number,
            width(&right, inner, columns),
            right.stride as i64,
            left.numbers.address as *const c_void,
            number,
            width(&left, rows, inner),
            left.stride as i64,
            (&raw const zero).cast(),
            to.address as *mut c_void,
            number,
            columns as i32,
            (rows * columns) as i64,
            batch as i32,
            compute_type(),
            cublas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .w()
}

/// How cuBLAS computes a product: sums always have type f32.
fn compute_type() -> cublas::cublasComputeType_t {
    match uses_tf32() {
        true => cublas::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        false => cublas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    }
}

/// `left` `[rows, inner]` times `right` `[inner, columns]`.
pub(crate) fn product(
    left: Numbers<'_>,
    right: Numbers<'_>,
    (rows, inner, columns): (usize, usize, usize),
) -> Result<CudaStorage> {
    let to = left.alloc(rows * columns)?;
    let plain = |numbers| Matrices {
        numbers,
        stride: 0,
        is_transposed: false,
    };
    let size = (1, rows, inner, columns);
    products(
        plain(left),
        plain(right),
        size,
        Numbers::all(&to, rows * columns)?,
    )?;
    Ok(to)
}
