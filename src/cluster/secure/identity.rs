//! [`Identity`]: the certificate that every process of a cluster makes from the secret, and its use by TLS.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::secret::Secret;
use crate::error::{Result, SqlState, sql_err};

/// The name in the certificate: it stands for the cluster, since all machines have the same certificate.
pub(super) const NAME: &str = "vatic-cluster";
/// What precedes the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The certificate of a cluster with its private key, which are the same in all processes that have the secret.
pub(super) struct Identity {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
    /// What a task must carry.
    pub(super) pass: String,
    name: ServerName<'static>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Identity {
    pub(super) fn new(secret: &Secret) -> Result<Self> {
        Self::try_new(secret).map_err(|error| {
            let message = format!("the certificate of the cluster: {error}");
            sql_err(SqlState::Internal, message)
        })
    }

    fn try_new(secret: &Secret) -> Result<Self, Box<dyn std::error::Error>> {
        let key = [&PKCS8_PREFIX[..], &secret.key("tls")[..]].concat();
        let pkcs8 = PrivatePkcs8KeyDer::from(key);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ED25519)?;
        // No CA: a certificate of a CA is refused as the certificate of a server. As a root it is trusted all the same.
        // Its times are constants, 1975 to 4096, and Ed25519 signs without randomness, so its bytes are always the same.
        let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, NAME);
        let certificate = params.self_signed(&pair)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone())?;
        let roots = Arc::new(roots);
        let chain = || vec![certificate.der().clone()];
        let private = || PrivateKeyDer::Pkcs8(pkcs8.clone_key());
        // Named, because two providers in one build would leave none as the default.
        let provider = Arc::new(ring::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain(), private())?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain(), private())?;
        // Clients of gRPC ask for HTTP/2; others ask for nothing.
        server.alpn_protocols = vec![b"h2".to_vec()];
        // Connections live long, so none is resumed.
        server.send_tls13_tickets = 0;
        let pass = secret.key("task");
        Ok(Self {
            certificate_pem: certificate.pem(),
            key_pem: pair.serialize_pem(),
            pass: pass.iter().map(|byte| format!("{byte:02x}")).collect(),
            name: ServerName::try_from(NAME)?,
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }

    /// The name that servers must prove.
    pub(super) fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    pub(super) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.client())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.server())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_one_certificate() {
        let of = |content: &[u8]| Identity::new(&Secret::new(content)).unwrap();
        assert_eq!(of(b"one").certificate_pem, of(b"one").certificate_pem);
        assert_eq!(of(b"one").key_pem, of(b"one").key_pem);
        assert_ne!(of(b"one").certificate_pem, of(b"other").certificate_pem);
        assert_ne!(of(b"one").pass, of(b"other").pass);
    }
}
