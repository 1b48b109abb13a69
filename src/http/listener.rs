//! The accept loop: one thread that accepts, one thread for each connection up to a limit, and an orderly shutdown.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::connections::{Admission, ConnectionState, ConnectionTable};
use super::handler::Handler;
use super::limits::Limits;
use super::request_loop;
use super::response::error_response;
use super::server_state::ServerState;
use crate::budget::Budget;
use crate::net::stream::Stream;
use crate::net::tls_server::{AcceptError, ServerTls};
use crate::sync::{STACK_SIZE, lock};

/// The pause after a failed `accept`, as when descriptors run out.
const PAUSE: Duration = Duration::from_millis(50);
/// The most threads that answer 503 at a time. Further connections are closed without a response.
const MAX_REJECTING: usize = 16;
/// How long each step of such an answer may take (the handshake, the write, and reading the request after it), and how much of the
/// request is read, in bytes.
const REJECT_TIME: Duration = Duration::from_millis(500);
const REJECT_BYTES: usize = 64 << 10;
/// How long the shutdown waits for connections whose sockets it has shut down.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// A listening socket that does not accept connections yet.
pub struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
    server: ServerState,
}

/// A listener that accepts connections.
pub struct Running {
    addr: SocketAddr,
    server: Arc<ServerState>,
    accepting: Mutex<Option<Accepting>>,
}

/// The accept thread, and a second handle on its socket by which it is woken.
struct Accepting {
    thread: JoinHandle<()>,
    socket: TcpStream,
}

impl Listener {
    /// Binds a socket.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(addr: impl ToSocketAddrs, limits: Limits) -> io::Result<Self> {
        let socket = TcpListener::bind(addr)?;
        let addr = socket.local_addr()?;
        Ok(Listener { socket, addr, server: ServerState::new(limits) })
    }

    /// Sets headers of responses that the server makes without the handler, such as 431.
    #[must_use]
    pub fn default_headers(mut self, headers: Vec<(String, String)>) -> Self {
        self.server.default_headers = headers;
        self
    }

    /// Encrypts all connections.
    #[must_use]
    pub fn tls(mut self, tls: Option<ServerTls>) -> Self {
        self.server.tls = tls;
        self
    }

    /// The local address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The memory budget for data that peers make the server hold.
    pub fn memory(&self) -> Arc<Budget> {
        self.server.memory.clone()
    }

    /// The table of open connections.
    pub fn connections(&self) -> Arc<ConnectionTable> {
        self.server.connections.clone()
    }

    /// Starts to accept connections.
    ///
    /// # Errors
    /// If no thread can be started, or no descriptor is left.
    pub fn start(self, handler: Arc<dyn Handler>) -> io::Result<Running> {
        let server = Arc::new(self.server);
        let (state, socket) = (server.clone(), self.socket);
        let second = TcpStream::from(OwnedFd::from(socket.try_clone()?));
        let thread = thread::Builder::new().name("accept".into()).spawn(move || accept(&socket, &state, &handler))?;
        Ok(Running { addr: self.addr, server, accepting: Mutex::new(Some(Accepting { thread, socket: second })) })
    }
}

