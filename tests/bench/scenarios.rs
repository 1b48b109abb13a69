//! Scenarios through a tunnel, each with the same call made directly to the provider and through the floor: chats, streams,
//! long prompts.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::Target;
use super::floor::Floor;
use super::load::{Load, Outcome, quantile, run};
use super::process::{Hub, JoinSpec, Process};
use super::provider::Task;
use super::report::{Goal, Reference, Row, absolute, compared};

/// Rooms with one participant, with eight, with one that uses JSON frames, and with eight for many streams.
const ONE: &str = "LABAA2";
const EIGHT: &str = "LABBB2";
const JSON: &str = "LABCC2";
const MANY: &str = "LABDD2";

/// What gambi may add to a chat and to the first token of a stream, as a multiple of what the floor adds.
const ADDED_OF_FLOOR: f64 = 1.5;
/// The shares of the floor's rates that gambi should reach: of chats, pieces of streams, long prompts.
const CHATS_OF_FLOOR: f64 = 0.65;
const PIECES_OF_FLOOR: f64 = 0.85;
const PROMPTS_OF_FLOOR: f64 = 0.85;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Duration of each measurement.
    pub time: Duration,
    /// Number of repetitions; the median is reported.
    pub repeats: usize,
    /// Number of concurrent paced streams, and of clients in the largest chat scenario.
    pub many: usize,
    /// Bytes of the longest prompt.
    pub longest: usize,
    /// Number of watchers and of idle connections; a tenth as many participants.
    pub crowd: usize,
    /// Number of concurrent streams in the largest scenario of paced streams; at most 512.
    pub streams: usize,
}

/// A hub, its participants, the floor and the provider.
pub struct Lab {
    provider: Target,
    floor: Floor,
    hub: Hub,
    one: Vec<Process>,
    eight: Vec<Process>,
    json: Vec<Process>,
    effort: Effort,
    gambi: PathBuf,
}

/// Repeated runs of the same load: directly, through the floor, and through the hub.
struct Runs {
    direct: Vec<Outcome>,
    floor: Vec<Outcome>,
    gambi: Vec<Outcome>,
    /// CPU time of hub and participants for each run through the hub, in microseconds.
    cpu: Vec<(f64, f64)>,
}

/// The median of some values.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Runs {
    fn compared(&self, key: &str, unit: &'static str, figure: impl Fn(&Outcome) -> f64) -> Row {
        let of = |outcomes: &[Outcome]| median(outcomes.iter().map(&figure));
        compared(key, unit, Reference { direct: of(&self.direct), floor: of(&self.floor) }, of(&self.gambi))
    }

    /// CPU time per counted unit.
    fn cpu(&self, key: &str, count: impl Fn(&Outcome) -> f64) -> Vec<Row> {
        let each = |which: fn(&(f64, f64)) -> f64| {
            median(self.cpu.iter().zip(&self.gambi).map(|(cpu, outcome)| which(cpu) / count(outcome)))
        };
        vec![
            absolute(format!("{key} cpu hub"), "us", each(|cpu| cpu.0)),
            absolute(format!("{key} cpu participants"), "us", each(|cpu| cpu.1)),
        ]
    }
}

impl Lab {
    pub fn start(gambi: &Path, provider: SocketAddr, effort: Effort) -> io::Result<Self> {
        let hub = Hub::start(gambi, &[ONE, EIGHT, JSON, MANY])?;
        let spec = |count, concurrency, json_frames| JoinSpec { count, concurrency, json_frames };
        let one = hub.join(gambi, ONE, provider, spec(1, 64, false))?;
        let eight = hub.join(gambi, EIGHT, provider, spec(8, 8, false))?;
        let json = hub.join(gambi, JSON, provider, spec(1, 64, true))?;
        let provider = Target { addr: provider, base: String::new(), tls: false };
        let floor = Floor::start(provider.addr)?;
        Ok(Lab { provider, floor, hub, one, eight, json, effort, gambi: gambi.to_owned() })
    }

    fn runs(&self, room: &str, task: Task, clients: usize, prompt: usize) -> io::Result<Runs> {
        let participants = match room {
            ONE => &self.one,
            EIGHT => &self.eight,
            _ => &self.json,
        };
        self.measured(&self.hub, participants, room, Load { task, clients, prompt, time: self.effort.time })
    }

