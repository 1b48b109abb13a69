//! All counters of the hub in Prometheus's text format.
//!
//! The number of label values is bounded: participants with statistics of their own, people with keys, a few fixed words,
//! and `other` or `*` for the rest. Participants of a private room are summed under `all`, as only those with its password may list them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{HangUpPhase, MAX_PARTICIPANTS, MessageCounter, Metrics, ParticipantTable, Traffic};
use crate::hub::context::HubContext;
use crate::hub::observe::metrics::exposition::Exposition;
use crate::hub::observe::metrics::process::Process;
use crate::proto::management::Status;
use crate::state::registry::Registry;
use crate::state::stats::Totals;
use crate::sync::lock;

/// Renders the answer to one scrape.
pub fn render(hub: &HubContext) -> String {
    let mut out = Exposition::default();
    let snapshot = {
        let registry = hub.registry();
        Snapshot::of(&registry, &hub.metrics.participants())
    };
    build(&mut out, hub);
    snapshot.write(&mut out);
    hub.metrics.write(&mut out);
    people(&mut out, hub);
    connections(&mut out, hub);
    process(&mut out);
    out.finish()
}

/// A copy of what the registry and the participants' statistics hold, so that their locks are free during the rendering.
#[derive(Default)]
struct Snapshot {
    rooms: usize,
    statuses: [u64; 3],
    providers_down: u64,
    draining: u64,
    in_flight: u64,
    waiting: usize,
    /// Queue lengths by room, where any request waits.
    queues: BTreeMap<String, usize>,
    /// Counters by room and participant.
    totals: BTreeMap<(String, String), Totals>,
}

/// The label value of rooms and participants past the bound.
const OTHER: &str = "other";

impl Snapshot {
    fn of(registry: &Registry, table: &ParticipantTable) -> Self {
        let mut snapshot = Snapshot { waiting: registry.waiting(), ..Snapshot::default() };
        for room in registry.all() {
            snapshot.rooms += 1;
            let code = || room.code.to_string();
            for member in room.members.values() {
                snapshot.statuses[member.status() as usize] += 1;
                snapshot.providers_down += u64::from(member.provider_down);
                snapshot.draining += u64::from(member.draining);
                snapshot.in_flight += u64::from(member.in_flight);
                if let Some(stats) = table.members.get(&member.serial) {
                    let id = if room.private { "all".to_owned() } else { member.id.to_string() };
                    snapshot.totals.entry((code(), id)).or_default().merge(&stats.totals);
                }
            }
            if !room.queue.is_empty() {
                let name = if snapshot.queues.len() < MAX_PARTICIPANTS { code() } else { OTHER.to_owned() };
                *snapshot.queues.entry(name).or_default() += room.queue.len();
            }
        }
        if table.others.requests().next().is_some() {
            snapshot.totals.insert((OTHER.into(), OTHER.into()), table.others.clone());
        }
        snapshot
    }

    fn write(&self, out: &mut Exposition) {
        out.single("gambi_rooms", "gauge", "Rooms.", self.rooms);
        let mut family = out.family("gambi_participants", "gauge", "Participants by status.");
        for status in [Status::Online, Status::Busy, Status::Offline] {
            let name = format!("{status:?}").to_lowercase();
            family.sample(&[("status", &name)], self.statuses[status as usize]);
        }
        let help = "Participants whose provider does not answer; they are offline.";
        out.single("gambi_participants_provider_down", "gauge", help, self.providers_down);
        let help = "Participants that finish their requests and leave; they are offline.";
        out.single("gambi_participants_draining", "gauge", help, self.draining);
        out.single("gambi_requests_in_flight", "gauge", "Requests in flight at participants.", self.in_flight);
        out.single("gambi_queue_length", "gauge", "Requests in the queue for a participant.", self.waiting);
        let mut family =
            out.family("gambi_room_queue_length", "gauge", "Requests in the queue, for each room that has any.");
        for (room, length) in &self.queues {
            family.sample(&[("room", room)], length);
        }
        self.requests(out);
        self.tokens(out);
        self.times(out);
    }

