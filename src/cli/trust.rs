//! Which secrets go to a hub that was found by mDNS. Anyone on the network can announce a hub, so such a hub is sent a secret
//! only where it asks for one, and its fingerprint was given, the user agrees, or the flags name both `auto` and the secret.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use gambi::client::Client;

use super::context::Context;
use super::failure::Failure;
use super::find_hub::Found;
use super::prompt;
use crate::monitor::clean::one_line;

/// What a hub may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// The hub's key, or a person's.
    Key,
    /// The password of a room.
    Password,
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Secret::Key { "key" } else { "password" })
    }
}

/// The hub of a command, and which hubs the user has agreed to send secrets to.
#[derive(Default)]
pub struct Trust {
    /// The hub, if it was found by mDNS.
    announced: RefCell<Option<Found>>,
    /// The key that the hub is sent.
    key: RefCell<Option<String>>,
    /// The user's answers, by the hubs' URLs.
    answers: RefCell<BTreeMap<String, bool>>,
}

impl Trust {
    /// The key that the command's hub is sent. Set once there is a client of it.
    pub fn key(&self) -> Option<String> {
        self.key.borrow().clone()
    }
}

/// What decides whether a hub that was found is sent a secret for which it asks.
#[derive(Debug, Clone, Copy)]
struct Grounds {
    /// Whether the announced fingerprint is the one that was given; `None` if none was given.
    fingerprint: Option<bool>,
    may_ask: bool,
    /// Whether the flags of this command name both `auto` and the secret.
    explicit: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Send,
    Ask,
    Withhold,
}

fn decide(grounds: Grounds) -> Decision {
    match grounds {
        Grounds { fingerprint: Some(true), .. } => Decision::Send,
        Grounds { fingerprint: Some(false), .. } => Decision::Withhold,
        Grounds { may_ask: true, .. } => Decision::Ask,
        Grounds { explicit: true, .. } => Decision::Send,
        _ => Decision::Withhold,
    }
}

/// Whether a hub that was found, and asks for a secret, may be sent it. Asks the user at most once for each hub.
///
/// # Errors
/// When the fingerprint that was given is none, or the question gets no answer.
pub fn may_send(context: &Context<'_>, hub: &Found, secret: Secret) -> Result<bool, Failure> {
    let given = match secret {
        Secret::Key => context.value("key-file"),
        Secret::Password => context.value("password").or(context.value("password-file")),
    };
    let grounds = Grounds {
        fingerprint: context.fingerprint()?.map(|given| hub.fingerprint == Some(given)),
        may_ask: context.may_ask(),
        explicit: given.is_some() && (context.names_auto() || context.path() == ["discover"]),
    };
    match decide(grounds) {
        Decision::Send => return Ok(true),
        Decision::Withhold => return Ok(false),
        Decision::Ask => {}
    }
    if let Some(answer) = context.trust.answers.borrow().get(&hub.url) {
        return Ok(*answer);
    }
    let label = format!("Send the {secret} to {hub}? Anyone on the network can announce a hub. [y/N]");
    let answer = prompt::ask(&one_line(&label))?;
    let agrees = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    context.trust.answers.borrow_mut().insert(hub.url.clone(), agrees);
    Ok(agrees)
}

/// The failure of a command whose hub needs a secret that it is not sent.
pub fn withheld(hub: &Found, secret: Secret) -> Failure {
    let message =
        format!("{hub} asks for the {secret}, which it was not sent: anyone on the network can announce a hub");
    let hint = format!("Name the hub with --hub {}, or give its fingerprint with --hub-fingerprint TEXT.", hub.url);
    Failure::usage(one_line(&message)).hint(hint)
}

/// Makes this hub the command's, and adds the key to its client if the hub may be sent it. A hub that lists its rooms without
/// a key never sees one.
///
/// # Errors
/// When the hub asks for the key and must not be sent it.
pub fn with_key(context: &Context<'_>, client: Client, hub: Found) -> Result<Client, Failure> {
    let key = match context.key()? {
        Some(key) if hub.name.is_none() => Some(key),
        Some(key) if is_refused(&client.rooms().list()) => {
            if !may_send(context, &hub, Secret::Key)? {
                return Err(withheld(&hub, Secret::Key));
            }
            Some(key)
        }
        _ => None,
    };
    let client = key.iter().fold(client, |client, key| client.with_key(key));
    *context.trust.key.borrow_mut() = key;
    *context.trust.announced.borrow_mut() = Some(hub).filter(|hub| hub.name.is_some());
    Ok(client)
}

/// The password, if the hub of this client may be sent it. One that was found is sent it only where one of the rooms needs a
/// password, as far as the hub tells; with no room named, where the user agrees.
///
/// # Errors
/// When the hub asks for the password and must not be sent it.
pub fn password(
    context: &Context<'_>,
    client: &Client,
    rooms: &[&str],
    password: Option<String>,
) -> Result<Option<String>, Failure> {
    let announced = context.trust.announced.borrow().clone();
    let (Some(hub), Some(_)) = (announced, &password) else { return Ok(password) };
    let is_asked_for = |room: &&str| match client.rooms().get(room) {
        Ok(room) => room.password_protected,
        refused => is_refused(&refused),
    };
    if !rooms.is_empty() && !rooms.iter().any(is_asked_for) {
        return Ok(None);
    }
    if may_send(context, &hub, Secret::Password)? { Ok(password) } else { Err(withheld(&hub, Secret::Password)) }
}

/// Whether the hub refuses for want of a secret.
fn is_refused<T>(answer: &Result<T, gambi::Error>) -> bool {
    answer.as_ref().is_err_and(|error| error.status() == Some(401))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_that_was_found_is_sent_a_secret_by_its_fingerprint_or_if_the_user_says_so() {
        let decided = |fingerprint, may_ask, explicit| decide(Grounds { fingerprint, may_ask, explicit });
        for may_ask in [false, true] {
            for explicit in [false, true] {
                assert_eq!(decided(Some(true), may_ask, explicit), Decision::Send);
                assert_eq!(decided(Some(false), may_ask, explicit), Decision::Withhold);
            }
        }
        assert_eq!((decided(None, true, false), decided(None, true, true)), (Decision::Ask, Decision::Ask));
        assert_eq!((decided(None, false, false), decided(None, false, true)), (Decision::Withhold, Decision::Send));
    }

    #[test]
    fn a_secret_that_is_not_sent_is_told_with_what_mends_it() {
        let hub =
            Found { name: Some("gambi-hub-1\u{1b}[2J".into()), url: "http://10.0.0.1:1".into(), fingerprint: None };
        let failure = withheld(&hub, Secret::Key);
        let (text, hint) = (failure.to_string(), failure.hint_text().unwrap());
        assert!(text.contains("asks for the key") && !text.contains('\u{1b}'), "{text}");
        assert!(hint.contains("--hub http://10.0.0.1:1") && hint.contains("--hub-fingerprint"), "{hint}");
    }
}
