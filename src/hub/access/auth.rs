//! Room passwords: argon2id with the seeds' parameters, a bound on how many are hashed at a time and on how many wait, and
//! a keyed hash that spares the next one who shows the same password the wait.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};

use crate::hub::random::random;
use crate::state::room::Password;

/// Each hash takes 64 MiB: more at once and a small machine is out of memory. The rest wait in line.
const AT_ONCE: usize = 2;
/// What one hash takes, bytes.
const MEMORY: usize = 64 << 20;
/// The most that are hashed and wait for one network: its ninth may come again later, so that others wait for eight.
const OF_ONE: usize = 8;
/// The most that wait in all.
const WAITING: usize = 64;

/// Hashes and checks passwords, two at a time, first come first.
pub struct PasswordHashing {
    queue: Mutex<Queue>,
    moved: Condvar,
    /// Drawn when the hub starts: the keyed hashes are worth nothing elsewhere.
    key: [u8; 32],
}

#[derive(Default)]
struct Queue {
    /// Numbers of those that wait.
    waiting: VecDeque<u64>,
    running: usize,
    so_far: u64,
    /// How many each network has in both.
    owned: HashMap<IpAddr, usize>,
}

/// Why a password was not hashed.
#[derive(Debug)]
pub enum HashFailed {
    /// Too many wait already, in all or of this network.
    Busy,
    /// The hashing itself failed, as it does where there is no memory for it.
    Failed(String),
}

impl fmt::Display for HashFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashFailed::Busy => f.write_str("The hub is busy with too many passwords"),
            HashFailed::Failed(reason) => write!(f, "the password could not be hashed: {reason}"),
        }
    }
}

impl Default for PasswordHashing {
    fn default() -> Self {
        let mut key = [0; 32];
        random(&mut key);
        PasswordHashing { queue: Mutex::default(), moved: Condvar::new(), key }
    }
}

/// A permit to hash, given back on drop, a panic included.
struct Turn<'p> {
    passwords: &'p PasswordHashing,
    owner: Option<IpAddr>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.passwords.lock();
        queue.running -= 1;
        queue.leave(self.owner);
        drop(queue);
        self.passwords.moved.notify_all();
    }
}

impl Queue {
    /// A place in line; `None` where it is too long.
    fn enter(&mut self, owner: Option<IpAddr>) -> Option<u64> {
        let owned = owner.map_or(0, |owner| self.owned.get(&owner).copied().unwrap_or(0));
        if self.waiting.len() >= WAITING || owned >= OF_ONE {
            return None;
        }
        self.so_far += 1;
        self.waiting.push_back(self.so_far);
        owner.map(|owner| self.owned.insert(owner, owned + 1));
        Some(self.so_far)
    }

    fn leave(&mut self, owner: Option<IpAddr>) {
        let Some(owner) = owner else { return };
        if let Some(owned) = self.owned.get_mut(&owner) {
            *owned -= 1;
            if *owned == 0 {
                self.owned.remove(&owner);
            }
        }
    }
}

/// Whether a text is an argon2id hash in PHC form.
pub fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id" && hash.hash.is_some())
}

impl PasswordHashing {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a permit to hash.
    fn turn(&self, owner: Option<IpAddr>) -> Result<Turn<'_>, HashFailed> {
        let mut queue = self.lock();
        let number = queue.enter(owner).ok_or(HashFailed::Busy)?;
        while queue.running >= AT_ONCE || queue.waiting.front() != Some(&number) {
            queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.waiting.pop_front();
        queue.running += 1;
        let running = queue.running;
        drop(queue);
        self.moved.notify_all();
        let turn = Turn { passwords: self, owner };
        // Argon2 itself would end the process where there is no memory for it.
        match Vec::<u8>::new().try_reserve_exact(MEMORY * running) {
            Ok(()) => Ok(turn),
            Err(error) => Err(HashFailed::Failed(error.to_string())),
        }
    }

    /// A new password of a room.
    ///
    /// # Errors
    /// When there is no memory for its hash, or too many wait for theirs.
    pub fn keep(&self, owner: Option<IpAddr>, password: &str) -> Result<Password, HashFailed> {
        let mut salt = [0; 16];
        random(&mut salt);
        let kept = Password::hashed(&self.hash(owner, password, &salt)?);
        let _ = kept.known.set(self.keyed(password));
        Ok(kept)
    }

    fn keyed(&self, password: &str) -> [u8; 32] {
        Blake2sMac256::new(&self.key.into()).chain_update(password).finalize().into_bytes().into()
    }

