//! The hub's own URL, as a client knows it.

use crate::http::Exchange;
use crate::hub::access::client_info::client_info;
use crate::hub::context::HubContext;
use crate::hub::respond::Rejection;

/// The hub's URL, without a trailing slash: the configured public one, else that of the host that the client addressed.
///
/// # Errors
/// 400 for a request without a `Host`, where no public URL is configured.
pub fn own_url(hub: &HubContext, exchange: &Exchange<'_>) -> Result<String, Rejection> {
    if let Some(url) = &hub.public_url {
        return Ok(url.clone());
    }
    let client = client_info(exchange, &hub.trusted_proxies);
    let host = client.host.ok_or_else(|| Rejection::invalid("A Host header is required"))?;
    Ok(format!("{}://{host}", if client.secure { "https" } else { "http" }))
}
