//! Which authorities vouch for hubs and providers that speak TLS: those of the PEM file that `SSL_CERT_FILE` names, or
//! else the bundled ones of the web. Anybody may use it.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The operator's own authorities, as OpenSSL's users name them.
const FILE: &str = "SSL_CERT_FILE";

/// The certificates of the file, read once; `None` where none is named. A file that can't be read vouches for nobody:
/// falling back to the web's authorities would trust more than was asked for.
fn own() -> Option<&'static [Certificate<'static>]> {
    static OWN: OnceLock<Option<Vec<Certificate<'static>>>> = OnceLock::new();
    OWN.get_or_init(|| {
        let path = std::env::var_os(FILE).filter(|path| !path.is_empty())?;
        let pem = std::fs::read(path).unwrap_or_default();
        let certificate = |item| if let Ok(PemItem::Certificate(found)) = item { Some(found) } else { None };
        Some(parse_pem(&pem).filter_map(certificate).collect())
    })
    .as_deref()
}

/// For HTTP.
pub fn for_http() -> TlsConfig {
    let roots = own().map_or(RootCerts::WebPki, RootCerts::new_with_certs);
    TlsConfig::builder().root_certs(roots).build()
}

/// For tunnels.
///
/// # Errors
/// When the TLS library is set up in a way that can't work.
pub fn for_tunnels() -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    match own() {
        Some(own) => {
            roots.add_parsable_certificates(own.iter().map(|certificate| certificate.der().to_vec().into()));
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
