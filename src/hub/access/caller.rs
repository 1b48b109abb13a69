//! Whose request it is: callers share the participants' time.

use super::client_info::client_address;
use super::keys::KeyHolder;
use crate::http::{Exchange, network_of};
use crate::hub::context::HubContext;
use crate::state::selector::Caller;

/// Whom a request's use of the participants is counted for. `holder`: whose key it shows.
pub fn caller(hub: &HubContext, exchange: &Exchange<'_>, holder: Option<&KeyHolder>) -> Caller {
    if let Some(holder) = holder {
        return Caller::Person(holder.name.clone());
    }
    Caller::Network(network_of(client_address(exchange, &hub.trusted_proxies)))
}
