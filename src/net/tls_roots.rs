//! Which certificates TLS connections to hubs and providers accept: one that is pinned, or those that the certificates of
//! the PEM file in `SSL_CERT_FILE` vouch for, or else the bundled roots of the web.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::tls_pin::PinnedCertificate;
use crate::error::{Error, ROOTS_VARIABLE, Reason};
use crate::fingerprint::Fingerprint;

/// The configuration of TLS connections that accept the certificate of that fingerprint, or else what the roots vouch for.
///
/// # Errors
/// If the operator's file of roots cannot be used, or the TLS library rejects the configuration.
pub fn client_config(pin: Option<Fingerprint>) -> Result<Arc<ClientConfig>, Error> {
    /// Read once. All connections share it, and with it the sessions that they can resume.
    static OF_ROOTS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let (None, Some(config)) = (pin, OF_ROOTS.get()) {
        return Ok(config.clone());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::System { what: "setting up TLS", reason: Reason::of(e) })?;
    let Some(fingerprint) = pin else {
        let config = config.with_root_certificates(roots()?).with_no_client_auth();
        return Ok(OF_ROOTS.get_or_init(|| Arc::new(config)).clone());
    };
    let verifier = Arc::new(PinnedCertificate { fingerprint, provider });
    Ok(Arc::new(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

fn roots() -> Result<RootCertStore, Error> {
    match std::env::var_os(ROOTS_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => roots_in(Path::new(&path)),
        None => Ok(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()),
    }
}

/// The roots in a PEM file. Falling back to the web's where it has none would trust more than the operator configured.
fn roots_in(path: &Path) -> Result<RootCertStore, Error> {
    let failed = |reason| Error::Invalid { what: ROOTS_VARIABLE, reason };
    let name = path.display();
    let pem = std::fs::read(path)
        .map_err(|e| failed(Reason::caused_by(format!("names {name}, which cannot be read: {e}"), e)))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if roots.is_empty() {
        return Err(failed(format!("names {name}, in which there is no certificate in PEM form").into()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_roots_that_cannot_be_used_is_named() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (file, why) in [("no-such-file", "cannot be read"), ("Cargo.toml", "no certificate")] {
            let error = roots_in(&here.join(file)).unwrap_err().to_string();
            assert!(error.contains(ROOTS_VARIABLE) && error.contains(file) && error.contains(why), "{error}");
        }
    }
}
