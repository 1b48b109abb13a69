//! The root certificates that TLS connections to hubs and providers are verified with: those of the PEM file in
//! `SSL_CERT_FILE`, or else the bundled roots of the web.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The environment variable for the operator's own root certificates, as in OpenSSL.
const ROOTS_VARIABLE: &str = "SSL_CERT_FILE";

/// The certificates of the file, read once; `None` where the variable is unset. An unreadable file yields no roots,
/// because falling back to the web's roots would trust more than the operator configured.
fn configured_roots() -> Option<&'static [Certificate<'static>]> {
    static OWN: OnceLock<Option<Vec<Certificate<'static>>>> = OnceLock::new();
    OWN.get_or_init(|| {
        let path = std::env::var_os(ROOTS_VARIABLE).filter(|path| !path.is_empty())?;
        let pem = std::fs::read(path).unwrap_or_default();
        let certificate = |item| if let Ok(PemItem::Certificate(found)) = item { Some(found) } else { None };
        Some(parse_pem(&pem).filter_map(certificate).collect())
    })
    .as_deref()
}

/// The TLS configuration of HTTP calls.
pub fn for_http() -> TlsConfig {
    let roots = configured_roots().map_or(RootCerts::WebPki, RootCerts::new_with_certs);
    TlsConfig::builder().root_certs(roots).build()
}

/// The TLS configuration of tunnels, and of calls to providers and direct participants.
///
/// # Errors
/// If the TLS library rejects the configuration.
pub fn client_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    match configured_roots() {
        Some(certificates) => {
            roots.add_parsable_certificates(certificates.iter().map(|certificate| certificate.der().to_vec().into()));
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