    fn requests(&self, out: &mut Exposition) {
        let help = "Requests that ended; each attempt at a participant counts.";
        let mut family = out.family("gambi_requests_total", "counter", help);
        for ((room, participant), totals) in &self.totals {
            for (protocol, ending, count) in totals.requests() {
                let labels = [("room", room.as_str()), ("participant", participant)];
                let result = [("protocol", protocol), ("outcome", ending.name())];
                family.sample(&[labels, result].concat(), count);
            }
        }
    }

    fn tokens(&self, out: &mut Exposition) {
        let help = "Tokens of prompts (input) and answers (output), as far as providers reported them.";
        let mut family = out.family("gambi_tokens_total", "counter", help);
        for ((room, participant), totals) in &self.totals {
            for (direction, count) in [("input", totals.input_tokens), ("output", totals.output_tokens)] {
                family.sample(&[("room", room), ("participant", participant), ("direction", direction)], count);
            }
        }
    }

    fn times(&self, out: &mut Exposition) {
        let name = "gambi_time_to_first_token_seconds";
        let mut family = out.family(name, "histogram", "Time from dispatch to the first byte of successful answers.");
        for ((room, participant), totals) in &self.totals {
            family.histogram(&[("room", room), ("participant", participant)], &totals.ttft);
        }
        let name = "gambi_request_duration_seconds";
        let mut family = out.family(name, "histogram", "Time from dispatch to the last byte of successful answers.");
        for ((room, participant), totals) in &self.totals {
            family.histogram(&[("room", room), ("participant", participant)], &totals.duration);
        }
    }
}

impl Metrics {
    fn write(&self, out: &mut Exposition) {
        let waits = lock(&self.queue_waits).clone();
        let help = "Time that requests waited in the queue, whether or not they got a slot.";
        out.family("gambi_queue_wait_seconds", "histogram", help).histogram(&[], &waits);
        let failovers = self.failovers.load(Ordering::Relaxed);
        let help = "Requests that were retried with another participant after a failure.";
        out.single("gambi_failovers_total", "counter", help, failovers);
        let hedges = self.hedges.load(Ordering::Relaxed);
        let help = "Requests that were sent to a second participant beside one that was silent for too long.";
        out.single("gambi_hedges_total", "counter", help, hedges);
        let help =
            "Clients that disconnected: in the queue (queue), before the first byte (waiting), or later (answering).";
        let mut family = out.family("gambi_cancellations_total", "counter", help);
        for phase in HangUpPhase::ALL {
            family.sample(&[("stage", phase.name())], self.hung_up[phase as usize].load(Ordering::Relaxed));
        }
        let help = "Requests that the hub rejected or failed, by status and error code.";
        let mut family = out.family("gambi_refused_total", "counter", help);
        let rejected = lock(&self.rejected).clone();
        for ((status, code), count) in rejected {
            family.sample(&[("status", &status.to_string()), ("code", code)], count);
        }
        write_traffic(out, &self.traffic);
    }
}

/// What people with keys have used.
fn people(out: &mut Exposition, hub: &HubContext) {
    let mut counts = hub.allowances.counts();
    let others = counts.split_off(counts.len().min(MAX_PARTICIPANTS));
    // No person can have this name.
    let others = others.into_iter().reduce(|(_, a), (_, b)| ("*".into(), a + b)).map(|(_, sum)| ("*".into(), sum));
    counts.extend(others);
    let help = "Requests of people with keys of their own, by what their limits said.";
    let mut family = out.family("gambi_caller_requests_total", "counter", help);
    for (caller, count) in &counts {
        family.sample(&[("caller", caller), ("outcome", "admitted")], count.requests);
        family.sample(&[("caller", caller), ("outcome", "limited")], count.limited);
    }
    let help = "Tokens of people with keys of their own; estimated where a provider reports none.";
    let mut family = out.family("gambi_caller_tokens_total", "counter", help);
    for (caller, count) in &counts {
        family.sample(&[("caller", caller), ("direction", "input")], count.input);
        family.sample(&[("caller", caller), ("direction", "output")], count.output);
    }
}

