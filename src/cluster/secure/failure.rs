//! [`Refused`]: a process that is not of this cluster, as an error that is told apart from failures of the network.

use std::fmt;
use std::io;

use tokio_rustls::rustls;

/// Another process, or this one, is not of the cluster. Another attempt would not help.
#[derive(Debug)]
pub(in crate::cluster) struct Refused(String);

impl Refused {
    /// The refusal in an error of a connection, if the error is one.
    pub(in crate::cluster) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// A refusal as the error of a connection.
    pub(in crate::cluster) fn error(message: impl Into<String>) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, Self(message.into()))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Why the other side of a connection is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    OtherSecret,
    TheyLackSecret,
    WeLackSecret,
    /// The other side is of this build.
    OtherBuild(String),
}

/// A connection that did not come about.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    Refused(Mismatch),
}

/// An error of the network or of TLS.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            // The other side does not speak TLS.
            Some(rustls::Error::InvalidMessage(_)) => Self::Refused(Mismatch::TheyLackSecret),
            Some(
                rustls::Error::InvalidCertificate(_)
                | rustls::Error::AlertReceived(_)
                | rustls::Error::NoCertificatesPresented,
            ) => Self::Refused(Mismatch::OtherSecret),
            _ => Self::Io(error),
        }
    }
}

impl Failure {
    /// The error for users, with the names of both sides and the build of this side.
    pub(super) fn between(self, us: &str, them: &str, build: &str) -> io::Error {
        let why = match self {
            Self::Io(error) => return error,
            Self::Refused(why) => why,
        };
        Refused::error(match why {
            Mismatch::OtherSecret => format!(
                "{them} has another cluster secret than {us}; name the same secret with --cluster-secret-file on all machines"
            ),
            Mismatch::TheyLackSecret => format!(
                "{them} has no cluster secret, but {us} has one; name it with --cluster-secret-file on all machines"
            ),
            Mismatch::WeLackSecret => format!(
                "{them} has a cluster secret, but {us} has none; name it with --cluster-secret-file on all machines"
            ),
            Mismatch::OtherBuild(theirs) => format!(
                "{us} is built from {build}, {them} from {theirs}; install the same build on all machines"
            ),
        })
    }
}
