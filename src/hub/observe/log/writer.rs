//! The thread that writes the log, and its queue. Callers append lines to a bounded buffer and never wait: while the sink
//! blocks, such as a full pipe, lines past the bound are dropped and counted.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::settings::{LogFormat, LogLevel};
use crate::hub::observe::log::line::LogLine;
use crate::proto::time::millis;
use crate::sync::{lock, wait, wait_while};

/// The longest queue, in bytes. Lines past it are dropped.
const MAX_QUEUE: usize = 256 << 10;
/// A buffer with a larger capacity, in bytes, is freed after use.
const MAX_REUSED_BUFFER: usize = 16 << 10;
/// How long the thread pauses after a write. Lines of that time go out in one write, and their callers need not wake it.
const PAUSE: Duration = Duration::from_millis(20);
/// How long closing waits for the queued lines to be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The handle of a log's thread.
pub struct LogWriter(Arc<LogQueue>);

#[derive(Default)]
struct LogQueue {
    state: Mutex<Queued>,
    changed: Condvar,
    /// Lines dropped since the start.
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queued {
    /// Appended to by callers, taken by the thread.
    lines: Vec<u8>,
    /// Lines dropped since the thread last took the buffer.
    dropped: u64,
    /// Whether the thread waits on `changed`.
    waiting: bool,
    closed: bool,
    /// Set by the thread when it returns.
    ended: bool,
}

impl LogQueue {
    fn lock(&self) -> MutexGuard<'_, Queued> {
        lock(&self.state)
    }

    /// Waits for lines and swaps them for an empty buffer, with the count of dropped lines; `None` once the queue is closed
    /// and empty.
    fn take(&self, mut spare: Vec<u8>) -> Option<(Vec<u8>, u64)> {
        let mut state = self.lock();
        while state.lines.is_empty() && state.dropped == 0 {
            if state.closed {
                return None;
            }
            state.waiting = true;
            state = wait(&self.changed, state);
            state.waiting = false;
        }
        std::mem::swap(&mut state.lines, &mut spare);
        Some((spare, std::mem::take(&mut state.dropped)))
    }

    /// Waits for [`PAUSE`], or until the queue is closed.
    fn pause(&self) {
        wait_while(&self.changed, self.lock(), PAUSE, |state| !state.closed);
    }
}

impl LogWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(sink: Arc<Mutex<dyn Write + Send>>, format: LogFormat) -> std::io::Result<Self> {
        let queue = Arc::new(LogQueue::default());
        let own = queue.clone();
        thread::Builder::new().name("log".into()).stack_size(128 << 10).spawn(move || {
            write_lines(&own, &sink, format);
            own.lock().ended = true;
            own.changed.notify_all();
        })?;
        Ok(LogWriter(queue))
    }

    /// Queues a line, or drops it where the queue is full or closed.
    pub fn push(&self, line: &str) {
        let mut state = self.0.lock();
        if state.closed || state.lines.len() + line.len() > MAX_QUEUE {
            state.dropped += 1;
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.lines.extend_from_slice(line.as_bytes());
        if state.waiting {
            self.0.changed.notify_all();
        }
    }

    /// Lines dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Closes the queue, and waits for at most [`CLOSE_TIMEOUT`] until the thread has written it and ended.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.changed.notify_all();
        wait_while(&self.0.changed, state, CLOSE_TIMEOUT, |state| !state.ended);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.close();
    }
}

fn write_lines(queue: &LogQueue, sink: &Mutex<dyn Write + Send>, format: LogFormat) {
    let mut spare = Vec::new();
    while let Some((mut lines, dropped)) = queue.take(spare) {
        if dropped > 0 {
            lines.extend_from_slice(dropped_line(format, dropped).as_bytes());
        }
        let mut sink = lock(sink);
        // There is no other place to report a log that cannot be written.
        let _ = sink.write_all(&lines).and_then(|()| sink.flush());
        drop(sink);
        lines.clear();
        spare = if lines.capacity() > MAX_REUSED_BUFFER { Vec::new() } else { lines };
        queue.pause();
    }
}

/// The line with the number of dropped lines.
fn dropped_line(format: LogFormat, dropped: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut line = LogLine::new(format, LogLevel::Warn.name(), millis(now), "lines_dropped");
    line.number("count", dropped);
    line.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A sink that blocks until the test allows a write.
    struct BlockingSink {
        may: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for BlockingSink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.may.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn blocked() -> (LogWriter, Sender<()>, Receiver<Vec<u8>>) {
        let ((go, may), (written, read)) = (channel(), channel());
        (LogWriter::start(Arc::new(Mutex::new(BlockingSink { may, written })), LogFormat::Text).unwrap(), go, read)
    }

    #[test]
    fn a_blocked_sink_drops_lines_and_delays_no_caller() {
        let (writer, go, read) = blocked();
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
        let reported =
            rest.iter().filter_map(|l| l.split_once("lines_dropped count=")?.1.parse::<u64>().ok()).sum::<u64>();
        assert_eq!(reported, dropped, "{rest:?}");
        writer.push("late\n");
        assert_eq!(writer.dropped(), dropped + 1);
    }

    #[test]
    fn closing_waits_a_limited_time_for_queued_lines() {
        let (writer, go, read) = blocked();
        writer.push("one\n");
        go.send(()).unwrap();
        assert_eq!(read.recv().unwrap(), b"one\n");
        writer.push("two\n");
        go.send(()).unwrap();
        writer.close();
        assert_eq!(read.recv().unwrap(), b"two\n");
        let (writer, _go, _read) = blocked();
        writer.push("stuck\n");
        writer.close();
    }
}
