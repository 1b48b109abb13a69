//! A participant that speaks the tunnel protocol by hand, message by message, as other implementations do.

use std::net::TcpStream;

use gambi::proto::management::Registration;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, Message, WebSocket};

use super::PATIENCE;
use super::hub::{TestHub, registration};

/// A registered participant with an open tunnel.
pub struct RawParticipant {
    pub socket: WebSocket<TcpStream>,
    /// The handshake's response.
    pub headers: Vec<(String, String)>,
}

impl RawParticipant {
    /// Registers and opens the tunnel.
    pub fn join(hub: &TestHub, room: &str, id: &str) -> Self {
        Self::join_as(hub, room, id, &registration())
    }

    /// Registers with these fields and opens the tunnel.
    pub fn join_as(hub: &TestHub, room: &str, id: &str, registration: &Registration) -> Self {
        let (registered, _) = hub.client.participants(room).upsert(id, registration).expect("a registration");
        let url = format!("{}?token={}", registered.tunnel.url, registered.tunnel.token);
        Self::open(hub, &url).expect("a tunnel")
    }

    /// Opens a tunnel at a URL.
    pub fn open(hub: &TestHub, url: &str) -> Result<Self, Box<Error>> {
        let stream = TcpStream::connect(hub.addr()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, answer) =
            tungstenite::client(url.into_client_request().unwrap(), stream).map_err(|e| match e {
                tungstenite::HandshakeError::Failure(error) => Box::new(error),
                tungstenite::HandshakeError::Interrupted(_) => panic!("the handshake took too long"),
            })?;
        let text = |value: &tungstenite::http::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = answer.headers().iter().map(|(n, v)| (n.as_str().to_owned(), text(v))).collect();
        Ok(RawParticipant { socket, headers })
    }

    pub fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).expect("a message to be sent");
    }

    /// Reads the next JSON message.
    pub fn receive(&mut self) -> Value {
        loop {
            match self.socket.read().expect("a message") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Close(frame) => panic!("the tunnel was closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Waits for the close frame. Returns its code.
    pub fn closed(&mut self) -> u16 {
        self.closed_with().0
    }

    /// Waits for the close; its code and its reason.
    pub fn closed_with(&mut self) -> (u16, String) {
        loop {
            match self.socket.read() {
                Ok(Message::Close(None)) => return (1005, String::new()),
                Ok(Message::Close(Some(frame))) => return (frame.code.into(), frame.reason.as_str().to_owned()),
                Ok(_) => {}
                Err(error) => panic!("no close frame: {error}"),
            }
        }
    }

    /// Sends a response's head and some chunks, but not its end.
    pub fn begin(&mut self, request: &Value, kind: &str, pieces: &[&str]) {
        let id = &request["requestId"];
        self.send(&json!({ "type": "tunnel.response.start", "requestId": id, "status": 200, "headers": { "content-type": kind } }));
        for piece in pieces {
            self.chunk(request, piece);
        }
    }

    pub fn chunk(&mut self, request: &Value, piece: &str) {
        use base64::Engine as _;
        let chunk = base64::engine::general_purpose::STANDARD.encode(piece);
        self.send(&json!({ "type": "tunnel.response.chunk", "requestId": request["requestId"], "chunk": chunk }));
    }

    pub fn end(&mut self, request: &Value) {
        self.send(&json!({ "type": "tunnel.response.end", "requestId": request["requestId"] }));
    }

    pub fn fail(&mut self, request: &Value, message: &str) {
        let id = &request["requestId"];
        self.send(&json!({ "type": "tunnel.response.error", "requestId": id, "stage": "fetch", "message": message }));
    }
}
