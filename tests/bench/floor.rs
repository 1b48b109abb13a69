//! The floor: what the path through a hub and a participant costs at least. Two processes in a row between client and
//! provider, which pass on bytes without looking at them: a thread for each direction of a connection, one write for each
//! read.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::client::Target;
use super::process::Process;
use super::provider::STACK;

/// The most bytes of one read and the write that follows it.
const BUFFER: usize = 256 << 10;

/// Two relays in a row.
pub struct Floor {
    _relays: [Process; 2],
    /// Where chats are sent.
    pub target: Target,
}

impl Floor {
    /// Starts two relays in front of the provider. Each is a process of this program.
    pub fn start(provider: SocketAddr) -> io::Result<Self> {
        let (far, next) = start_relay(provider)?;
        let (near, addr) = start_relay(next)?;
        Ok(Floor { _relays: [near, far], target: Target { addr, base: String::new(), tls: false } })
    }
}

fn start_relay(to: SocketAddr) -> io::Result<(Process, SocketAddr)> {
    let mut process = Process::spawn(&std::env::current_exe()?, &["relay", &to.to_string()])?;
    let mut line = String::new();
    BufReader::new(process.stdout()?).read_line(&mut line)?;
    let addr = line.trim().parse();
    Ok((process, addr.map_err(|_| io::Error::other(format!("a relay did not say where it listens: {line}")))?))
}

/// Relays connections to an address, until the process ends.
pub fn relay(to: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for near in listener.incoming() {
        let (near, far) = (near?, TcpStream::connect(to)?);
        for (from, into) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
            into.set_nodelay(true)?;
            thread::Builder::new().stack_size(STACK).spawn(move || pass(from, into))?;
        }
    }
    Ok(())
}

/// Passes bytes on until a side has closed.
fn pass(mut from: TcpStream, mut into: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read) = from.read(&mut buffer)
        && read > 0
        && into.write_all(&buffer[..read]).is_ok()
    {}
    let _ = into.shutdown(Shutdown::Write);
}
