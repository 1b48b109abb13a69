//! Room passwords: argon2id with the seeds' parameters, a bound on how many are hashed at a time, and a keyed hash that
//! spares the next one who shows the same password the wait.

use std::fmt;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};
use crossbeam_channel::{Receiver, Sender, bounded};

use super::shared::random;
use crate::state::room::Password;

/// Each hash takes 64 MiB: more at once and a small machine is out of memory. The rest wait in line.
const AT_ONCE: usize = 2;

/// Hashes and checks passwords, two at a time.
pub struct Passwords {
    free: Receiver<()>,
    back: Sender<()>,
    /// Drawn when the hub starts: the keyed hashes are worth nothing elsewhere.
    key: [u8; 32],
}

/// The hashing itself failed, as it does where there is no memory for it.
#[derive(Debug)]
pub struct HashFailed(String);

impl fmt::Display for HashFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the password could not be hashed: {}", self.0)
    }
}

impl Default for Passwords {
    fn default() -> Self {
        let (back, free) = bounded(AT_ONCE);
        for _ in 0..AT_ONCE {
            let _ = back.send(());
        }
        let mut key = [0; 32];
        random(&mut key);
        Passwords { free, back, key }
    }
}

/// A permit to hash, given back on drop, a panic included.
struct Turn<'p>(&'p Sender<()>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

/// Whether a text is an argon2id hash in PHC form.
pub fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id" && hash.hash.is_some())
}

impl Passwords {
    fn turn(&self) -> Turn<'_> {
        let _ = self.free.recv();
        Turn(&self.back)
    }

    /// A new password of a room.
    ///
    /// # Errors
    /// When there is no memory for its hash.
    pub fn keep(&self, password: &str) -> Result<Password, HashFailed> {
        let mut salt = [0; 16];
        random(&mut salt);
        let kept = Password::hashed(&self.hash(password, &salt)?);
        let _ = kept.known.set(self.keyed(password));
        Ok(kept)
    }

    fn keyed(&self, password: &str) -> [u8; 32] {
        Blake2sMac256::new(&self.key.into()).chain_update(password).finalize().into_bytes().into()
    }

    /// Whether `given` is a room's password. Slow at the first right one and all wrong ones before it; then quick.
    /// `in_vain` is asked once the wait for a permit is over: whether nobody would be told of the outcome.
    pub fn is_right(&self, given: &str, password: &Password, in_vain: impl FnOnce() -> bool) -> bool {
        let keyed = self.keyed(given);
        if let Some(known) = password.known.get() {
            return known.iter().zip(keyed).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0;
        }
        let right = self.verify(given, &password.hash, in_vain);
        if right {
            let _ = password.known.set(keyed);
        }
        right
    }

    /// Hashes a password: a PHC string, `$argon2id$v=19$m=65536,t=2,p=1$...`.
    fn hash(&self, password: &str, salt: &[u8; 16]) -> Result<String, HashFailed> {
        let _turn = self.turn();
        let params = Params::new(65536, 2, 1, None).map_err(|e| HashFailed(e.to_string()))?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon
            .hash_password_with_salt(password.as_bytes(), salt)
            .map(|hash| hash.to_string())
            .map_err(|e| HashFailed(e.to_string()))
    }

    /// Whether `password` is the one that `phc` was made from. Whatever can't be verified (a string that is no hash, one
    /// of another kind, no memory for it) matches nothing.
    fn verify(&self, password: &str, phc: &str, in_vain: impl FnOnce() -> bool) -> bool {
        let Ok(hash) = PasswordHash::new(phc) else { return false };
        let _turn = self.turn();
        !in_vain() && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::default();
        let hash = passwords.hash("secret123", &[7; 16]).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=65536,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("secret123", &hash, || false));
        assert!(!passwords.verify("secret124", &hash, || false));
        assert!(!passwords.verify("", &hash, || false));
        assert!(!passwords.verify("secret123", "no hash", || false));
    }

    #[test]
    fn a_password_that_was_shown_is_known_again() {
        let passwords = Passwords::default();
        let kept = passwords.keep("secret123").unwrap();
        assert!(passwords.is_right("secret123", &kept, || false) && !passwords.is_right("secret124", &kept, || false));
        let declared = Password::hashed(&kept.hash);
        assert!(!passwords.is_right("x", &declared, || false) && declared.known.get().is_none());
        assert!(passwords.is_right("secret123", &declared, || false) && declared.known.get().is_some());
        assert!(passwords.is_right("secret123", &declared, || false) && !passwords.is_right("x", &declared, || false));
        assert_ne!(Passwords::default().keyed("secret123"), passwords.keyed("secret123"));
    }

    #[test]
    fn a_hash_that_can_not_be_verified_refuses() {
        let passwords = Passwords::default();
        let hash = passwords.hash("secret123", &[7; 16]).unwrap();
        let (start, output) = hash.rsplit_once('$').unwrap();
        for broken in [
            String::new(),
            "$".into(),
            "$argon2id".into(),
            start.into(),
            format!("{start}$"),
            format!("{start}$!!!!"),
            hash.replace("argon2id", "scrypt"),
            hash.replace("argon2id", "argon2i"),
            hash.replace("v=19", "v=99"),
            hash.replace("m=65536", "m=1"),
            hash.replace("m=65536", "m=4294967295"),
            hash.replace("t=2", "t=0"),
            format!("{start}${}", &output[..10]),
        ] {
            let kept = Password::hashed(&broken);
            for given in ["secret123", "", "$"] {
                assert!(!passwords.is_right(given, &kept, || false) && kept.known.get().is_none(), "{broken}");
            }
        }
        assert!(!is_hash(start), "a hash without its output is none");
        assert!(is_hash(&hash));
    }

    #[test]
    fn nothing_is_hashed_in_vain() {
        let passwords = Passwords::default();
        let kept = Password::hashed(&passwords.hash("secret123", &[7; 16]).unwrap());
        assert!(!passwords.is_right("secret123", &kept, || true) && kept.known.get().is_none());
        assert!(passwords.is_right("secret123", &kept, || false));
    }

    #[test]
    fn turns_come_back() {
        let passwords = Passwords::default();
        for _ in 0..AT_ONCE * 2 {
            drop(passwords.turn());
        }
        let (_a, _b) = (passwords.turn(), passwords.turn());
        assert!(passwords.free.try_recv().is_err());
    }
}
