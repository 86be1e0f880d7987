//! [`without_profiles`]: a PNG without its profiles of colours. Nothing applies them, and they are packed: a megabyte of a file would
//! be a gigabyte of memory.

use std::borrow::Cow;

/// The bytes of a PNG before its first chunk.
const SIGNATURE: usize = 8;
/// The bytes of a chunk beside its content: its length, its name, and its checksum.
const AROUND: usize = 12;

/// The PNG without the chunks that hold a profile.
pub(crate) fn without_profiles(png: &[u8]) -> Cow<'_, [u8]> {
    let (mut kept, mut from, mut at) = (vec![], 0, SIGNATURE);
    while let Some([a, b, c, d, name @ ..]) = png.get(at..).and_then(|rest| rest.first_chunk::<8>())
    {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let end = at.saturating_add(AROUND).saturating_add(length);
        if name == b"iCCP" {
            kept.push(&png[from..at]);
            from = end.min(png.len());
        }
        at = end;
    }
    if kept.is_empty() {
        return Cow::Borrowed(png);
    }
    kept.push(&png[from..]);
    Cow::Owned(kept.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&length[..], name, content, b"sum."].concat()
    }

    #[test]
    fn all_profiles_are_left_out() {
        let (signature, profile) = (b"\x89PNG\r\n\x1a\n", chunk(b"iCCP", b"packed"));
        let (header, data) = (chunk(b"IHDR", b"sizes"), chunk(b"IDAT", b"iCCP and more"));
        let plain = [&signature[..], &header, &data].concat();
        assert!(matches!(without_profiles(&plain), Cow::Borrowed(same) if same == plain));
        let both = [&signature[..], &header, &profile, &profile, &data].concat();
        assert_eq!(without_profiles(&both), plain);
        let last = [&signature[..], &header, &profile].concat();
        // A file that ends within the profile.
        for length in last.len() - 6..=last.len() {
            assert_eq!(
                without_profiles(&last[..length]),
                &plain[..8 + header.len()]
            );
        }
        assert_eq!(without_profiles(b""), &b""[..]);
    }
}
