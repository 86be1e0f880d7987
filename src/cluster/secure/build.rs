//! [`BUILD`]: the name of this build. Processes of other builds are refused, since plans and messages would not fit.

/// The version, and a hash of all sources and of the versions of all dependencies: `vatic 0.1.0 (1f70512c9ab3e0d4)`.
pub(super) const BUILD: &str = concat!(
    "vatic ",
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("VATIC_SOURCES"),
    ")"
);
