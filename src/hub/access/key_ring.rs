//! The file of people's keys, as a running hub holds it: read at start, again when it changes, and on demand. A file that
//! cannot be read or has a mistake leaves the earlier keys in force.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::keys::{KeyHolder, Keys};
use crate::error::{Error, Reason};
use crate::sync::lock;

/// The largest file, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A file of keys that has been read: what [`HubOptions::keys`](crate::hub::HubOptions::keys) takes.
#[derive(Debug, Clone)]
pub struct KeysFile {
    path: PathBuf,
    stamp: Option<Stamp>,
    keys: Arc<Keys>,
}

/// What tells that a file has changed.
type Stamp = (SystemTime, u64);

impl KeysFile {
    /// Reads a file of keys (`gambi help security`).
    ///
    /// # Errors
    /// When it cannot be read or has a mistake; the error names the line and the field.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        // Before the text: a change while it is read is seen at the next look.
        let stamp = stamp(&path);
        let keys = read(&path).map_err(|reason| Error::Invalid { what: "the file of keys", reason })?;
        Ok(KeysFile { path, stamp, keys: Arc::new(keys) })
    }

    /// How many keys it has.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// How many of its keys are administrators'.
    pub fn admins(&self) -> usize {
        self.keys.admins()
    }
}

fn read(path: &Path) -> Result<Keys, Reason> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| Reason::caused_by(format!("{shown} cannot be read: {e}"), e);
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("{shown} must have {MAX_FILE} bytes at most").into());
    }
    Keys::parse(&text).map_err(|e| format!("{shown}, {e}").into())
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// The keys in force.
pub struct KeyRing(Option<Mutex<KeysFile>>);

impl KeyRing {
    /// The keys of a file; none where there is no file.
    pub fn new(file: Option<KeysFile>) -> Self {
        KeyRing(file.map(Mutex::new))
    }

    /// Whether people have keys of their own, so that the hub requires one.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whose key a secret is.
    pub fn holder(&self, secret: &str) -> Option<Arc<KeyHolder>> {
        self.keys()?.holder(secret)
    }

    /// The keys, to be looked at without a lock.
    pub fn keys(&self) -> Option<Arc<Keys>> {
        self.0.as_ref().map(|file| lock(file).keys.clone())
    }

    /// Reads the file again if it has changed, or in any case. `None` where that was not done; otherwise how many keys there
    /// are, or why the earlier ones stay in force.
    pub fn reload(&self, in_any_case: bool) -> Option<Result<usize, String>> {
        let mut file = lock(self.0.as_ref()?);
        let now = stamp(&file.path);
        if !in_any_case && now == file.stamp {
            return None;
        }
        // Also after a mistake, which is told once.
        file.stamp = now;
        Some(match read(&file.path) {
            Ok(keys) => {
                file.keys = Arc::new(keys);
                Ok(file.keys.len())
            }
            Err(reason) => Err(reason.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_a_mistake_keeps_the_earlier_keys() {
        let dir = std::env::temp_dir().join(format!("gambi-keys-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("keys.json");
        fs::write(&path, r#"[{"name": "ann", "key": "gk-0123456789abcdefghij"}]"#).unwrap();
        let ring = KeyRing::new(Some(KeysFile::read(&path).unwrap()));
        assert!(ring.reload(false).is_none());
        assert_eq!(ring.reload(true), Some(Ok(1)));
        fs::write(&path, "[\n{}]").unwrap();
        let told = ring.reload(false).unwrap().unwrap_err();
        assert!(told.contains("line 2") && told.contains("\"name\""), "{told}");
        assert!(ring.reload(false).is_none(), "a mistake is told once");
        assert!(ring.holder("gk-0123456789abcdefghij").is_some());
        fs::remove_dir_all(&dir).unwrap();
        assert!(ring.reload(false).unwrap().is_err() && ring.holder("gk-0123456789abcdefghij").is_some());
        assert!(KeyRing::new(None).reload(true).is_none());
    }
}
