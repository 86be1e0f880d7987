//! [`looks_like`]: the kinds of files that are no models and are often taken for one.

/// The kind of a file with this content, if it is one that is often taken for a model.
pub(crate) fn looks_like(content: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 7] = [
        (b"version https://git-lfs", "a pointer of Git LFS"),
        (b"<!DOCTYPE", "a web page"),
        (b"<html", "a web page"),
        (
            b"PK\x03\x04",
            "a ZIP archive, such as a checkpoint of PyTorch",
        ),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x80", "a pickle of Python"),
        (b"GGUF", "a model in GGUF"),
    ];
    if content.is_empty() {
        return Some("an empty file");
    }
    let found = known.iter().find(|(start, _)| content.starts_with(start));
    found.map(|(_, what)| *what)
}
