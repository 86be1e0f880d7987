//! Texts as tensors: a device has tensors of numbers only. The bytes of the texts `[…, bytes_max]` and their lengths `[…]`.

use candle_core::Tensor;

use crate::device::HOST;
use crate::{Error, Result};

/// Texts as their bytes and lengths, in this shape.
pub(super) fn to_tensors(texts: &[&str], shape: &[usize]) -> Result<(Tensor, Tensor)> {
    let bytes_max = texts
        .iter()
        .map(|text| text.len())
        .max()
        .unwrap_or(0)
        .max(1);
    let mut bytes = vec![0u8; texts.len() * bytes_max];
    for (place, text) in bytes.chunks_exact_mut(bytes_max).zip(texts) {
        place[..text.len()].copy_from_slice(text.as_bytes());
    }
    let lengths: Vec<u32> = texts.iter().map(|text| text.len() as u32).collect();
    let mut shape_of_bytes = shape.to_vec();
    shape_of_bytes.push(bytes_max);
    Ok((
        Tensor::from_vec(bytes, shape_of_bytes, &HOST)?,
        Tensor::from_vec(lengths, shape.to_vec(), &HOST)?,
    ))
}

/// The texts of bytes and lengths, one after the other.
pub(super) fn from_tensors(bytes: &Tensor, lengths: &Tensor) -> Result<Vec<String>> {
    if lengths.elem_count() == 0 {
        return Ok(vec![]);
    }
    let bytes_max = bytes.dims().last().copied().unwrap_or(0);
    let bytes: Vec<u8> = bytes.flatten_all()?.to_vec1()?;
    let lengths: Vec<u32> = lengths.flatten_all()?.to_vec1()?;
    let broken = || Error::Internal("texts of other lengths than their bytes".into());
    let text = |(at, length): (usize, &u32)| {
        let start = at * bytes_max;
        let part = bytes
            .get(start..start + *length as usize)
            .ok_or_else(broken)?;
        String::from_utf8(part.to_vec()).map_err(|_| broken())
    };
    lengths.iter().enumerate().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let cases: [&[&str]; 3] = [&["a", "", "äöü", "longer"], &["", ""], &[]];
        for texts in cases {
            let (bytes, lengths) = to_tensors(texts, &[texts.len()]).unwrap();
            assert_eq!(from_tensors(&bytes, &lengths).unwrap(), texts);
        }
        let (bytes, lengths) = to_tensors(&["a", "bc", "d", ""], &[2, 2]).unwrap();
        assert_eq!(
            (bytes.dims(), lengths.dims()),
            (&[2, 2, 2][..], &[2, 2][..])
        );
        let second = (
            bytes.narrow(0, 1, 1).unwrap(),
            lengths.narrow(0, 1, 1).unwrap(),
        );
        assert_eq!(from_tensors(&second.0, &second.1).unwrap(), ["d", ""]);
    }
}
