//! Measures speed and footprint of gambi. Hub and participants run as processes; the same calls made directly to the
//! provider, and through two relays that only pass bytes on, are the references. README.md describes what is measured and how.
//!
//! ```text
//! bench                                a quick look whether all of this still works; what `cargo test` runs
//! bench run GAMBI OUT [PART]           the real thing, of all or one part, with the binary GAMBI; figures go to OUT
//! bench compare BASE NEW               ratios between two runs
//! bench train GAMBI                    the same work for a moment, for a binary that counts what it does (tests/dist/pgo.sh)
//! bench provider                       only the provider, for profiling by hand
//! bench relay ADDR                     passes connections on to ADDR; what the measurements start two of
//! bench load ADDR BASE TASK CLIENTS MS only the load, for profiling by hand; a sixth argument is the bytes of each prompt
//! ```

mod client;
mod floor;
mod footprint;
mod load;
mod process;
mod provider;
mod report;
mod scenarios;
#[path = "../support/wire.rs"]
#[allow(dead_code)] // The tests use more of it.
mod socket;
mod wire;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use report::Row;
use scenarios::{Effort, Lab};

/// The read timeout of the load's connections, after which the run fails.
const PATIENCE: Duration = Duration::from_secs(30);

const REAL: Effort =
    Effort { time: Duration::from_millis(1000), repeats: 5, many: 64, longest: 8 << 20, crowd: 1000, streams: 512 };
const QUICK: Effort =
    Effort { time: Duration::from_millis(20), repeats: 1, many: 8, longest: 64 << 10, crowd: 20, streams: 16 };
/// As long as it takes to tell what is done often from what is not.
const TRAINING: Effort =
    Effort { time: Duration::from_millis(500), repeats: 1, many: 64, longest: 1 << 20, crowd: 20, streams: 64 };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["run", gambi, out] => real(Path::new(gambi), Path::new(out), ""),
        ["run", gambi, out, part] => real(Path::new(gambi), Path::new(out), part),
        ["train", gambi] => measure(Path::new(gambi), TRAINING, "").map(drop),
        ["compare", base, new] => report::compare(Path::new(base), Path::new(new)),
        ["provider"] => forever(),
        ["relay", addr] => addr.parse().map_err(io::Error::other).and_then(floor::relay),
        ["load", addr, base, task, clients, ms] => by_hand(addr, base, task, [clients, ms, "64"]),
        ["load", addr, base, task, clients, ms, prompt] => by_hand(addr, base, task, [clients, ms, prompt]),
        // Flags of the test runner, and names of tests to filter by.
        _ => check(Path::new(env!("CARGO_BIN_EXE_gambi"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

type Part = fn(&Lab) -> io::Result<Vec<Row>>;

fn measure(gambi: &Path, effort: Effort, part: &str) -> io::Result<Vec<Row>> {
    let provider = provider::start()?;
    let mut rows = Vec::new();
    let wanted = |name| part.is_empty() || part == name;
    if wanted("footprint") {
        rows.extend(footprint::rows(gambi, provider, effort)?);
    }
    let parts: [(&str, Part); 6] = [
        ("chats", Lab::chats),
        ("tls", Lab::tls),
        ("logged", Lab::logged),
        ("prompts", Lab::prompts),
        ("streams", Lab::streams),
        ("pace", Lab::pace),
    ];
    if parts.iter().any(|(name, _)| wanted(name)) {
        let lab = Lab::start(gambi, provider, effort)?;
        for (name, run) in parts.into_iter().filter(|(name, _)| wanted(name)) {
            eprintln!("{name} ...");
            rows.extend(run(&lab)?);
        }
    }
    Ok(rows)
}

fn real(gambi: &Path, out: &Path, part: &str) -> io::Result<()> {
    let rows = measure(gambi, REAL, part)?;
    report::print(&rows);
    report::save(&rows, out)
}

/// Runs every measurement once and briefly. The values are meaningless; all must be present.
fn check(gambi: &Path) -> io::Result<()> {
    let rows = measure(gambi, QUICK, "")?;
    report::print(&rows);
    match rows.iter().find(|row| !row.is_measured()) {
        Some(row) => Err(io::Error::other(format!("{} was not measured", row.key))),
        None => Ok(()),
    }
}

fn forever() -> io::Result<()> {
    println!("{}", provider::start()?);
    loop {
        std::thread::park();
    }
}

fn by_hand(addr: &str, base: &str, task: &str, numbers: [&str; 3]) -> io::Result<()> {
    use provider::Task;
    let wrong = |what: &str| io::Error::other(format!("{what} makes no sense"));
    let number = |text: &str| text.parse().map_err(|_| wrong(text));
    let [clients, ms, prompt] = numbers.map(number);
    let tasks = [Task::Whole, Task::Short, Task::Long, Task::Wide, Task::Paced, Task::Calm];
    let load = load::Load {
        task: tasks.into_iter().find(|known| known.letter().to_string() == task).ok_or_else(|| wrong(task))?,
        clients: clients?,
        prompt: prompt?,
        time: Duration::from_millis(ms? as u64),
    };
    let target = client::Target { addr: addr.parse().map_err(|_| wrong(addr))?, base: base.to_owned(), tls: false };
    let (outcome, ..) = load::run(&target, load, || ())?;
    println!("{:.0} answers/s, {:.1} MB/s", outcome.per_second(), outcome.bytes_per_second() / 1e6);
    for (what, times) in [("took", &outcome.took), ("first", &outcome.first), ("gaps", &outcome.gaps)] {
        let [p50, p99] = [0.5, 0.99].map(|share| load::quantile(times, share));
        println!("{what} p50 {p50:.3} ms, p99 {p99:.3} ms");
    }
    Ok(())
}
