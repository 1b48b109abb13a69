//! What people have used since midnight, from the file of usage: so a restart of the hub resets no limit of a day.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use super::usage_file::{MAX_LINE, UsageFile, rotated};
use crate::proto::read_json::from_bytes;

/// The most that is read of the file and the one before it, in bytes: a few hundred thousand requests.
const MAX_READ: u64 = 64 << 20;
/// How much is read at a time, from the end on, in bytes.
const BLOCK: u64 = 256 << 10;
/// People that are counted: as many as a file of keys may have.
const MAX_PEOPLE: usize = 10_000;

/// What counts of a line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageLine {
    timestamp: u64,
    caller: Option<String>,
    input_tokens: u64,
    output_tokens: u64,
}

/// The tokens of each person in lines of a time, and how much more may be read.
struct Count {
    tokens: HashMap<String, u64>,
    since: u64,
    known: fn(&str) -> bool,
    left: u64,
}

/// The tokens that each person has used since a time, in milliseconds since the epoch, as far as the lines tell. A caller that
/// is not `known` is no person.
///
/// # Errors
/// When a file cannot be read. One that is not there has no lines.
pub fn tokens_since(file: &UsageFile, since: u64, known: fn(&str) -> bool) -> io::Result<HashMap<String, u64>> {
    let mut count = Count { tokens: HashMap::new(), since, known, left: MAX_READ };
    if count.add_file(file.path())? {
        count.add_file(&rotated(file.path()))?;
    }
    Ok(count.tokens)
}

impl Count {
    /// Counts a file, from its end to the first block without a line of the time. False if the file has such a block, so that
    /// an earlier file has no lines of the time.
    fn add_file(&mut self, path: &Path) -> io::Result<bool> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            opened => opened?,
        };
        let mut end = file.metadata()?.len();
        // The end of a line that begins in the block before.
        let mut rest = Vec::new();
        while end > 0 {
            let start = end.saturating_sub(BLOCK);
            if self.left < end - start {
                return Ok(false);
            }
            self.left -= end - start;
            file.seek(SeekFrom::Start(start))?;
            let mut block = Vec::with_capacity((end - start) as usize + rest.len());
            file.by_ref().take(end - start).read_to_end(&mut block)?;
            block.append(&mut rest);
            let whole = match block.iter().position(|&byte| byte == b'\n') {
                _ if start == 0 => 0,
                Some(newline) => newline + 1,
                None => block.len(),
            };
            if whole as u64 > MAX_LINE {
                return Err(io::Error::new(ErrorKind::InvalidData, "it is no file of usage: a line is too long"));
            }
            if !self.add_lines(&block[whole..]) {
                return Ok(false);
            }
            block.truncate(whole);
            (rest, end) = (block, start);
        }
        Ok(true)
    }

    /// Counts the lines of a block. False if none of them is of the time: lines are almost in the order of time.
    fn add_lines(&mut self, block: &[u8]) -> bool {
        let mut any = false;
        for line in block.split(|&byte| byte == b'\n') {
            let Ok(line) = from_bytes::<UsageLine>(line) else { continue };
            if line.timestamp < self.since {
                continue;
            }
            any = true;
            let Some(name) = line.caller.filter(|name| (self.known)(name)) else { continue };
            if self.tokens.len() < MAX_PEOPLE || self.tokens.contains_key(&name) {
                let tokens = self.tokens.entry(name).or_default();
                *tokens = tokens.saturating_add(line.input_tokens.saturating_add(line.output_tokens));
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;

    use super::*;

    fn line(text: &mut String, timestamp: u64, caller: &str, tokens: u64) {
        let pad = "x".repeat(200);
        let caller = if caller.is_empty() { String::new() } else { format!("\"caller\":\"{caller}\",") };
        let counts = format!("\"inputTokens\":{tokens},\"outputTokens\":1");
        writeln!(text, "{{\"timestamp\":{timestamp},{caller}\"model\":\"{pad}\",{counts}}}").unwrap();
    }

    #[test]
    fn the_lines_of_the_day_are_counted_over_blocks_and_the_rotated_file() {
        let dir = std::env::temp_dir().join(format!("gambi-usage-past-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let known = |name: &str| !name.contains(' ');
        let file = UsageFile::new(dir.join("usage"));
        assert_eq!(tokens_since(&file, 0, known).unwrap(), HashMap::new());
        let (mut before, mut text) = (String::new(), String::new());
        line(&mut before, 50, "ann", 1_000_000);
        (0..3000).for_each(|_| line(&mut before, 100, "ann", 1));
        for number in 0..5000 {
            line(&mut text, 100 + number, if number % 2 == 0 { "ann" } else { "bob" }, 2);
            line(&mut text, 100 + number, "", 7);
        }
        line(&mut text, 9000, "no name", 2);
        text.push_str("no line\n");
        fs::write(file.path(), &text).unwrap();
        fs::write(rotated(file.path()), &before).unwrap();
        let expected = |ann, bob| HashMap::from([("ann".to_owned(), ann), ("bob".to_owned(), bob)]);
        assert_eq!(tokens_since(&file, 100, known).unwrap(), expected(2500 * 3 + 3000 * 2, 2500 * 3));
        assert_eq!(tokens_since(&file, 3100, known).unwrap(), expected(1000 * 3, 1000 * 3));
        let mut count = Count { tokens: HashMap::new(), since: 0, known, left: 2 * BLOCK };
        assert!(!count.add_file(file.path()).unwrap() && count.left == 0, "no more is read than the budget allows");
        fs::write(file.path(), vec![b'x'; 1 << 20]).unwrap();
        assert!(tokens_since(&file, 0, known).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
