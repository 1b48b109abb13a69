//! Hashing and verification of room passwords: argon2id, with a bound on concurrent hashes and on queued ones. A keyed
//! hash of a password that was once verified makes later checks of the same password cheap.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard};

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};

use super::hash_queue::HashQueue;
use crate::hub::random::random;
use crate::state::id::same_secret;
use crate::state::room::Password;
use crate::sync::{lock, wait};

/// Memory of one hash, bytes.
const HASH_MEMORY: usize = 64 << 20;
/// Hashes and verifies passwords, a few at a time.
pub struct PasswordHashing {
    queue: Mutex<HashQueue>,
    queue_changed: Condvar,
    /// Key of the keyed hashes. Drawn at start: they are useless outside this process.
    key: [u8; 32],
}

/// Why a password was not hashed.
#[derive(Debug)]
pub enum HashFailed {
    /// The queue is full, or holds the most that it may of this network.
    Busy,
    /// The hashing itself failed, for example for lack of memory.
    Failed(String),
}

impl fmt::Display for HashFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashFailed::Busy => f.write_str("Too many passwords are already being checked: try again in a moment"),
            HashFailed::Failed(reason) => write!(f, "The password could not be hashed: {reason}"),
        }
    }
}

impl Default for PasswordHashing {
    fn default() -> Self {
        let mut key = [0; 32];
        random(&mut key);
        PasswordHashing { queue: Mutex::default(), queue_changed: Condvar::new(), key }
    }
}

/// A permit to hash. Released on drop, also during a panic.
struct HashPermit<'p> {
    passwords: &'p PasswordHashing,
    network: Option<IpAddr>,
}

impl Drop for HashPermit<'_> {
    fn drop(&mut self) {
        let mut queue = self.passwords.lock();
        queue.finish(self.network);
        drop(queue);
        self.passwords.queue_changed.notify_all();
    }
}

/// Whether a text is an argon2id hash in PHC form.
pub fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id" && hash.hash.is_some())
}

