//! `gambi room invite`: prints an invitation, and a QR code of it on a terminal.

use std::io::{IsTerminal, stdout};

use qrcodegen::{QrCode, QrCodeEcc};
use serde_json::{Value, json};

use gambi::hub::key_hash;
use gambi::proto::invitation::Invitation;

use super::context::Context;
use super::failure::Failure;
use super::key;
use super::terminal;
use super::urls::is_local;

/// The light margin around a QR code that readers need, in modules.
const MARGIN: i32 = 2;

/// Prints an invitation to a room that exists.
pub fn invite(context: &Context<'_>) -> Result<(), Failure> {
    let code = context.required("code")?;
    let client = context.client()?;
    let room = client.rooms().get(&code)?;
    let fingerprint = client.fingerprint();
    let entry = new_key(context, &room.code)?;
    let asked = context.value("password").is_some() || context.value("password-file").is_some();
    let invitation = Invitation {
        hub: client.hub_url().to_owned(),
        room: room.code.clone(),
        fingerprint: fingerprint.map(Into::into),
        password: if asked { context.password(false)? } else { None },
        key: match &entry {
            Some((key, _)) => Some(key.clone()),
            None => own_key(context)?,
        },
    };
    let text = invitation.encode().map_err(|e| Failure::usage(e.to_string()))?;
    if is_local(client.hub_url()) {
        context
            .out
            .note("Only this machine reaches the hub at that address: name another with --hub to invite others.");
    }
    let mut data = json!({
        "invitation": text, "hubUrl": invitation.hub, "room": invitation.room,
        "fingerprint": fingerprint.map(|fingerprint| fingerprint.to_string()),
        "password": invitation.password.is_some(), "key": invitation.key.is_some(),
    });
    if let Some((_, line)) = entry {
        context.out.note(&format!("Add this line to the file of `hub serve --keys`: {line}"));
        data["entry"] = line;
    }
    context.out.result(&data, client.last_request_id(), || text.clone())?;
    if context.out.is_text() && stdout().is_terminal() {
        let (columns, rows) = terminal::size(|name| context.variable(name));
        // In capital letters, of which a QR code takes less than of others.
        let drawn =
            QrCode::encode_text(&text.to_uppercase(), QrCodeEcc::Low).ok().and_then(|qr| draw(&qr, columns, rows));
        return drawn.map_or(Ok(()), |drawn| context.out.piece(&drawn));
    }
    Ok(())
}

/// The hub's key, if it is to be in the invitation.
fn own_key(context: &Context<'_>) -> Result<Option<String>, Failure> {
    if !context.has("with-key") {
        return Ok(None);
    }
    let missing =
        || Failure::usage("--with-key has no key to give").hint("Give it with --key-file FILE or in GAMBI_HUB_KEY.");
    context.key()?.ok_or_else(missing).map(Some)
}

/// A new key for the room, and its line for the hub's file of keys, if one is to be made.
fn new_key(context: &Context<'_>, room: &str) -> Result<Option<(String, Value)>, Failure> {
    let Some(name) = context.value("new-key") else { return Ok(None) };
    if context.has("with-key") {
        return Err(Failure::usage("--new-key and --with-key exclude each other"));
    }
    let key = key::draw("new-key", name)?;
    let line = json!({ "name": name, "keyHash": key_hash(&key), "rooms": [room] });
    Ok(Some((key, line)))
}

/// A QR code with two modules in each character, black on white; `None` if the terminal is too small for it.
fn draw(qr: &QrCode, columns: usize, rows: usize) -> Option<String> {
    let (from, to) = (-MARGIN, qr.size() + MARGIN);
    let side = usize::try_from(to - from).ok()?;
    if side > columns || side.div_ceil(2) >= rows {
        return None;
    }
    let mut drawn = String::new();
    for y in (from..to).step_by(2) {
        drawn.push_str("\x1b[30;107m");
        drawn.extend((from..to).map(|x| match (qr.get_module(x, y), qr.get_module(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        }));
        drawn.push_str("\x1b[0m\n");
    }
    Some(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qr_code_is_drawn_where_the_terminal_holds_it() {
        let qr = QrCode::encode_text("GAMBI:ABC", QrCodeEcc::Low).unwrap();
        let side = usize::try_from(qr.size() + 2 * MARGIN).unwrap();
        let drawn = draw(&qr, side, 24).unwrap();
        let lines: Vec<_> =
            drawn.lines().map(|line| line.trim_start_matches("\x1b[30;107m").trim_end_matches("\x1b[0m")).collect();
        assert_eq!(lines.len(), side.div_ceil(2));
        assert!(lines.iter().all(|line| line.chars().count() == side));
        // A corner's mark: a square of seven modules.
        assert!(lines[1].starts_with("  █▀▀▀▀▀█ "), "{drawn}");
        assert!(draw(&qr, side - 1, 24).is_none() && draw(&qr, side, side / 2).is_none());
    }
}
