//! The hub's certificate and key: from files that are read again on SIGHUP, or a file of its own making.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gambi::hub::ServerTls;

use super::context::Context;
use super::failure::Failure;
use super::private_file::create_whole;

/// Where the certificate and the key come from.
#[derive(Clone)]
enum TlsSource {
    /// The files of the operator.
    Files { certificate: String, key: String },
    /// The file that this program makes, with both in it.
    Own(PathBuf),
}

impl TlsSource {
    /// What the flags name, if they do.
    fn named(context: &Context<'_>) -> Result<Option<Self>, Failure> {
        let own = context.parsed("tls", |text| (text == "self").then_some(()), "\"self\"")?;
        match (own, context.value("tls-cert"), context.value("tls-key")) {
            (Some(()), Some(_), _) => Err(Failure::usage("--tls self and --tls-cert exclude each other")),
            (Some(()), None, Some(path)) => Ok(Some(TlsSource::Own(path.into()))),
            (Some(()), None, None) => Ok(Some(TlsSource::Own(standard_path(context)?))),
            (None, None, None) => Ok(None),
            (None, Some(certificate), Some(key)) => {
                Ok(Some(TlsSource::Files { certificate: certificate.into(), key: key.into() }))
            }
            (None, Some(_), None) => Err(missing("tls-cert", "the certificate", "--tls-key FILE, its key")),
            (None, None, Some(_)) => Err(missing("tls-key", "the key", "--tls-cert FILE, its certificate")),
        }
    }

    /// Reads the certificate and the key. A file of our own is made if there is none; with `dry_run` it is not written.
    fn load(&self, dry_run: bool) -> Result<ServerTls, Failure> {
        if let TlsSource::Own(path) = self
            && !path.exists()
        {
            let pem = ServerTls::generate_pem()?;
            if dry_run {
                return Ok(ServerTls::from_pem(pem.as_bytes(), pem.as_bytes())?);
            }
            keep(path, &pem).map_err(|e| unusable("tls-key", path, &format!("cannot be written: {e}")))?;
        }
        self.read()
    }

    /// Reads the certificate and the key.
    fn read(&self) -> Result<ServerTls, Failure> {
        let (certificate, key) = match self {
            TlsSource::Files { certificate, key } => (certificate.as_ref(), key.as_ref()),
            TlsSource::Own(path) => {
                check_mode(path)?;
                (path.as_path(), path.as_path())
            }
        };
        let read =
            |flag: &str, path: &Path| fs::read(path).map_err(|e| unusable(flag, path, &format!("cannot be read: {e}")));
        let (chain, private) = (read("tls-cert", certificate)?, read("tls-key", key)?);
        ServerTls::from_pem(&chain, &private).map_err(|e| {
            let files = format!("--tls-cert {}, --tls-key {}", certificate.display(), key.display());
            Failure::usage(format!("{files}: {e}"))
        })
    }
}

fn unusable(flag: &str, path: &Path, why: &str) -> Failure {
    Failure::usage(format!("--{flag}: {} {why}", path.display()))
}

fn missing(given: &str, what: &str, other: &str) -> Failure {
    Failure::usage(format!("--{given} gives {what} only"))
        .hint(format!("Add {other}, or use --tls self, by which the hub makes both."))
}

/// The file for a key of our own.
fn standard_path(context: &Context<'_>) -> Result<PathBuf, Failure> {
    context.state_path("hub.pem").ok_or_else(|| {
        Failure::usage("--tls self has no place for its key: HOME is not set").hint("Name a file with --tls-key FILE.")
    })
}

/// Writes the file, unless another hub has made it in the meantime.
fn keep(path: &Path, pem: &str) -> std::io::Result<()> {
    create_whole(path, pem).or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

/// Rejects a key that others can read: they could pass for the hub.
fn check_mode(path: &Path) -> Result<(), Failure> {
    let mode = fs::metadata(path).map_err(|e| unusable("tls-key", path, &format!("cannot be read: {e}")))?;
    if mode.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let command = format!("Make it the hub's own with `chmod 600 {}`.", path.display());
    Err(unusable("tls-key", path, "can be read by others").hint(command))
}

/// The certificate and key to serve with, if TLS is wanted.
pub fn load(context: &Context<'_>) -> Result<Option<ServerTls>, Failure> {
    TlsSource::named(context)?.map(|source| source.load(context.has("dry-run"))).transpose()
}

/// Whether no authority vouches for the certificate, so that clients need its fingerprint.
pub fn is_own(context: &Context<'_>) -> bool {
    context.has("tls")
}

/// Reads the files again on SIGHUP. Files that cannot be used change nothing.
pub fn reload_on_hangup(context: &Context<'_>, tls: &ServerTls) -> Result<(), Failure> {
    let Some(source) = TlsSource::named(context)? else { return Ok(()) };
    let (out, tls) = (context.out, tls.clone());
    context.signals.on_hangup(move || match source.read() {
        Ok(renewed) => {
            tls.replace(&renewed);
            out.note("SIGHUP: new connections get the certificate as it is in its file now.");
        }
        Err(failure) => out.note(&format!("SIGHUP: the certificate stays as it was: {failure}")),
    })
}
