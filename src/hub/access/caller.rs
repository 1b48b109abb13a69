//! Whose request it is: callers share the participants' time.

use super::client_info::client_info;
use crate::http::{Exchange, network_of};
use crate::hub::context::HubContext;
use crate::state::selector::Caller;

/// Whom a request's use of the participants is counted for.
pub fn caller(hub: &HubContext, exchange: &Exchange<'_>) -> Caller {
    Caller::Network(network_of(client_info(exchange, &hub.trusted_proxies).client))
}