impl PasswordHashing {
    fn lock(&self) -> MutexGuard<'_, HashQueue> {
        lock(&self.queue)
    }

    /// Blocks until hashing is permitted.
    fn acquire(&self, network: Option<IpAddr>) -> Result<HashPermit<'_>, HashFailed> {
        let mut queue = self.lock();
        let ticket = queue.enqueue(network).ok_or(HashFailed::Busy)?;
        while !queue.start(ticket) {
            queue = wait(&self.queue_changed, queue);
        }
        let running = queue.running();
        drop(queue);
        self.queue_changed.notify_all();
        let permit = HashPermit { passwords: self, network };
        // Argon2 aborts the process when its allocation fails, so check first that the memory is available.
        match Vec::<u8>::new().try_reserve_exact(HASH_MEMORY * running) {
            Ok(()) => Ok(permit),
            Err(error) => Err(HashFailed::Failed(error.to_string())),
        }
    }

    /// Hashes the password of a new room. `network` is the client's.
    ///
    /// # Errors
    /// When there is no memory for the hash, or the queue is full.
    pub fn hash(&self, network: Option<IpAddr>, password: &str) -> Result<Password, HashFailed> {
        let mut salt = [0; 16];
        random(&mut salt);
        let hashed = Password::hashed(&self.hash_with_salt(network, password, &salt)?);
        let _ = hashed.known.set(self.keyed_hash(password));
        Ok(hashed)
    }

    fn keyed_hash(&self, password: &str) -> [u8; 32] {
        Blake2sMac256::new(&self.key.into()).chain_update(password).finalize().into_bytes().into()
    }

    /// Whether `given` is a room's password. Runs argon2 until a right password was verified once; later calls compare
    /// keyed hashes in constant time. `is_moot` is called after the wait for a permit: if it returns true, the result is
    /// no longer of use and `given` is reported as wrong without hashing it.
    ///
    /// # Errors
    /// When the password cannot be verified now.
    pub fn is_right(
        &self,
        network: Option<IpAddr>,
        given: &str,
        password: &Password,
        is_moot: impl FnOnce() -> bool,
    ) -> Result<bool, HashFailed> {
        let keyed = self.keyed_hash(given);
        if let Some(known) = password.known.get() {
            return Ok(same_secret(known, &keyed));
        }
        let right = self.verify(network, given, &password.hash, is_moot)?;
        if right {
            let _ = password.known.set(keyed);
        }
        Ok(right)
    }

    /// Hashes a password into a PHC string, `$argon2id$v=19$m=65536,t=2,p=1$...`.
    fn hash_with_salt(&self, network: Option<IpAddr>, password: &str, salt: &[u8; 16]) -> Result<String, HashFailed> {
        let _permit = self.acquire(network)?;
        let params = Params::new(65536, 2, 1, None).map_err(|e| HashFailed::Failed(e.to_string()))?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon
            .hash_password_with_salt(password.as_bytes(), salt)
            .map(|hash| hash.to_string())
            .map_err(|e| HashFailed::Failed(e.to_string()))
    }

    /// Whether `phc` is a hash of `password`. A text that is not a hash that argon2 can verify matches no password.
    fn verify(
        &self,
        network: Option<IpAddr>,
        password: &str,
        phc: &str,
        is_moot: impl FnOnce() -> bool,
    ) -> Result<bool, HashFailed> {
        let Ok(hash) = PasswordHash::new(phc) else { return Ok(false) };
        let _permit = self.acquire(network)?;
        Ok(!is_moot() && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let passwords = PasswordHashing::default();
        let hash = passwords.hash_with_salt(None, "secret123", &[7; 16]).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=65536,t=2,p=1$"), "{hash}");
        let verify = |given: &str, hash: &str| passwords.verify(None, given, hash, || false).unwrap();
        assert!(verify("secret123", &hash));
        assert!(!verify("secret124", &hash));
        assert!(!verify("", &hash));
        assert!(!verify("secret123", "no hash"));
    }

    #[test]
    fn a_verified_password_is_recognised_by_its_keyed_hash() {
        let passwords = PasswordHashing::default();
        let right = |given: &str, hashed: &Password| passwords.is_right(None, given, hashed, || false).unwrap();
        let hashed = passwords.hash(None, "secret123").unwrap();
        assert!(right("secret123", &hashed) && !right("secret124", &hashed));
        let declared = Password::hashed(&hashed.hash);
        assert!(!right("x", &declared) && declared.known.get().is_none());
        assert!(right("secret123", &declared) && declared.known.get().is_some());
        assert!(right("secret123", &declared) && !right("x", &declared));
        assert_ne!(PasswordHashing::default().keyed_hash("secret123"), passwords.keyed_hash("secret123"));
    }

    #[test]
    fn a_hash_that_cannot_be_verified_matches_nothing() {
        let passwords = PasswordHashing::default();
        let hash = passwords.hash_with_salt(None, "secret123", &[7; 16]).unwrap();
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
            let hashed = Password::hashed(&broken);
            for given in ["secret123", "", "$"] {
                assert!(
                    !passwords.is_right(None, given, &hashed, || false).unwrap() && hashed.known.get().is_none(),
                    "{broken}"
                );
            }
        }
        assert!(!is_hash(start), "a hash without its output");
        assert!(is_hash(&hash));
    }

    #[test]
    fn no_hash_is_computed_when_the_check_is_moot() {
        let passwords = PasswordHashing::default();
        let hashed = Password::hashed(&passwords.hash_with_salt(None, "secret123", &[7; 16]).unwrap());
        assert!(!passwords.is_right(None, "secret123", &hashed, || true).unwrap() && hashed.known.get().is_none());
        assert!(passwords.is_right(None, "secret123", &hashed, || false).unwrap());
    }

    #[test]
    fn permits_are_released() {
        let passwords = PasswordHashing::default();
        for _ in 0..4 {
            drop(passwords.acquire(None).unwrap());
        }
        let permits = (passwords.acquire(None).unwrap(), passwords.acquire(None).unwrap());
        assert_eq!(passwords.lock().running(), 2);
        drop(permits);
        assert_eq!(passwords.lock().running(), 0);
    }
}
