//! Files for their owner's eyes only: mode 0600, in folders of mode 0700 where these are made.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Result, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Creates a file.
///
/// # Errors
/// When it exists already, or cannot be written.
pub fn create(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// Creates a file, and its folder. It is there once it is whole: if two programs make it at the same time, the first one wins.
///
/// # Errors
/// When it exists already, or cannot be written.
pub fn create_whole(path: &Path, text: &str) -> Result<()> {
    make_folder(path)?;
    let unfinished = unfinished(path);
    let made = create(&unfinished, text).and_then(|()| fs::hard_link(&unfinished, path));
    let _ = fs::remove_file(&unfinished);
    made
}

/// Replaces a file at once by another one.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let unfinished = unfinished(path);
    let done = create(&unfinished, text).and_then(|()| fs::rename(&unfinished, path));
    if done.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    done
}

/// Opens a file to append to it. It is created where it is missing, as is its folder.
///
/// # Errors
/// When it cannot be opened.
pub fn append_to(path: &Path) -> Result<File> {
    make_folder(path)?;
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    // It may have been made by something else, for everyone to read.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn make_folder(path: &Path) -> Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => DirBuilder::new().recursive(true).mode(0o700).create(folder),
        None => Ok(()),
    }
}

/// A name for this process alone; a process of the same number that was killed may have left a file of that name.
fn unfinished(path: &Path) -> PathBuf {
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&unfinished);
    unfinished
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn private_files_are_for_their_owner_and_made_whole() {
        let folder = std::env::temp_dir().join(format!("gambi-private-{}", std::process::id()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = folder.join("a.pem");
        create_whole(&path, "one").unwrap();
        assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
        assert_eq!(create_whole(&path, "two").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(create(&path, "two").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        append_to(&path).unwrap().write_all(b" more").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("one more", 0o600));
        fs::write(unfinished(&path), "left by a process that was killed").unwrap();
        replace(&path, "three").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("three", 0o600));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
