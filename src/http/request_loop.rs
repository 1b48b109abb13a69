//! The loop over the requests of one connection: reads a head within its deadline, calls the handler, and decides whether
//! the connection serves another request.

use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::connection::Connection;
use super::connections::ConnectionState;
use super::exchange::Exchange;
use super::handler::Handler;
use super::head::{self, HeadError, RequestHead};
use super::response::{error_response, plain_http_response};
use crate::net::io::is_timeout;

/// Why no head was read.
enum NoHead {
    /// The client has disconnected, or was idle for too long.
    Closed,
    /// The head was refused.
    Refused(HeadError),
}

/// Serves requests until the connection ends. `state` records whether one is in progress.
pub(super) fn run(connection: &mut Connection, handler: &dyn Handler, state: &ConnectionState) {
    while connection.keep_alive {
        if connection.server.is_stopping() {
            break;
        }
        match read_head(connection, state) {
            Ok(head) => {
                serve(connection, head, handler);
                state.end_request();
            }
            Err(NoHead::Closed) => break,
            Err(NoHead::Refused(error)) => {
                state.begin_request();
                handler.on_rejected(error.status, connection.peer);
                let is_head = connection.read_ahead.starts_with(b"HEAD ");
                let response = error_response(error.status, error.reason, &connection.server.default_headers, is_head);
                let _ = connection.write_all(&mut [IoSlice::new(&response)]);
                return connection.linger();
            }
        }
        connection.shrink_buffers();
    }
    if !connection.cut {
        connection.stream.finish();
    }
}

/// Answers a client that speaks HTTP without TLS to a server with a certificate.
pub(super) fn refuse_plain(connection: &mut Connection, handler: &dyn Handler, state: &ConnectionState) {
    state.begin_request();
    handler.on_rejected(400, connection.peer);
    let response = plain_http_response(&connection.server.default_headers);
    let _ = connection.write_all(&mut [IoSlice::new(&response)]);
    connection.linger();
}

fn serve(connection: &mut Connection, head: RequestHead, handler: &dyn Handler) {
    let mut exchange = Exchange::new(connection, head);
    // A panic while one request is handled must end no more than its connection.
    let handled = catch_unwind(AssertUnwindSafe(|| handler.handle(&mut exchange)));
    let failed = !matches!(handled, Ok(Ok(())));
    if !exchange.answered() && !matches!(handled, Ok(Err(_))) {
        let _ = exchange.internal_error();
    }
    let drained = exchange.drain();
    if failed || !drained {
        connection.keep_alive = false;
    }
    connection.cut |= failed;
    if !drained {
        connection.linger();
    }
}

fn read_head(connection: &mut Connection, state: &ConnectionState) -> Result<RequestHead, NoHead> {
    let server = connection.server.clone();
    let limits = &server.limits;
    // Measured from the start, so that blank lines do not extend it.
    let idle_deadline = Instant::now() + limits.idle;
    let mut head_deadline = None;
    loop {
        skip_blank_lines(&mut connection.read_ahead);
        if !connection.read_ahead.is_empty() {
            state.begin_request();
            head_deadline.get_or_insert_with(|| Instant::now() + limits.head_time);
        }
        if let Some(end) = head::find_end(&connection.read_ahead, limits).map_err(NoHead::Refused)? {
            let head = head::parse(&connection.read_ahead[..end], limits).map_err(NoHead::Refused)?;
            connection.read_ahead.drain(..end);
            return Ok(head);
        }
        let timeout = head_deadline.unwrap_or(idle_deadline).saturating_duration_since(Instant::now());
        match connection.read_more(timeout) {
            Ok(0) => return Err(NoHead::Closed),
            Ok(_) => {}
            Err(error) if is_timeout(&error) && head_deadline.is_some() => {
                let reason = "The request's head did not come in time";
                return Err(NoHead::Refused(HeadError { status: 408, reason }));
            }
            Err(_) => return Err(NoHead::Closed),
        }
    }
}

/// Empty lines before a request are ignored (RFC 9112, section 2.2).
fn skip_blank_lines(read_ahead: &mut Vec<u8>) {
    let blank = read_ahead.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
    read_ahead.drain(..blank);
}
