//! The server side of HTTP/1: accepts connections, reads requests and writes responses, within limits. It knows nothing of
//! rooms. It uses tiny_http's types, but not its server: that one has no deadlines, sets no limit on the size of a head, and
//! stops accepting for good once descriptors run out.

mod authority;
mod body;
mod body_end;
mod connection;
mod connections;
mod exchange;
mod handler;
pub(crate) mod head;
mod header_lines;
mod lent_stream;
mod limits;
mod listener;
#[cfg(test)]
mod properties;
mod request_loop;
mod response;
mod server_state;
mod stream_body;

pub use body::BodyError;
pub use body_end::BodyEnd;
pub use connections::{ConnectionTable, network_of};
pub use exchange::{Exchange, Upgrade};
pub use handler::Handler;
pub use lent_stream::LentStream;
pub use limits::Limits;
pub use listener::{Listener, Running};
pub use stream_body::StreamBody;
pub use tiny_http::Method;
