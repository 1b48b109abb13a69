//! Waiting for many connections at once (epoll). Other systems than Linux have none of it here.

use std::io;

#[cfg(target_os = "linux")]
pub use linux::PollSet;
#[cfg(not(target_os = "linux"))]
pub use other::PollSet;

/// A connection's number in its set.
pub type Number = u64;

#[cfg(target_os = "linux")]
mod linux {
    use std::net::TcpStream;
    use std::os::fd::OwnedFd;

    use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
    use rustix::io::Errno;

    use super::{Number, io};

    /// How many connections one wait tells of at most.
    const MAX_READY: usize = 64;

    /// Connections, of which it tells which have something to read, or have ended.
    pub struct PollSet(OwnedFd);

    impl PollSet {
        /// An empty set.
        ///
        /// # Errors
        /// If the system has no descriptor left for it.
        pub fn new() -> io::Result<Self> {
            Ok(PollSet(epoll::create(CreateFlags::CLOEXEC)?))
        }

        pub(in crate::net) fn add(&self, socket: &TcpStream, number: Number) -> io::Result<()> {
            Ok(epoll::add(&self.0, socket, EventData::new_u64(number), EventFlags::IN)?)
        }

        pub(in crate::net) fn remove(&self, socket: &TcpStream) {
            // It fails where the connection is not in the set.
            let _ = epoll::delete(&self.0, socket);
        }

        /// Waits until a connection has something to read, or has ended, and puts the numbers of those into `ready`.
        ///
        /// # Errors
        /// If the system cannot wait.
        pub fn wait(&self, ready: &mut Vec<Number>) -> io::Result<()> {
            let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; MAX_READY];
            ready.clear();
            match epoll::wait(&self.0, &mut events[..], None) {
                Ok(count) => ready.extend(events[..count].iter().map(|event| event.data.u64())),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::convert::Infallible;
    use std::net::TcpStream;

    use super::{Number, io};

    /// There is none.
    pub struct PollSet(Infallible);

    impl PollSet {
        /// # Errors
        /// Always.
        pub fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in crate::net) fn add(&self, _: &TcpStream, _: Number) -> io::Result<()> {
            match self.0 {}
        }

        pub(in crate::net) fn remove(&self, _: &TcpStream) {
            match self.0 {}
        }

        /// # Errors
        /// Never.
        pub fn wait(&self, _: &mut Vec<Number>) -> io::Result<()> {
            match self.0 {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::net::io::socket_pair;

    #[test]
    fn connections_of_the_set_are_told_of_that_have_something_to_read() {
        let set = PollSet::new().unwrap();
        let pairs = [socket_pair(), socket_pair(), socket_pair()];
        for (number, (_, server)) in pairs.iter().enumerate() {
            set.add(server, number as Number).unwrap();
        }
        let ready = || {
            let mut ready = Vec::new();
            set.wait(&mut ready).unwrap();
            ready.sort_unstable();
            ready
        };
        (&pairs[1].0).write_all(b"x").unwrap();
        assert_eq!([ready(), ready()], [[1], [1]], "as long as it has not been read");
        set.remove(&pairs[1].1);
        (&pairs[2].0).write_all(b"x").unwrap();
        assert_eq!(ready(), [2]);
        set.add(&pairs[1].1, 3).unwrap();
        assert_eq!(ready(), [2, 3]);
        set.remove(&pairs[1].1);
        set.remove(&pairs[2].1);
        let [(client, _server), ..] = pairs;
        drop(client);
        assert_eq!(ready(), [0], "it has ended");
    }
}
