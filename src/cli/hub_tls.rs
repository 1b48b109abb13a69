//! The hub's certificate and key, from files that are read again on SIGHUP.

use gambi::hub::ServerTls;

use super::context::Context;
use super::failure::Failure;

/// The files of a certificate and its key.
#[derive(Clone)]
struct TlsFiles {
    certificate: String,
    key: String,
}

impl TlsFiles {
    /// The files that the flags name, if they do.
    fn named(context: &Context<'_>) -> Result<Option<Self>, Failure> {
        match (context.value("tls-cert"), context.value("tls-key")) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate: certificate.into(), key: key.into() })),
            (Some(_), None) => Err(missing("tls-key")),
            (None, Some(_)) => Err(missing("tls-cert")),
        }
    }

    fn load(&self) -> Result<ServerTls, Failure> {
        let read = |flag: &str, path: &String| {
            std::fs::read(path).map_err(|e| Failure::usage(format!("--{flag}: {path} cannot be read: {e}")))
        };
        let (certificate, key) = (read("tls-cert", &self.certificate)?, read("tls-key", &self.key)?);
        ServerTls::from_pem(&certificate, &key)
            .map_err(|e| Failure::usage(format!("--tls-cert {}, --tls-key {}: {e}", self.certificate, self.key)))
    }
}

fn missing(flag: &str) -> Failure {
    Failure::usage(format!("--{flag} is missing: a certificate needs its key"))
        .hint("Give both --tls-cert FILE and --tls-key FILE.")
}

/// The certificate and key to serve with, if TLS is wanted.
pub fn load(context: &Context<'_>) -> Result<Option<ServerTls>, Failure> {
    TlsFiles::named(context)?.map(|files| files.load()).transpose()
}

/// Reads the files again on SIGHUP. Files that cannot be used change nothing.
pub fn reload_on_hangup(context: &Context<'_>, tls: &ServerTls) -> Result<(), Failure> {
    let Some(files) = TlsFiles::named(context)? else { return Ok(()) };
    let (out, tls) = (context.out, tls.clone());
    context.signals.on_hangup(move || match files.load() {
        Ok(renewed) => {
            tls.replace(&renewed);
            out.note("SIGHUP: new connections get the certificate as it is in its file now.");
        }
        Err(failure) => out.note(&format!("SIGHUP: the certificate stays as it was: {failure}")),
    })
}
