//! Everything that the hub counts, in Prometheus's text format.
//!
//! Labels are bounded: participants that have figures of their own, a few words of ours, and `other` for all the rest.
//! Participants of a private room are shown together, as `all`: who is in it, its password's holders alone may know.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Counted, HangUpPhase, KEPT, Messages, Metrics};
use crate::hub::context::HubContext;
use crate::hub::observe::metrics::exposition::Exposition;
use crate::hub::observe::metrics::process::Process;
use crate::proto::management::Status;
use crate::state::registry::Registry;
use crate::state::stats::Totals;

/// The text of one scrape.
pub fn render(hub: &HubContext) -> String {
    let mut out = Exposition::default();
    let present = {
        let registry = hub.registry();
        Present::of(&registry, &hub.metrics.counted())
    };
    build(&mut out, hub);
    present.write(&mut out);
    hub.metrics.write(&mut out);
    connections(&mut out, hub);
    process(&mut out);
    out.finish()
}

/// What the registry and the counts hold, copied so that nobody waits while it is written.
#[derive(Default)]
struct Present {
    rooms: usize,
    statuses: [u64; 3],
    in_flight: u64,
    waiting: usize,
    /// By room.
    lines: BTreeMap<String, usize>,
    /// By room and participant.
    totals: BTreeMap<(String, String), Totals>,
}

const OTHER: &str = "other";

impl Present {
    fn of(registry: &Registry, counted: &Counted) -> Self {
        let mut present = Present { waiting: registry.waiting(), ..Present::default() };
        for room in registry.all() {
            present.rooms += 1;
            let code = room.code.to_string();
            for member in room.members.values() {
                present.statuses[member.status() as usize] += 1;
                present.in_flight += u64::from(member.in_flight);
                if let Some(kept) = counted.members.get(&member.serial) {
                    let id = if room.private { "all".to_owned() } else { member.id.to_string() };
                    present.totals.entry((code.clone(), id)).or_default().merge(&kept.totals);
                }
            }
            if !room.line.is_empty() {
                let name = if present.lines.len() < KEPT { &code } else { OTHER };
                *present.lines.entry(name.to_owned()).or_default() += room.line.len();
            }
        }
        if counted.others.requests().next().is_some() {
            present.totals.insert((OTHER.into(), OTHER.into()), counted.others.clone());
        }
        present
    }

    fn write(&self, out: &mut Exposition) {
        out.single("gambi_rooms", "gauge", "Rooms.", self.rooms);
        let mut family = out.family("gambi_participants", "gauge", "Participants by status.");
        for status in [Status::Online, Status::Busy, Status::Offline] {
            let name = format!("{status:?}").to_lowercase();
            family.sample(&[("status", &name)], self.statuses[status as usize]);
        }
        out.single("gambi_requests_in_flight", "gauge", "Requests that participants work on.", self.in_flight);
        out.single("gambi_queue_length", "gauge", "Requests that wait in line for a participant.", self.waiting);
        let mut family = out.family("gambi_room_queue_length", "gauge", "The same in each room where any wait.");
        self.lines.iter().for_each(|(room, length)| family.sample(&[("room", room)], length));
        self.requests(out);
        self.tokens(out);
        self.times(out);
    }

    fn requests(&self, out: &mut Exposition) {
        let help = "Requests that ended, each try at a participant for itself.";
        let mut family = out.family("gambi_requests_total", "counter", help);
        for ((room, participant), totals) in &self.totals {
            for (protocol, ending, count) in totals.requests() {
                let who = [("room", room.as_str()), ("participant", participant)];
                let how = [("protocol", protocol), ("outcome", ending.name())];
                family.sample(&[who, how].concat(), count);
            }
        }
    }

    fn tokens(&self, out: &mut Exposition) {
        let help = "Tokens of prompts (input) and answers (output), as far as providers told them.";
        let mut family = out.family("gambi_tokens_total", "counter", help);
        for ((room, participant), totals) in &self.totals {
            for (direction, count) in [("input", totals.input), ("output", totals.output)] {
                family.sample(&[("room", room), ("participant", participant), ("direction", direction)], count);
            }
        }
    }

    fn times(&self, out: &mut Exposition) {
        let name = "gambi_time_to_first_token_seconds";
        let mut family = out.family(name, "histogram", "From dispatch to the first byte of good answers.");
        for ((room, participant), totals) in &self.totals {
            family.histogram(&[("room", room), ("participant", participant)], &totals.ttft);
        }
        let name = "gambi_request_duration_seconds";
        let mut family = out.family(name, "histogram", "From dispatch to the last byte of good answers.");
        for ((room, participant), totals) in &self.totals {
            family.histogram(&[("room", room), ("participant", participant)], &totals.duration);
        }
    }
}

