//! Sends a request to a participant over its tunnel. Whoever reads the tunnel (`tunnels::tunnel`) fills the
//! response's queue.

use std::iter;
use std::sync::Arc;

use super::upstream::{CancelFn, OutgoingRequest, Transport, UpstreamError};
use crate::hub::tunnels::tunnel::Tunnel;
use crate::proto::stage::Stage;
use crate::proto::tunnel::{BodyForm, Request, encode_request};
use crate::tunnel::{PendingResponse, SharedTunnel};

/// The length from which a body is a message of its own, in bytes: a shorter one is read faster with the rest.
const MIN_BINARY_BODY: usize = 1 << 10;

impl Transport for Arc<Tunnel> {
    fn send(&self, outgoing_request: OutgoingRequest<'_>) -> Result<(PendingResponse, CancelFn), UpstreamError> {
        let lost = |e: &dyn std::fmt::Display| UpstreamError::tunnel(Stage::Dispatch, e);
        let pending = self.router.open(outgoing_request.id.clone()).map_err(|e| lost(&e))?.on_tunnel(self.clone());
        if self.router.in_flight() > 1 {
            self.leave_reading();
        }
        let body = outgoing_request.body.unwrap_or_default();
        let form = match body.len() {
            0 => BodyForm::None,
            bytes if self.features.bodies && bytes >= MIN_BINARY_BODY => BodyForm::Binary(bytes),
            _ => BodyForm::Inline,
        };
        let request = Request {
            request_id: &outgoing_request.id,
            operation: outgoing_request.operation,
            method: outgoing_request.method,
            path: outgoing_request.path,
            headers: outgoing_request.headers,
            hops: outgoing_request.hops,
            body: form,
            stream: outgoing_request.stream,
        };
        let (head, tail) = encode_request(&request);
        let (head, tail) = (head.as_slice(), tail.as_bytes());
        let slices = body.slices().map(str::as_bytes);
        let sent = if let BodyForm::Binary(_) = form {
            self.write_with_body(&[head, tail], &slices.collect::<Vec<_>>())
        } else {
            self.write(&iter::once(head).chain(slices).chain([tail]).collect::<Vec<_>>())
        };
        sent.map_err(|e| lost(&e))?;
        let (tunnel, id) = (self.clone(), outgoing_request.id);
        Ok((pending, Box::new(move || tunnel.cancel(&id))))
    }
}
