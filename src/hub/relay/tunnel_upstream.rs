//! Sends a request to a participant over its tunnel. Whoever reads the tunnel (`tunnels::tunnel`) fills the
//! response's queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::upstream::{CancelFn, OutgoingRequest, Transport, UpstreamError};
use crate::hub::tunnels::tunnel::Tunnel;
use crate::proto::tunnel::{Request, encode_request};
use crate::tunnel::{PendingResponse, SharedTunnel};

impl Transport for Arc<Tunnel> {
    fn send(&self, outgoing_request: OutgoingRequest<'_>) -> Result<(PendingResponse, CancelFn), UpstreamError> {
        let lost = |e: &dyn std::fmt::Display| UpstreamError::tunnel("dispatch", e);
        let pending = self.router.open(&outgoing_request.id).map_err(|e| lost(&e))?.on_tunnel(self.clone());
        if self.router.in_flight() > 1 {
            self.leave_reading();
        }
        let mut headers: BTreeMap<&str, &str> =
            outgoing_request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if outgoing_request.body.is_some() {
            headers.insert("Content-Type", "application/json");
        }
        let request = Request {
            request_id: &outgoing_request.id,
            operation: outgoing_request.operation,
            method: outgoing_request.method,
            path: outgoing_request.path,
            headers,
            hops: outgoing_request.hops,
            body: outgoing_request.body.as_deref(),
            stream: outgoing_request.stream,
        };
        let (head, body, tail) = encode_request(&request);
        self.write(&[&head, body.as_bytes(), tail.as_bytes()]).map_err(|e| lost(&e))?;
        let (tunnel, id) = (self.clone(), outgoing_request.id);
        Ok((pending, Box::new(move || tunnel.cancel(&id))))
    }
}
