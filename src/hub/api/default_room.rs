//! The room whose inference routes are served at the root too, for clients that can be given a server but no path.

use crate::hub::context::HubContext;
use crate::hub::respond::Rejection;
use crate::proto::management::ErrorCode;

/// The path in the default room of one at the root, if there is such a room. It may match no route. Clients join a server
/// that ends in a slash and a path that begins with one.
pub fn path_in_room(hub: &HubContext, path: &str) -> Option<String> {
    let code = hub.default_room.as_ref()?;
    let path = path.trim_start_matches('/');
    is_inference(&format!("/{path}")).then(|| format!("/rooms/{code}/{path}"))
}

/// Whether a path at the root may be one of a room's inference routes.
pub fn is_inference(path: &str) -> bool {
    ["/v1", "/api"]
        .iter()
        .any(|base| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Checks that the default room is there.
///
/// # Errors
/// 404, which names the flag.
pub fn check(hub: &HubContext) -> Result<(), Rejection> {
    let Some(code) = &hub.default_room else { return Ok(()) };
    if hub.registry().room(code.as_str()).is_ok() {
        return Ok(());
    }
    let message = format!(
        "The hub's default room {code} is not there: start the hub with --room {code}=NAME too, or name a room that exists \
         with --default-room"
    );
    Err(Rejection::new(ErrorCode::RoomNotFound, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_inference_apis_lead_to_the_default_room() {
        for path in ["/v1", "/v1/chat/completions", "/api", "/api/tags", "/v1/"] {
            assert!(is_inference(path), "{path}");
        }
        for path in ["/", "/v12", "/apis", "/rooms/ABC234/v1/models", "/health", ""] {
            assert!(!is_inference(path), "{path}");
        }
    }
}
