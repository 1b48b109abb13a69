//! The thread that writes the log. Whoever tells a line puts it into a buffer and goes on: a reader that has stopped
//! reading, such as a full pipe, costs lines and never time.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::settings::{LogFormat, LogLevel};
use crate::hub::maintenance::clock::millis;
use crate::hub::observe::log::line::Line;

/// Bytes that may wait. Past it lines are dropped.
const MOST: usize = 256 << 10;
/// A buffer above this is let go.
const KEEP_BUFFER: usize = 16 << 10;
/// How long the thread rests after it has written: what comes meanwhile goes out at once, and wakes nobody.
const REST: Duration = Duration::from_millis(20);
/// How long closing waits for what has not been written yet.
const LAST: Duration = Duration::from_secs(1);

/// A log's thread, from outside.
pub struct Writer(Arc<Shelf>);

#[derive(Default)]
struct Shelf {
    state: Mutex<State>,
    changed: Condvar,
    /// All lines that were ever dropped.
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Filled by all, emptied by the thread.
    lines: Vec<u8>,
    /// Lines that were dropped since the thread looked.
    dropped: u64,
    /// Whether the thread waits to be woken.
    asleep: bool,
    closed: bool,
    /// Whether the thread has ended.
    ended: bool,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines; `None` once there are none and none will come.
    fn take(&self, mut spare: Vec<u8>) -> Option<(Vec<u8>, u64)> {
        let mut state = self.lock();
        while state.lines.is_empty() && state.dropped == 0 {
            if state.closed {
                return None;
            }
            state.asleep = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep = false;
        }
        std::mem::swap(&mut state.lines, &mut spare);
        Some((spare, std::mem::take(&mut state.dropped)))
    }

    fn rest(&self) {
        let state = self.lock();
        let _ = self.changed.wait_timeout_while(state, REST, |state| !state.closed);
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn start(sink: Arc<Mutex<dyn Write + Send>>, format: LogFormat) -> std::io::Result<Self> {
        let shelf = Arc::new(Shelf::default());
        let own = shelf.clone();
        thread::Builder::new().name("log".into()).stack_size(128 << 10).spawn(move || {
            run(&own, &sink, format);
            own.lock().ended = true;
            own.changed.notify_all();
        })?;
        Ok(Writer(shelf))
    }

    /// Puts a line out, or drops it where too much waits already.
    pub fn push(&self, line: &str) {
        let mut state = self.0.lock();
        if state.closed || state.lines.len() + line.len() > MOST {
            state.dropped += 1;
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.lines.extend_from_slice(line.as_bytes());
        if state.asleep {
            self.0.changed.notify_all();
        }
    }

    /// All lines that were ever dropped.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Lets the thread write what waits, and end; waits for it, but not for long.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.changed.notify_all();
        let _ = self.0.changed.wait_timeout_while(state, LAST, |state| !state.ended);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(shelf: &Shelf, sink: &Mutex<dyn Write + Send>, format: LogFormat) {
    let mut spare = Vec::new();
    while let Some((mut lines, dropped)) = shelf.take(spare) {
        if dropped > 0 {
            lines.extend_from_slice(gap(format, dropped).as_bytes());
        }
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that can't be written to has nobody to be told of it.
        let _ = sink.write_all(&lines).and_then(|()| sink.flush());
        drop(sink);
        lines.clear();
        spare = if lines.capacity() > KEEP_BUFFER { Vec::new() } else { lines };
        shelf.rest();
    }
}

/// Tells of lines that nobody will see.
fn gap(format: LogFormat, dropped: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut line = Line::new(format, LogLevel::Warn.name(), millis(now), "lines_dropped");
    line.number("count", dropped);
    line.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Takes what is written, once it may.
    struct Slow {
        may: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.may.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Writer, Sender<()>, Receiver<Vec<u8>>) {
        let ((go, may), (written, read)) = (channel(), channel());
        (Writer::start(Arc::new(Mutex::new(Slow { may, written })), LogFormat::Text).unwrap(), go, read)
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_no_time() {
        let (writer, go, read) = slow();
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..10_000 {
            writer.push(&line);
        }
        let dropped = writer.dropped();
        assert!((9_000..10_000).contains(&dropped), "{dropped}");
        drop(go);
        writer.close();
        let text = String::from_utf8(read.try_iter().flatten().collect()).unwrap();
        let (whole, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| l.starts_with('x'));
        assert_eq!(whole.len() as u64 + dropped, 10_000);
        let told = rest.iter().filter_map(|l| l.split_once("lines_dropped count=")?.1.parse::<u64>().ok()).sum::<u64>();
        assert_eq!(told, dropped, "{rest:?}");
        writer.push("late\n");
        assert_eq!(writer.dropped(), dropped + 1);
    }

    #[test]
    fn closing_waits_for_what_is_there_but_not_for_ever() {
        let (writer, go, read) = slow();
        writer.push("one\n");
        go.send(()).unwrap();
        assert_eq!(read.recv().unwrap(), b"one\n");
        writer.push("two\n");
        go.send(()).unwrap();
        writer.close();
        assert_eq!(read.recv().unwrap(), b"two\n");
        let (writer, _go, _read) = slow();
        writer.push("stuck\n");
        writer.close();
    }
}
