//! The file with a line for each finished request, for those who must account. One thread writes it, from a bounded queue: a
//! full or slow disk costs lines, never requests. Each line is one write, and what a crash left of one is removed when the
//! file is opened again, so that lines are whole or absent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::proto::usage_record::UsageRecord;
use crate::sync::lock;

/// Lines that wait for the disk.
const MAX_QUEUE: usize = 4096;
/// How much of the file's end is searched for the end of a line, in bytes. No line is longer.
pub(super) const MAX_LINE: u64 = 16 << 10;
/// How long closing waits for the queued lines to be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the usage is written: what [`HubOptions::usage`](crate::hub::HubOptions::usage) takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageFile {
    path: PathBuf,
    max_size: u64,
}

impl UsageFile {
    /// The size at which it is renamed, in bytes, unless another one is set.
    pub const MAX_SIZE: u64 = 64 << 20;

    /// A file, which is created if it is not there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        UsageFile { path: path.into(), max_size: Self::MAX_SIZE }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size in bytes at which it is renamed, `.1` after its name, and begun anew. An older file of that name is replaced.
    #[must_use]
    pub fn max_size(self, bytes: u64) -> Self {
        UsageFile { max_size: bytes, ..self }
    }
}

/// The name of the file before the last rotation.
pub fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// The usage log of a running hub.
pub struct UsageLog(Option<Writer>);

struct Writer {
    /// `None` once it is closed.
    lines: Mutex<Option<Sender<Vec<u8>>>>,
    /// Closed by the thread when it ends.
    ended: Receiver<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    dropped: AtomicU64,
    /// Whether lines can be written, where that has changed and was not told yet.
    change: Mutex<Option<Result<(), String>>>,
}

impl UsageLog {
    /// Opens the file and starts the thread, if there is a file.
    ///
    /// # Errors
    /// When the file cannot be opened, or the thread not started.
    pub(crate) fn start(file: Option<&UsageFile>) -> io::Result<Self> {
        let Some(file) = file else { return Ok(UsageLog(None)) };
        let mut output = Output::open(file)?;
        let (sender, lines) = bounded::<Vec<u8>>(MAX_QUEUE);
        let (end, ended) = bounded::<()>(0);
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        thread::Builder::new().name("usage".into()).stack_size(128 << 10).spawn(move || {
            let _end = end;
            let mut was_good = true;
            for line in lines {
                let written = output.write(&line);
                if written.is_err() {
                    own.dropped.fetch_add(1, Ordering::Relaxed);
                }
                if written.is_ok() != was_good {
                    was_good = written.is_ok();
                    *lock(&own.change) = Some(written.map_err(|error| error.to_string()));
                }
            }
        })?;
        Ok(UsageLog(Some(Writer { lines: Mutex::new(Some(sender)), ended, shared })))
    }

    /// Whether usage is written at all.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Queues a line; drops it where the queue is full.
    pub(crate) fn push(&self, record: &UsageRecord) {
        let Some(writer) = &self.0 else { return };
        let Ok(mut line) = serde_json::to_vec(record) else { return };
        line.push(b'\n');
        let sent = lock(&writer.lines).as_ref().is_some_and(|lines| lines.try_send(line).is_ok());
        if !sent {
            writer.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines dropped since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |writer| writer.shared.dropped.load(Ordering::Relaxed))
    }

    /// Whether lines can be written again, or why not, once after each change.
    pub(crate) fn take_change(&self) -> Option<Result<(), String>> {
        lock(&self.0.as_ref()?.shared.change).take()
    }

    /// Writes the queued lines, for a second at most, and ends the thread. Safe to call twice.
    pub(crate) fn close(&self) {
        if let Some(writer) = &self.0 {
            lock(&writer.lines).take();
            let _ = writer.ended.recv_timeout(CLOSE_TIMEOUT);
        }
    }
}

/// The open file.
struct Output {
    file: UsageFile,
    /// `None` after a failure that may have left part of a line.
    open: Option<File>,
    /// The length of its whole lines.
    size: u64,
}

impl Output {
    fn open(file: &UsageFile) -> io::Result<Self> {
        let mut output = Output { file: file.clone(), open: None, size: 0 };
        output.reopen()?;
        Ok(output)
    }

    fn reopen(&mut self) -> io::Result<&mut File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        // Who used what is nobody else's business.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.file.path)?;
        self.size = remove_torn_line(&mut file)?;
        Ok(self.open.insert(file))
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.file.max_size {
            fs::rename(&self.file.path, rotated(&self.file.path))?;
            self.open = None;
        }
        let mut file = match self.open.take() {
            Some(file) => file,
            None => {
                self.reopen()?;
                self.open.take().ok_or(ErrorKind::NotFound)?
            }
        };
        let written = loop {
            match file.write(line) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => break written,
            }
        };
        match written {
            Ok(length) if length == line.len() => {
                self.size += length as u64;
                self.open = Some(file);
                Ok(())
            }
            Ok(_) => {
                file.set_len(self.size)?;
                self.open = Some(file);
                Err(io::Error::new(ErrorKind::WriteZero, "the disk has no room for a whole line"))
            }
            Err(error) => Err(error),
        }
    }
}

/// Removes the part of a line that a crash left at the end. Returns the length of what remains.
fn remove_torn_line(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(MAX_LINE);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(MAX_LINE).read_to_end(&mut tail)?;
    let whole = match tail.iter().rposition(|&byte| byte == b'\n') {
        Some(newline) => start + newline as u64 + 1,
        None if start == 0 => 0,
        None => {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is no file of usage: it does not end in a line"));
        }
    };
    if whole < length {
        file.set_len(whole)?;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("gambi-usage-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Dir(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_crash_left_of_a_line_is_removed() {
        let dir = Dir::new("torn");
        let path = dir.0.join("usage");
        for (before, after) in [("a\nb\n{\"to", "a\nb\nc\n"), ("{\"to", "c\n"), ("", "c\n"), ("a\n", "a\nc\n")] {
            fs::write(&path, before).unwrap();
            Output::open(&UsageFile::new(&path)).unwrap().write(b"c\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after, "{before:?}");
        }
        fs::write(&path, vec![b'x'; 100_000]).unwrap();
        assert!(Output::open(&UsageFile::new(&path)).is_err(), "a file of another kind is not shortened");
        assert_eq!(fs::metadata(&path).unwrap().len(), 100_000);
    }

    #[test]
    fn a_full_file_is_renamed_between_lines() {
        let dir = Dir::new("rotated");
        let path = dir.0.join("usage");
        let mut output = Output::open(&UsageFile::new(&path).max_size(5)).unwrap();
        for line in [&b"a\n"[..], b"b\n", b"c\n", b"longer\n", b"d\n"] {
            output.write(line).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "d\n");
        assert_eq!(fs::read_to_string(rotated(&path)).unwrap(), "longer\n");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_disk_without_room_costs_lines_and_is_told_once() {
        let log = UsageLog::start(Some(&UsageFile::new("/dev/full"))).unwrap();
        for _ in 0..3 {
            log.push(&UsageRecord::default());
        }
        log.close();
        assert_eq!(log.dropped(), 3);
        assert!(log.take_change().unwrap().is_err() && log.take_change().is_none());
        log.push(&UsageRecord::default());
        assert_eq!(log.dropped(), 4, "a closed log takes no lines");
    }
}
