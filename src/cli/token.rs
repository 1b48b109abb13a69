//! The file that stores a participant's token, readable by its owner only.

use std::fs;
use std::io::ErrorKind;

use gambi::proto::names::is_participant_token;

use super::failure::Failure;
use super::private_file;

/// Reads the token; `None` if the file does not exist.
///
/// # Errors
/// When it can't be read, or holds no valid token.
pub fn read(path: &str) -> Result<Option<String>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::usage(format!("--token-file: {path} cannot be read: {error}"))),
    };
    let token = text.trim();
    let wrong = || Failure::usage(format!("--token-file: {path} must hold one word of 32 to 128 printable characters"));
    is_participant_token(token).then(|| Some(token.to_owned())).ok_or_else(wrong)
}

/// Creates the file (mode 0600) with a fresh token.
///
/// # Errors
/// When it exists, or can't be written.
pub fn make(path: &str) -> Result<String, Failure> {
    let token = gambi::participant::fresh_id()?;
    private_file::create(path.as_ref(), &format!("{token}\n"))
        .map_err(|e| Failure::usage(format!("--token-file: {path} cannot be written: {e}")))?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_made_once_and_read_again() {
        let path = std::env::temp_dir().join(format!("gambi-token-{}", std::process::id()));
        let name = path.to_str().unwrap();
        assert_eq!(read(name).unwrap(), None);
        let token = make(name).unwrap();
        assert_eq!(read(name).unwrap(), Some(token));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(make(name).is_err());
        fs::write(&path, "short\n").unwrap();
        assert_eq!(read(name).unwrap_err().exit_code(), 2);
        fs::remove_file(&path).unwrap();
    }
}