    fn measured(&self, hub: &Hub, participants: &[Process], room: &str, load: Load) -> io::Result<Runs> {
        let cpu = || (hub.process.cpu(), participants.iter().map(Process::cpu).sum::<f64>());
        let mut runs = Runs { direct: Vec::new(), floor: Vec::new(), gambi: Vec::new(), cpu: Vec::new() };
        for _ in 0..self.effort.repeats {
            runs.direct.push(run(&self.provider, load, || ())?.0);
            runs.floor.push(run(&self.floor.target, load, || ())?.0);
            let (outcome, before, after) = run(&hub.room(room), load, cpu)?;
            runs.gambi.push(outcome);
            runs.cpu.push((after.0 - before.0, after.1 - before.1));
        }
        Ok(runs)
    }

    /// Complete chats over TLS, which clients and participants use; to be read beside those of `chats`.
    pub fn tls(&self) -> io::Result<Vec<Row>> {
        let hub = Hub::over_tls(&self.gambi, &[ONE, EIGHT])?;
        let spec = |count, concurrency| JoinSpec { count, concurrency, json_frames: false };
        let one = hub.join(&self.gambi, ONE, self.provider.addr, spec(1, 64))?;
        let eight = hub.join(&self.gambi, EIGHT, self.provider.addr, spec(8, 8))?;
        let load = |clients| Load { task: Task::Whole, clients, prompt: 64, time: self.effort.time };
        let alone = self.measured(&hub, &one, ONE, load(1))?;
        let mut rows = vec![alone.compared("chat over TLS p50", "ms", |o| quantile(&o.took, 0.5))];
        let eight = self.measured(&hub, &eight, EIGHT, load(8))?;
        rows.push(eight.compared("chats over TLS, 8 clients", "/s", Outcome::per_second));
        rows.extend(eight.cpu("chat over TLS, 8 clients,", |o| o.answers as f64));
        Ok(rows)
    }

    /// Complete chats, with the hub's log on.
    pub fn logged(&self) -> io::Result<Vec<Row>> {
        let hub = Hub::logging(&self.gambi, &[EIGHT])?;
        let eight = hub.join(
            &self.gambi,
            EIGHT,
            self.provider.addr,
            JoinSpec { count: 8, concurrency: 8, json_frames: false },
        )?;
        let load = Load { task: Task::Whole, clients: 8, prompt: 64, time: self.effort.time };
        let runs = self.measured(&hub, &eight, EIGHT, load)?;
        Ok(vec![runs.compared("chats, 8 clients, log on", "/s", Outcome::per_second)])
    }

    /// Complete chats.
    pub fn chats(&self) -> io::Result<Vec<Row>> {
        let many = self.effort.many;
        let alone = self.runs(ONE, Task::Whole, 1, 64)?;
        let mut rows = vec![
            alone
                .compared("chat p50", "ms", |o| quantile(&o.took, 0.5))
                .goal(Goal::AtMost(0.06))
                .goal(Goal::TimesFloor(ADDED_OF_FLOOR)),
            alone.compared("chat p99", "ms", |o| quantile(&o.took, 0.99)).goal(Goal::AtMost(0.25)),
            alone.compared("chats, 1 client", "/s", Outcome::per_second),
        ];
        rows.extend(alone.cpu("chat, 1 client,", |o| o.answers as f64));
        let eight = self.runs(EIGHT, Task::Whole, 8, 64)?;
        let rate = eight.compared("chats, 8 clients", "/s", Outcome::per_second);
        rows.push(rate.goal(Goal::Share(0.1)).goal(Goal::ShareOfFloor(CHATS_OF_FLOOR)));
        rows.extend(eight.cpu("chat, 8 clients,", |o| o.answers as f64));
        let tunnel = self.runs(ONE, Task::Whole, 8, 64)?;
        rows.push(tunnel.compared("chats, 8 clients, 1 tunnel", "/s", Outcome::per_second));
        let crowd = self.runs(EIGHT, Task::Whole, many, 64)?;
        rows.push(crowd.compared(format!("chats, {many} clients").as_str(), "/s", Outcome::per_second));
        Ok(rows)
    }