fn write_traffic(out: &mut Exposition, traffic: &Traffic) {
    let mut family = |name, help, value: fn(&MessageCounter) -> &AtomicU64| {
        let mut family = out.family(name, "counter", help);
        for (direction, counter) in [("received", &traffic.received), ("sent", &traffic.sent)] {
            family.sample(&[("direction", direction)], value(counter).load(Ordering::Relaxed));
        }
    };
    let help = "Messages on tunnels, from participants (received) and to them (sent).";
    family("gambi_tunnel_messages_total", help, |counter| &counter.count);
    family("gambi_tunnel_bytes_total", "Bytes in messages on tunnels.", |counter| &counter.bytes);
}

fn build(out: &mut Exposition, hub: &HubContext) {
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("os", std::env::consts::OS),
        ("arch", std::env::consts::ARCH),
        ("mdns", if cfg!(feature = "mdns") { "true" } else { "false" }),
    ];
    out.family("gambi_build_info", "gauge", "The hub's build; always 1.").sample(&labels, 1);
    let started = hub.metrics.started as f64 / 1000.0;
    out.single("gambi_start_time_seconds", "gauge", "Start time of the hub, seconds since the epoch.", started);
}

fn connections(out: &mut Exposition, hub: &HubContext) {
    let help = "Memory in use for data received from peers, as counted against --memory.";
    out.single("gambi_memory_used_bytes", "gauge", help, hub.memory.used());
    out.single(
        "gambi_memory_limit_bytes",
        "gauge",
        "Limit of the memory for data received from peers: --memory.",
        hub.memory.total(),
    );
    let connections = hub.connections.count();
    out.single("gambi_connections", "gauge", "Open connections, tunnels and watchers included.", connections.open);
    out.single("gambi_connections_accepted_total", "counter", "Accepted connections.", connections.admitted);
    let help = "Idle connections that were closed to accept new ones.";
    out.single("gambi_connections_evicted_total", "counter", help, connections.evicted);
    out.single("gambi_tunnels", "gauge", "Open tunnels.", hub.tunnels.count());
    let (watchers, dropped) = hub.watchers.count();
    out.single("gambi_watchers", "gauge", "Open event streams.", watchers);
    let help = "Event streams that were ended because their clients read too slowly.";
    out.single("gambi_watchers_dropped_total", "counter", help, dropped);
    let help = "Lines of the log that were dropped because they could not be written in time.";
    out.single("gambi_log_lines_dropped_total", "counter", help, hub.log.dropped());
    let help = "Lines of the file of usage that were dropped because they could not be written.";
    out.single("gambi_usage_lines_dropped_total", "counter", help, hub.usage.dropped());
}

/// The process's figures, named as Prometheus's client libraries name them. Missing ones are left out.
fn process(out: &mut Exposition) {
    let process = Process::now();
    if let Some(threads) = process.threads {
        out.single("process_threads", "gauge", "Threads of the process.", threads);
    }
    if let Some(bytes) = process.resident {
        out.single("process_resident_memory_bytes", "gauge", "Resident memory of the process, bytes.", bytes);
    }
    if let Some(seconds) = process.cpu {
        out.single(
            "process_cpu_seconds_total",
            "counter",
            "User and system CPU time of the process, seconds.",
            seconds,
        );
    }
    if let Some(count) = process.descriptors {
        out.single("process_open_fds", "gauge", "Open file descriptors.", count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::usage::Usage;
    use crate::state::stats::{Ended, Ending};
    use std::time::Duration;

    #[test]
    fn the_size_of_a_scrape_is_bounded() {
        let mut snapshot = Snapshot::default();
        for n in 0..MAX_PARTICIPANTS {
            let mut totals = Totals::default();
            let time = Duration::from_millis(n as u64);
            let usage = Usage { input: Some(1), output: Some(2), total: None };
            totals.add(&Ended { protocol: "messages", ending: Ending::Complete, ttft: time, duration: time, usage });
            snapshot.totals.insert(("ABC234".into(), format!("{n:0>128}")), totals);
        }
        let mut out = Exposition::default();
        snapshot.write(&mut out);
        let text = out.finish();
        assert_eq!(text.lines().filter(|line| line.starts_with("gambi_requests_total{")).count(), MAX_PARTICIPANTS);
        assert!(text.len() < 8 << 20, "{} bytes", text.len());
    }
}
