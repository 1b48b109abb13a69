//! Says a hub's refusal in the words of the command line: the hub's own text is for all its clients, and names the fields
//! and headers of its API.

use gambi::Error;
use gambi::error::HubError;
use gambi::proto::management::{ErrorCode, PARTICIPANT_TOKEN};

use super::context::Context;
use super::failure::Failure;

/// Replaces the text and the hint of a refusal that a flag of the command mends.
pub fn advise(failure: Failure, context: &Context<'_>) -> Failure {
    let Failure::Lib(Error::Hub(mut error)) = failure else { return failure };
    let (password, key) = match context.invitation() {
        Some(invitation) => (invitation.password.is_some(), invitation.key.is_some()),
        None => ["GAMBI_ROOM_PASSWORD", "GAMBI_HUB_KEY"].map(|name| context.variable(name).is_some()).into(),
    };
    let given = Given {
        password: password || context.value("password").or(context.value("password-file")).is_some(),
        key: key || context.value("key-file").is_some(),
        token: context.value("token-file").is_some(),
        host_id: context.value("host-id").is_some(),
        model: !context.values("model").is_empty(),
    };
    reword(&mut error, given);
    Failure::Lib(Error::Hub(error))
}

/// Which secrets the command was given, and whether it names a model.
#[derive(Debug, Clone, Copy, Default)]
struct Given {
    password: bool,
    key: bool,
    token: bool,
    host_id: bool,
    model: bool,
}

fn reword(error: &mut HubError, given: Given) {
    let named_header = |name: &str| error.hint.as_deref().is_some_and(|hint| hint.contains(name));
    let (message, hint) = match (error.status, error.code) {
        (401, Some(ErrorCode::InvalidPassword)) if given.password || given.key => (
            None,
            "Check the files that --password-file and --key-file name, or GAMBI_ROOM_PASSWORD and GAMBI_HUB_KEY.",
        ),
        // The hub does not say which of the two it is where it has a key.
        (401, Some(ErrorCode::InvalidPassword)) if error.message.contains("key") => (
            Some("No key given, which this hub requires"),
            "Use --key-file or GAMBI_HUB_KEY; in a private room, --password-file or GAMBI_ROOM_PASSWORD is enough.",
        ),
        (401, Some(ErrorCode::InvalidPassword)) => (
            Some("No password given, which this room requires"),
            "Use --password-file or GAMBI_ROOM_PASSWORD; the room's host knows the password.",
        ),
        (401, _) if named_header(PARTICIPANT_TOKEN) => {
            let message = if given.token {
                "The token in --token-file is not that of this participant"
            } else {
                "No token given, which this participant's id requires"
            };
            (
                Some(message),
                "Use --token-file with the file that the participant joined with, or another --participant-id.",
            )
        }
        (403, Some(ErrorCode::InvalidPassword)) if given.host_id => {
            (None, "Use --host-id with the hostId that `gambi room create` returned.")
        }
        (_, Some(ErrorCode::ModelNotFound)) if error.hint.is_none() && !given.model => {
            (Some("The room has no participants online"), "`gambi join` adds one.")
        }
        // The hub's own hint is for the participant itself.
        (404, Some(code @ ErrorCode::ParticipantNotFound)) => (None, standard_hint(code).unwrap_or_default()),
        (_, Some(code)) if error.hint.is_none() => match standard_hint(code) {
            Some(hint) => (None, hint),
            None => return,
        },
        _ => return,
    };
    if let Some(message) = message {
        message.clone_into(&mut error.message);
    }
    error.hint = Some(hint.to_owned());
}

/// The hint for a refusal to which the hub gave none. An invalid request needs none: the hub's text names what is wrong.
fn standard_hint(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::RoomNotFound => Some("`gambi room list` shows the rooms; `gambi room create` makes one."),
        ErrorCode::ParticipantNotFound => Some("`gambi participant list` shows who is in the room."),
        ErrorCode::ModelNotFound => {
            Some("`gambi models` shows what the room has; leave --model out to take any of it.")
        }
        ErrorCode::InvalidPassword => Some("Use --password-file or --key-file."),
        ErrorCode::ParticipantConflict => Some("Use another --participant-id."),
        ErrorCode::ParticipantBusy | ErrorCode::RateLimitExceeded => Some("Wait a little, and send it again."),
        ErrorCode::ParticipantTunnelNotConnected => {
            Some("Start `gambi join` on its machine again, or name another participant with --model.")
        }
        ErrorCode::InternalError => Some("Send it again; the hub's log has the reason under the request_id."),
        ErrorCode::EndpointNotReachable => Some(
            "Send it again, or name another participant with --model; `gambi participant list` shows who is online.",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reworded(status: u16, code: ErrorCode, message: &str, hint: Option<&str>, given: Given) -> (String, String) {
        let mut error = HubError {
            status,
            code: Some(code),
            message: message.into(),
            hint: hint.map(str::to_owned),
            details: None,
            request_id: None,
        };
        reword(&mut error, given);
        (error.message, error.hint.unwrap_or_default())
    }

    #[test]
    fn a_missing_secret_is_named_with_its_flag_and_a_wrong_one_is_not_called_missing() {
        let none = Given::default();
        let code = ErrorCode::InvalidPassword;
        let (message, hint) = reworded(401, code, "Invalid password.", None, none);
        assert!(
            message.starts_with("No password given") && hint.starts_with("Use --password-file"),
            "{message} {hint}"
        );
        let (message, hint) = reworded(401, code, "This hub requires its key, or ...", None, none);
        assert!(message.starts_with("No key given") && hint.starts_with("Use --key-file"), "{message} {hint}");
        for given in [Given { password: true, ..none }, Given { key: true, ..none }] {
            let (message, hint) = reworded(401, code, "Invalid password.", None, given);
            assert!(message == "Invalid password." && hint.contains("--password-file"), "{message} {hint}");
        }
    }

    #[test]
    fn a_refusal_without_a_hint_gets_one_unless_it_names_what_is_wrong() {
        for code in [
            ErrorCode::RoomNotFound,
            ErrorCode::ParticipantNotFound,
            ErrorCode::ModelNotFound,
            ErrorCode::InvalidPassword,
            ErrorCode::ParticipantConflict,
            ErrorCode::ParticipantBusy,
            ErrorCode::ParticipantTunnelNotConnected,
            ErrorCode::EndpointNotReachable,
            ErrorCode::RateLimitExceeded,
            ErrorCode::InternalError,
        ] {
            let (message, hint) = reworded(code.status(), code, "No.", None, Given::default());
            assert!(!message.is_empty() && hint.ends_with('.'), "{code:?}");
        }
        let invalid = reworded(400, ErrorCode::InvalidRequest, "name is missing", None, Given::default());
        assert_eq!(invalid, ("name is missing".into(), String::new()));
    }

    #[test]
    fn other_refusals_keep_the_hubs_words() {
        let told = reworded(404, ErrorCode::RoomNotFound, "Room not found.", Some("Check the code."), Given::default());
        assert_eq!(told, ("Room not found.".into(), "Check the code.".into()));
    }
}
