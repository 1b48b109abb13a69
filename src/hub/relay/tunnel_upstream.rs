//! Sends a request to a participant over its tunnel.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::upstream::{Carrier, End, Outgoing, Stop};
use crate::hub::tunnels::registry::Tunnel;
use crate::proto::tunnel::{Request, encode_request};
use crate::tunnel::PendingResponse;

impl Carrier for Arc<Tunnel> {
    fn send(&self, outgoing: Outgoing<'_>) -> Result<(PendingResponse, Stop), End> {
        let lost = |e: &dyn std::fmt::Display| End::tunnel("dispatch", e);
        let pending = self.router.open(&outgoing.id).map_err(|e| lost(&e))?;
        let mut headers: BTreeMap<&str, &str> =
            outgoing.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if outgoing.body.is_some() {
            headers.insert("Content-Type", "application/json");
        }
        let request = Request {
            request_id: &outgoing.id,
            operation: outgoing.operation,
            method: outgoing.method,
            path: outgoing.path,
            headers,
            hops: outgoing.hops,
            body: outgoing.body.as_deref(),
            stream: outgoing.stream,
        };
        let (head, body, tail) = encode_request(&request);
        self.write(&[&head, body.as_bytes(), tail.as_bytes()]).map_err(|e| lost(&e))?;
        let (tunnel, id) = (self.clone(), outgoing.id);
        Ok((pending, Box::new(move || tunnel.cancel(&id))))
    }
}