    /// Whether `given` is a room's password. Slow at the first right one and all wrong ones before it; then quick.
    /// `in_vain` is asked once the wait for a permit is over: whether nobody would be told of the outcome.
    ///
    /// # Errors
    /// When it can't be told now.
    pub fn is_right(
        &self,
        owner: Option<IpAddr>,
        given: &str,
        password: &Password,
        in_vain: impl FnOnce() -> bool,
    ) -> Result<bool, HashFailed> {
        let keyed = self.keyed(given);
        if let Some(known) = password.known.get() {
            return Ok(known.iter().zip(keyed).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0);
        }
        let right = self.verify(owner, given, &password.hash, in_vain)?;
        if right {
            let _ = password.known.set(keyed);
        }
        Ok(right)
    }

    /// Hashes a password: a PHC string, `$argon2id$v=19$m=65536,t=2,p=1$...`.
    fn hash(&self, owner: Option<IpAddr>, password: &str, salt: &[u8; 16]) -> Result<String, HashFailed> {
        let _turn = self.turn(owner)?;
        let params = Params::new(65536, 2, 1, None).map_err(|e| HashFailed::Failed(e.to_string()))?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon
            .hash_password_with_salt(password.as_bytes(), salt)
            .map(|hash| hash.to_string())
            .map_err(|e| HashFailed::Failed(e.to_string()))
    }

    /// Whether `password` is the one that `phc` was made from. What can't be verified (a string that is no hash, one of
    /// another kind) matches nothing.
    fn verify(
        &self,
        owner: Option<IpAddr>,
        password: &str,
        phc: &str,
        in_vain: impl FnOnce() -> bool,
    ) -> Result<bool, HashFailed> {
        let Ok(hash) = PasswordHash::new(phc) else { return Ok(false) };
        let _turn = self.turn(owner)?;
        Ok(!in_vain() && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let passwords = PasswordHashing::default();
        let hash = passwords.hash(None, "secret123", &[7; 16]).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=65536,t=2,p=1$"), "{hash}");
        let verify = |given: &str, hash: &str| passwords.verify(None, given, hash, || false).unwrap();
        assert!(verify("secret123", &hash));
        assert!(!verify("secret124", &hash));
        assert!(!verify("", &hash));
        assert!(!verify("secret123", "no hash"));
    }

    #[test]
    fn a_password_that_was_shown_is_known_again() {
        let passwords = PasswordHashing::default();
        let right = |given: &str, kept: &Password| passwords.is_right(None, given, kept, || false).unwrap();
        let kept = passwords.keep(None, "secret123").unwrap();
        assert!(right("secret123", &kept) && !right("secret124", &kept));
        let declared = Password::hashed(&kept.hash);
        assert!(!right("x", &declared) && declared.known.get().is_none());
        assert!(right("secret123", &declared) && declared.known.get().is_some());
        assert!(right("secret123", &declared) && !right("x", &declared));
        assert_ne!(PasswordHashing::default().keyed("secret123"), passwords.keyed("secret123"));
    }

    #[test]
    fn a_hash_that_can_not_be_verified_refuses() {
        let passwords = PasswordHashing::default();
        let hash = passwords.hash(None, "secret123", &[7; 16]).unwrap();
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
                assert!(
                    !passwords.is_right(None, given, &kept, || false).unwrap() && kept.known.get().is_none(),
                    "{broken}"
                );
            }
        }
        assert!(!is_hash(start), "a hash without its output is none");
        assert!(is_hash(&hash));
    }

    #[test]
    fn nothing_is_hashed_in_vain() {
        let passwords = PasswordHashing::default();
        let kept = Password::hashed(&passwords.hash(None, "secret123", &[7; 16]).unwrap());
        assert!(!passwords.is_right(None, "secret123", &kept, || true).unwrap() && kept.known.get().is_none());
        assert!(passwords.is_right(None, "secret123", &kept, || false).unwrap());
    }

    #[test]
    fn turns_come_back() {
        let passwords = PasswordHashing::default();
        for _ in 0..AT_ONCE * 2 {
            drop(passwords.turn(None).unwrap());
        }
        let turns = (passwords.turn(None).unwrap(), passwords.turn(None).unwrap());
        assert_eq!(passwords.lock().running, AT_ONCE);
        drop(turns);
        let queue = passwords.lock();
        assert!(queue.running == 0 && queue.waiting.is_empty() && queue.owned.is_empty());
    }

    #[test]
    fn a_network_has_a_few_places_in_line_and_the_line_an_end() {
        let mut queue = Queue::default();
        let network = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
        assert!((0..OF_ONE).all(|_| queue.enter(network(0)).is_some()));
        assert!(queue.enter(network(0)).is_none() && queue.enter(network(1)).is_some());
        queue.leave(network(0));
        queue.waiting.pop_front();
        assert!(queue.enter(network(0)).is_some());
        while queue.enter(None).is_some() {}
        assert!(queue.waiting.len() == WAITING && queue.enter(network(2)).is_none());
    }
}
