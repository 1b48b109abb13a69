//! Requests that come back. A participant's endpoint may lead, over a proxy or another hub, to the very room that asked
//! it: each round would take another participant, thread and connection. So a hub says in each call that it was there,
//! as RFC 9110 has proxies do in `Via` (section 7.6.3), and answers 508 where it was before. Hubs in a row are fine.

use crate::http::Exchange;
use crate::hub::context::HubContext;
use crate::hub::respond::Rejection;
use crate::proto::management::ErrorCode;
use crate::proto::web::HOPS;

/// Hubs that a request may pass in a row.
const MOST: usize = 8;

/// The longest list of them, in bytes.
const LONGEST: usize = 512;

/// What goes along with a request that is passed on: the hubs that it has passed, and this one.
///
/// # Errors
/// 508, where this hub is among them, or they are too many.
pub fn passed(hub: &HubContext, exchange: &Exchange<'_>) -> Result<String, Rejection> {
    next(&hub.hop, exchange.header(HOPS).unwrap_or_default())
}

fn next(own: &str, before: &str) -> Result<String, Rejection> {
    let hops: Vec<&str> = before.split(',').map(str::trim).filter(|hop| !hop.is_empty()).collect();
    if hops.len() >= MOST || before.len() > LONGEST || hops.contains(&own) {
        let message = "This request has been here before: a participant's endpoint leads back to this hub";
        return Err(Rejection::new(ErrorCode::EndpointNotReachable, message)
            .status(508)
            .hint("Have the participant leave, or give it its provider's own address as its endpoint."));
    }
    Ok([&hops[..], &[own]].concat().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_in_a_row_are_fine_and_rounds_are_not() {
        assert_eq!(next("a", "").unwrap(), "a");
        assert_eq!(next("c", "a,b ,").unwrap(), "a, b, c");
        for before in ["c", "a, c", "C,c,a", "1,2,3,4,5,6,7,8", &"x".repeat(LONGEST + 1)] {
            assert!(next("c", before).is_err(), "{before}");
        }
    }
}
