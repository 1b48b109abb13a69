//! Which certificates TLS connections to hubs and providers accept: one that is pinned, or those that the certificates of
//! the PEM file in `SSL_CERT_FILE` vouch for, or else the bundled roots of the web.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::tls_pin::PinnedCertificate;
use crate::fingerprint::Fingerprint;

/// The environment variable for the operator's own root certificates, as in OpenSSL.
const ROOTS_VARIABLE: &str = "SSL_CERT_FILE";

/// The configuration of TLS connections that accept the certificate of that fingerprint, or else what the roots vouch for.
///
/// # Errors
/// If the TLS library rejects the configuration.
pub fn client_config(pin: Option<Fingerprint>) -> Result<Arc<ClientConfig>, rustls::Error> {
    /// Read once. All connections share it, and with it the sessions that they can resume.
    static OF_ROOTS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let (None, Some(config)) = (pin, OF_ROOTS.get()) {
        return Ok(config.clone());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let Some(fingerprint) = pin else {
        let config = config.with_root_certificates(roots()).with_no_client_auth();
        return Ok(OF_ROOTS.get_or_init(|| Arc::new(config)).clone());
    };
    let verifier = Arc::new(PinnedCertificate { fingerprint, provider });
    Ok(Arc::new(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// An unreadable file yields no roots, because falling back to the web's roots would trust more than the operator
/// configured.
fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    match std::env::var_os(ROOTS_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => {
            let pem = std::fs::read(path).unwrap_or_default();
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    roots
}
