//! Detects requests that loop. A participant's endpoint may lead, over a proxy or another hub, back to this hub: each round
//! would take another participant, thread and connection. So each hub adds its name to a header of the requests that it
//! relays, as proxies do with `Via` (RFC 9110, section 7.6.3), and rejects a request that it has relayed before with 508.
//! A chain of different hubs is allowed.

use crate::http::Exchange;
use crate::hub::context::HubContext;
use crate::hub::respond::Rejection;
use crate::proto::management::ErrorCode;
use crate::proto::web::HOPS;

/// The most hubs in a chain.
const MAX_HOPS: usize = 8;

/// The longest value of the header, in bytes.
const MAX_BYTES: usize = 512;

/// The header's value for the relayed request: the hubs that have relayed it, then this one.
///
/// # Errors
/// 508, if this hub has relayed it before, or as many as there may be.
pub fn check(hub: &HubContext, exchange: &Exchange<'_>) -> Result<String, Rejection> {
    let hops = appended(&hub.hop, exchange.header(HOPS).unwrap_or_default());
    hops.map_err(|(message, hint)| Rejection::new(ErrorCode::EndpointNotReachable, message).status(508).hint(hint))
}

/// The header's value, or why the request is rejected, and what to do about it.
fn appended(own: &str, before: &str) -> Result<String, (String, &'static str)> {
    let hops = || before.split(',').map(str::trim).filter(|hop| !hop.is_empty());
    if hops().any(|hop| hop == own) {
        return Err((
            "This request has been here before: a participant's endpoint leads back to this hub".into(),
            "Have the participant leave, or give it its provider's own address as its endpoint.",
        ));
    }
    if before.len() > MAX_BYTES || hops().count() >= MAX_HOPS {
        return Err((
            format!("This request has passed {MAX_HOPS} hubs, or what {HOPS} says of them is too long"),
            "Send it to a hub that is nearer to the provider.",
        ));
    }
    Ok(hops().flat_map(|hop| [hop, ", "]).chain([own]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_hubs_is_allowed_and_a_loop_is_rejected() {
        assert_eq!(appended("a", "").unwrap(), "a");
        assert_eq!(appended("c", "a,b ,").unwrap(), "a, b, c");
        let message = |before: &str| appended("c", before).unwrap_err().0;
        for before in ["c", "a, c", "C,c,a", "1,2,3,4,5,6,7,c"] {
            assert!(message(before).contains("leads back"), "{before}");
        }
        for before in ["1,2,3,4,5,6,7,8", &"x".repeat(MAX_BYTES + 1)] {
            assert!(message(before).contains("8 hubs"), "{before}");
        }
    }
}