impl Metrics {
    fn write(&self, out: &mut Exposition) {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let help = "How long requests waited in line, whether or not their turn came.";
        out.family("gambi_queue_wait_seconds", "histogram", help).histogram(&[], &waits);
        let failovers = self.failovers.load(Ordering::Relaxed);
        let help = "Requests that went to another participant after one had failed.";
        out.single("gambi_failovers_total", "counter", help, failovers);
        let help = "Clients that hung up: in line (queue), before the first byte (waiting), or later (answering).";
        let mut family = out.family("gambi_cancellations_total", "counter", help);
        for left in HangUpPhase::ALL {
            family.sample(&[("stage", left.name())], self.hung_up[left as usize].load(Ordering::Relaxed));
        }
        let help = "Requests that the hub refused or failed, by status and error code.";
        let mut family = out.family("gambi_refused_total", "counter", help);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((status, code), count) in refused {
            family.sample(&[("status", &status.to_string()), ("code", &code)], count);
        }
        let directions = [("received", &self.traffic.received), ("sent", &self.traffic.sent)];
        let mut tunnels = |name, help, of: fn(&Messages) -> u64| {
            let mut family = out.family(name, "counter", help);
            directions
                .iter()
                .for_each(|(direction, messages)| family.sample(&[("direction", direction)], of(messages)));
        };
        let help = "Messages on tunnels, from participants (received) and to them (sent).";
        tunnels("gambi_tunnel_messages_total", help, |messages| messages.count.load(Ordering::Relaxed));
        let help = "Bytes in messages on tunnels.";
        tunnels("gambi_tunnel_bytes_total", help, |messages| messages.bytes.load(Ordering::Relaxed));
    }
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
    out.single("gambi_start_time_seconds", "gauge", "When the hub began, seconds since the epoch.", started);
}

fn connections(out: &mut Exposition, hub: &HubContext) {
    let help = "Memory in use for what peers make the hub hold, as it is counted against --memory.";
    out.single("gambi_memory_used_bytes", "gauge", help, hub.memory.used());
    out.single("gambi_memory_limit_bytes", "gauge", "The bound on it: --memory.", hub.memory.total());
    let connections = hub.connections.count();
    out.single("gambi_connections", "gauge", "Open connections, tunnels and watchers included.", connections.here);
    out.single("gambi_connections_accepted_total", "counter", "Connections that were accepted.", connections.seated);
    let help = "Idle connections that were closed to make room.";
    out.single("gambi_connections_evicted_total", "counter", help, connections.evicted);
    out.single("gambi_tunnels", "gauge", "Open tunnels.", hub.tunnels.count());
    let (watchers, dropped) = hub.watchers.count();
    out.single("gambi_watchers", "gauge", "Whoever watches events.", watchers);
    let help = "Watchers that were dropped because they did not keep up.";
    out.single("gambi_watchers_dropped_total", "counter", help, dropped);
    let help = "Lines of the log that were dropped because they could not be written in time.";
    out.single("gambi_log_lines_dropped_total", "counter", help, hub.log.dropped());
}

/// By the names that Prometheus's own clients use; nothing where the system does not tell.
fn process(out: &mut Exposition) {
    let process = Process::now();
    if let Some(threads) = process.threads {
        out.single("process_threads", "gauge", "Threads of the process.", threads);
    }
    if let Some(bytes) = process.resident {
        out.single("process_resident_memory_bytes", "gauge", "Memory that the process has in use.", bytes);
    }
    if let Some(seconds) = process.cpu {
        out.single("process_cpu_seconds_total", "counter", "Time of the process on processors.", seconds);
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
    fn a_scrape_has_a_bound() {
        let mut present = Present::default();
        for n in 0..KEPT {
            let mut totals = Totals::default();
            let time = Duration::from_millis(n as u64);
            let usage = Usage { input: Some(1), output: Some(2), total: None };
            totals.add(&Ended { protocol: "messages", ending: Ending::Complete, ttft: time, duration: time, usage });
            present.totals.insert(("ABC234".into(), format!("{n:0>128}")), totals);
        }
        let mut out = Exposition::default();
        present.write(&mut out);
        let text = out.finish();
        assert_eq!(text.lines().filter(|line| line.starts_with("gambi_requests_total{")).count(), KEPT);
        assert!(text.len() < 8 << 20, "{} bytes", text.len());
    }
}