    /// Long prompts: the time of one, and how many of a size eight clients get through.
    pub fn prompts(&self) -> io::Result<Vec<Row>> {
        let sizes = [("1 KiB", 1 << 10), ("256 KiB", 256 << 10), ("8 MiB", self.effort.longest)];
        let row = |(name, size)| {
            let runs = self.runs(ONE, Task::Whole, 1, size)?;
            Ok(runs.compared(&format!("prompt of {name} p50"), "ms", |o| quantile(&o.took, 0.5)))
        };
        let mut rows = sizes.into_iter().map(row).collect::<io::Result<Vec<_>>>()?;
        let eight = self.runs(EIGHT, Task::Whole, 8, 256 << 10)?;
        let rate = eight.compared("prompts of 256 KiB, 8 clients", "/s", Outcome::per_second);
        rows.push(rate.goal(Goal::ShareOfFloor(PROMPTS_OF_FLOOR)));
        rows.extend(eight.cpu("prompt of 256 KiB, 8 clients,", |o| o.answers as f64));
        Ok(rows)
    }

    /// Streams.
    pub fn streams(&self) -> io::Result<Vec<Row>> {
        let short = self.runs(ONE, Task::Short, 1, 64)?;
        let first = |share| move |o: &Outcome| quantile(&o.first, share);
        let mut rows = vec![
            short.compared("first token p50", "ms", first(0.5)).goal(Goal::TimesFloor(ADDED_OF_FLOOR)),
            short.compared("first token p99", "ms", first(0.99)),
        ];
        for (room, frames, goals) in [
            (ONE, "binary", &[Goal::Share(0.5), Goal::ShareOfFloor(PIECES_OF_FLOOR)][..]),
            (JSON, "JSON", &[Goal::Share(1.0 / 3.0)]),
        ] {
            for clients in [1, 8] {
                let runs = self.runs(room, Task::Long, clients, 64)?;
                let pieces = |o: &Outcome| o.bytes as f64 / Task::Long.pieces().0 as f64;
                let name = format!("pieces, {clients} clients, {frames}");
                let row = runs.compared(&name, "/s", |o| pieces(o) / o.elapsed.as_secs_f64());
                if clients == 1 {
                    rows.push(row);
                } else {
                    rows.push(goals.iter().fold(row, |row, goal| row.goal(*goal)));
                    rows.extend(runs.cpu(&name, pieces));
                }
            }
            let wide = self.runs(room, Task::Wide, 1, 64)?;
            rows.push(wide.compared(&format!("wide stream, {frames}"), "MB/s", |o| o.bytes_per_second() / 1e6));
        }
        Ok(rows)
    }

    /// Streams with a fixed pace.
    pub fn pace(&self) -> io::Result<Vec<Row>> {
        let many = self.effort.many;
        let runs = self.runs(ONE, Task::Paced, many, 64)?;
        let gap = |share| move |o: &Outcome| quantile(&o.gaps, share);
        let name = |what: &str| format!("gap at 10 ms, {many} streams, {what}");
        let mut rows = vec![
            runs.compared(&name("p50"), "ms", gap(0.5)),
            runs.compared(&name("p99"), "ms", gap(0.99)).goal(Goal::AtMost(1.0)),
        ];
        rows.extend(runs.cpu("paced piece", |o| o.gaps.len() as f64));
        rows.extend(self.many_streams()?);
        Ok(rows)
    }

    /// As many slow streams as eight participants with 64 slots each take. That none of their pieces is lost, the load checks.
    fn many_streams(&self) -> io::Result<Vec<Row>> {
        let streams = self.effort.streams;
        let spec = JoinSpec { count: 8, concurrency: 64, json_frames: false };
        let participants = self.hub.join(&self.gambi, MANY, self.provider.addr, spec)?;
        let load = Load { task: Task::Calm, clients: streams, prompt: 64, time: self.effort.time };
        let runs = self.measured(&self.hub, &participants, MANY, load)?;
        let gap = |share| move |o: &Outcome| quantile(&o.gaps, share);
        let name = |what: &str| format!("gap at 20 ms, {streams} streams, {what}");
        let mut rows = vec![
            runs.compared(&name("p50"), "ms", gap(0.5)),
            runs.compared(&name("p99"), "ms", gap(0.99)).goal(Goal::AtMost(5.0)),
        ];
        rows.extend(runs.cpu("piece of many streams", |o| o.gaps.len() as f64));
        Ok(rows)
    }
}