fn accept(socket: &TcpListener, server: &Arc<ServerState>, handler: &Arc<dyn Handler>) {
    let mut number = 0;
    while !server.is_stopping() {
        match socket.accept() {
            Ok(_) if server.is_stopping() => return,
            Ok((stream, address)) => {
                number += 1;
                admit(server, number, stream, address.ip(), handler);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // An idle connection is closed for its descriptor. The new one stays in the system's queue until then.
            Err(error) if is_out_of_descriptors(&error) => {
                server.connections.evict_idlest();
                server.connections.wait_closed(PAUSE);
            }
            // Out of memory, or the client has disconnected: a later attempt may succeed.
            Err(_) if server.is_stopping() => return,
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// EMFILE (the process's limit) or ENFILE (the system's); their numbers are the same on all Unix systems.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Starts a thread for a new connection, or rejects the connection if the server is at its limit.
fn admit(server: &Arc<ServerState>, number: u64, stream: TcpStream, address: IpAddr, handler: &Arc<dyn Handler>) {
    let stream = Arc::new(stream);
    let state = loop {
        match server.connections.admit(number, address, &stream, server.start) {
            Admission::Admitted(state) => break state,
            // At the limit: further connections stay in the system's queue meanwhile.
            Admission::Wait(time) if !server.is_stopping() => thread::sleep(time),
            Admission::Wait(_) | Admission::Full => {
                handler.on_rejected(503, address.to_canonical());
                return reject_overload(server, stream);
            }
        }
    };
    let leave = Leave { server: server.clone(), number };
    let (server, handler) = (server.clone(), handler.clone());
    // If no thread can be started, the closure is dropped, which closes the connection.
    let _ = thread::Builder::new().name(format!("client {number}")).stack_size(STACK_SIZE).spawn(move || {
        let _leave = leave;
        serve(server, stream, address, &*handler, &state);
    });
}

/// Serves a connection. It counts as idle until its TLS handshake is complete and its first request begins.
fn serve(
    server: Arc<ServerState>,
    socket: Arc<TcpStream>,
    peer: IpAddr,
    handler: &dyn Handler,
    state: &ConnectionState,
) {
    match server.open(socket, server.limits.head_time) {
        Ok(stream) => {
            if let Ok(mut connection) = Connection::new(stream, peer, server) {
                request_loop::run(&mut connection, handler, state);
            }
        }
        Err(AcceptError::PlainHttp(socket)) => {
            if let Ok(mut connection) = Connection::new(socket.into(), peer, server) {
                request_loop::refuse_plain(&mut connection, handler, state);
            }
        }
        Err(AcceptError::Failed) => {}
    }
}

/// Answers 503 on a thread of its own, so that the accept thread does not wait. Without a free thread the connection is
/// closed without a response.
fn reject_overload(server: &Arc<ServerState>, stream: Arc<TcpStream>) {
    if server.rejecting.fetch_add(1, Ordering::Relaxed) >= MAX_REJECTING {
        server.rejecting.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let state = server.clone();
    let spawned = thread::Builder::new().name("refuse".into()).stack_size(STACK_SIZE).spawn(move || {
        if let Ok(stream) = state.open(stream, REJECT_TIME) {
            send_overload(&stream, &state.default_headers);
        }
        state.rejecting.fetch_sub(1, Ordering::Relaxed);
    });
    if spawned.is_err() {
        server.rejecting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn send_overload(stream: &Stream, headers: &[(String, String)]) {
    let soon = Some(REJECT_TIME);
    let answer =
        error_response(503, "The hub serves as many connections as it can. Try again in a moment.", headers, false);
    let _ = stream.set_write_timeout(soon).and_then(|()| stream.write_all(&mut [IoSlice::new(&answer)], soon));
    stream.linger(REJECT_BYTES, REJECT_TIME);
}

/// Removes a connection from the table when its thread ends, even by a panic.
struct Leave {
    server: Arc<ServerState>,
    number: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.server.connections.remove(self.number);
    }
}

impl Running {
    /// The local address.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.server.connections.len()
    }

    /// Shuts down: stops accepting, closes idle connections, waits up to `grace` for busy ones, then closes those too.
    /// May be called more than once.
    pub fn shutdown(&self, grace: Duration) {
        self.server.stop();
        let accepting = lock(&self.accepting).take();
        if let Some(accepting) = accepting {
            accepting.stop(self.addr);
        }
        self.server.connections.shut_down(true);
        self.server.connections.wait_empty(grace);
        self.server.connections.shut_down(false);
        self.server.connections.wait_empty(CLOSE_WAIT);
    }
}

impl Accepting {
    /// Ends the accept thread. On Linux, shutting its socket down ends a waiting `accept`; elsewhere a connection to
    /// the listener is needed. A thread that neither wakes is detached after a deadline.
    fn stop(self, addr: SocketAddr) {
        let deadline = Instant::now() + CLOSE_WAIT;
        let _ = self.socket.shutdown(Shutdown::Both);
        let mut own = addr;
        match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => own.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => own.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        while !self.thread.is_finished() && Instant::now() < deadline {
            if !cfg!(target_os = "linux") {
                let _ = TcpStream::connect_timeout(&own, PAUSE);
            }
            thread::sleep(Duration::from_millis(1));
        }
        if self.thread.is_finished() {
            let _ = self.thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Exchange, Method};
    use crate::net::io::socket_pair;
    use std::io::{Read, Write};

    struct Odd;

    impl Handler for Odd {
        fn handle(&self, exchange: &mut Exchange<'_>) -> io::Result<()> {
            match (exchange.method().clone(), exchange.path()) {
                (_, "/panic") => panic!("a bug"),
                (_, "/silent") => Ok(()),
                (Method::Post, _) => exchange.respond(200, &[], b"unread"),
                _ => exchange.respond(200, &[], b"fine"),
            }
        }
    }

    fn ask(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_panic_in_a_handler_ends_only_its_connection() {
        let running = Listener::bind("127.0.0.1:0", Limits::default()).unwrap().start(Arc::new(Odd)).unwrap();
        let addr = running.local_addr();
        for path in ["/panic", "/silent"] {
            let answer = ask(addr, &format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
            assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        }
        assert!(ask(addr, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ends_with("fine"));
        running.shutdown(Duration::from_secs(1));
    }

    #[test]
    fn the_shutdown_needs_no_connection_to_the_listening_address() {
        let mut running = Listener::bind("127.0.0.1:0", Limits::default()).unwrap().start(Arc::new(Odd)).unwrap();
        let addr = running.local_addr();
        // A connection to this address cannot be opened, as when an address was removed from its interface.
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        running.addr = unused;
        running.shutdown(Duration::ZERO);
        assert!(TcpStream::connect(addr).is_err(), "it still listens");
    }

    #[test]
    fn a_rejected_client_that_goes_on_sending_does_not_keep_its_thread() {
        let (mut client, socket) = socket_pair();
        let server = Arc::new(ServerState::new(Limits::default()));
        reject_overload(&server, Arc::new(socket));
        let mut start = [0; 12];
        client.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 503");
        // A byte at a time, with pauses much shorter than a step may take.
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.rejecting.load(Ordering::Relaxed) > 0 {
            assert!(Instant::now() < deadline, "the client keeps the thread");
            let _ = client.write_all(b"x");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn an_unread_body_is_not_parsed_as_a_request() {
        let running = Listener::bind("127.0.0.1:0", Limits::default()).unwrap().start(Arc::new(Odd)).unwrap();
        let body = "GET /panic HTTP/1.1\r\n\r\n";
        let post = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let last = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let answer = ask(running.local_addr(), &format!("{post}{last}"));
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
        assert!(answer.contains("unread") && answer.ends_with("fine"));
    }
}
