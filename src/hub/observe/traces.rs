//! How recent requests went, attempt by attempt, for the one who made them. Bounded in number and in bytes, which are taken
//! from the hub's budget: the oldest go first. An attempt is recorded when it ends, before its client has the response's
//! last byte, so that the client finds it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::budget::{Budget, Share};
use crate::proto::request_trace::{AttemptTrace, RequestTrace};
use crate::state::id::RoomCode;
use crate::state::selector::Caller;
use crate::sync::lock;

/// The most requests that are remembered.
const MAX_REQUESTS: usize = 2_048;
/// They take at most this fraction of the memory budget: one in so many bytes.
const BUDGET_FRACTION: u64 = 64;
/// Memory of a request and of an attempt beside their texts, in bytes.
const REQUEST: u64 = 320;
const ATTEMPT: u64 = 256;
/// The longest text that is remembered, in bytes.
pub const MAX_TEXT: usize = 256;

/// What the attempts of a request have in common.
pub struct TracedRequest<'r> {
    /// The request's id: a UUID.
    pub id: &'r str,
    /// The room, as its code is written.
    pub room: &'r RoomCode,
    /// Who made it.
    pub caller: &'r Caller,
    /// The model that it asked for, cut to [`MAX_TEXT`].
    pub model: &'r str,
    /// The protocol, as events name it.
    pub protocol: &'static str,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// When it arrived, milliseconds since the epoch.
    pub arrived: u64,
}

/// Recent requests, by their ids.
pub struct RequestTraces {
    table: Mutex<TraceTable>,
}

struct TraceTable {
    traces: HashMap<u128, Trace>,
    /// Ids, the oldest first.
    order: VecDeque<u128>,
    /// Memory that they take.
    share: Share,
    /// The most that they may take, in bytes.
    max_bytes: u64,
}

struct Trace {
    room: RoomCode,
    caller: Caller,
    model: String,
    protocol: &'static str,
    stream: bool,
    arrived: u64,
    attempts: Vec<AttemptTrace>,
    refused: Option<&'static str>,
    ended_ms: f64,
    /// Memory that it takes, in bytes.
    weight: u64,
}

impl RequestTraces {
    /// An empty table, whose entries take memory of the budget.
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        let table = TraceTable {
            traces: HashMap::new(),
            order: VecDeque::new(),
            share: budget.share(),
            max_bytes: budget.total() / BUDGET_FRACTION,
        };
        RequestTraces { table: Mutex::new(table) }
    }

    fn lock(&self) -> MutexGuard<'_, TraceTable> {
        lock(&self.table)
    }

    /// Records an attempt that has ended.
    pub(crate) fn add_attempt(&self, request: &TracedRequest<'_>, attempt: AttemptTrace) {
        let more = ATTEMPT + text_bytes(&attempt);
        self.change(request, more, |trace| {
            trace.ended_ms = attempt.ended_ms.max(trace.ended_ms);
            trace.attempts.push(attempt);
        });
    }

    /// Records that no participant gets a request: the error's code, and after how many milliseconds.
    pub(crate) fn refuse(&self, request: &TracedRequest<'_>, code: &'static str, ended_ms: f64) {
        self.change(request, 0, |trace| {
            trace.refused = Some(code);
            trace.ended_ms = ended_ms;
        });
    }

    /// Changes a request's trace, which then takes `more` bytes than before. The oldest are dropped past the limits.
    fn change(&self, request: &TracedRequest<'_>, more: u64, change: impl FnOnce(&mut Trace)) {
        let Some(key) = key(request.id) else { return };
        let mut table = self.lock();
        let known = table.traces.contains_key(&key);
        let bytes = if known { more } else { more + REQUEST + request.model.len() as u64 };
        if !table.make_room(bytes, usize::from(!known)) {
            return;
        }
        // It may have been dropped for itself.
        let TraceTable { traces, order, .. } = &mut *table;
        let trace = traces.entry(key).or_insert_with(|| {
            order.push_back(key);
            Trace {
                room: request.room.clone(),
                caller: request.caller.clone(),
                model: request.model.to_owned(),
                protocol: request.protocol,
                stream: request.stream,
                arrived: request.arrived,
                attempts: Vec::new(),
                refused: None,
                ended_ms: 0.0,
                weight: 0,
            }
        });
        trace.weight += bytes;
        change(trace);
    }

    /// The trace of a request that this caller made in this room.
    pub(crate) fn of(&self, room: &RoomCode, id: &str, caller: &Caller) -> Option<RequestTrace> {
        let table = self.lock();
        let trace = table.traces.get(&key(id)?)?;
        (trace.room == *room && trace.caller == *caller).then(|| trace.shown(id))
    }

    /// Removes the requests of a room that was deleted.
    pub(crate) fn forget_room(&self, room: &RoomCode) {
        let mut table = self.lock();
        let TraceTable { traces, order, share, .. } = &mut *table;
        traces.retain(|_, trace| trace.room != *room);
        order.retain(|key| traces.contains_key(key));
        share.shrink_to(traces.values().map(|trace| trace.weight).sum());
    }
}

impl TraceTable {
    /// Reserves memory for an entry, or for more of one. False where even dropping all others frees too little.
    fn make_room(&mut self, bytes: u64, entries: usize) -> bool {
        loop {
            let fits = self.order.len() + entries <= MAX_REQUESTS && self.share.bytes() + bytes <= self.max_bytes;
            if fits && self.share.grow_by(bytes) {
                return true;
            }
            let Some(oldest) = self.order.pop_front() else { return false };
            if let Some(trace) = self.traces.remove(&oldest) {
                self.share.shrink_to(self.share.bytes() - trace.weight);
            }
        }
    }
}

impl Trace {
    fn shown(&self, id: &str) -> RequestTrace {
        RequestTrace {
            request_id: id.to_ascii_lowercase(),
            room_code: self.room.to_string(),
            timestamp: self.arrived,
            model: self.model.clone(),
            protocol: self.protocol.to_owned(),
            stream: self.stream,
            attempts: self.attempts.clone(),
            refused: self.refused.map(str::to_owned),
            ended_ms: self.ended_ms,
        }
    }
}

/// Milliseconds of a trace, to a hundredth.
pub fn trace_millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 1e2
}

/// The number that a UUID stands for.
fn key(id: &str) -> Option<u128> {
    let digits = || id.bytes().filter(|&byte| byte != b'-');
    let value = |key: u128, byte: u8| Some(key << 4 | u128::from(char::from(byte).to_digit(16)?));
    (id.len() == 36 && digits().count() == 32).then(|| digits().try_fold(0, value)).flatten()
}

fn text_bytes(attempt: &AttemptTrace) -> u64 {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let texts = [attempt.participant_id.len(), attempt.model.len(), attempt.outcome.len()];
    (texts.iter().sum::<usize>() + optional(&attempt.stage) + optional(&attempt.error)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> String {
        format!("00000000-0000-4000-8000-{number:012x}")
    }

    fn with_attempt(traces: &RequestTraces, id: &str, error: &str) {
        let (room, caller) = (RoomCode::parse("ABC234").unwrap(), Caller::Person("ann".into()));
        let request = TracedRequest {
            id,
            room: &room,
            caller: &caller,
            model: "any",
            protocol: "chatCompletions",
            stream: true,
            arrived: 5,
        };
        let attempt = AttemptTrace { error: Some(error.to_owned()), ended_ms: 1.5, ..AttemptTrace::default() };
        traces.add_attempt(&request, attempt);
    }

    fn found(traces: &RequestTraces, id: &str, room: &str, caller: &str) -> Option<RequestTrace> {
        traces.of(&RoomCode::parse(room).unwrap(), id, &Caller::Person(caller.into()))
    }

    #[test]
    fn a_request_is_found_by_the_one_who_made_it_in_its_room_alone() {
        let traces = RequestTraces::new(&Budget::new(1 << 24));
        with_attempt(&traces, &id(1), "first");
        with_attempt(&traces, &id(1), "second");
        let trace = found(&traces, &id(1), "ABC234", "ann").unwrap();
        assert_eq!((trace.attempts.len(), trace.attempts[1].error.as_deref()), (2, Some("second")));
        assert_eq!((trace.timestamp, trace.ended_ms), (5, 1.5));
        let others = [(id(2), "ABC234", "ann"), (id(1), "ABC235", "ann"), (id(1), "ABC234", "bob")];
        assert!(others.iter().all(|(id, room, caller)| found(&traces, id, room, caller).is_none()));
        assert!(found(&traces, "no-uuid", "ABC234", "ann").is_none());
    }

    #[test]
    fn the_oldest_are_dropped_past_the_limits_and_a_deleted_rooms_all() {
        let budget = Budget::new(1 << 30);
        let traces = RequestTraces::new(&budget);
        (0..MAX_REQUESTS + 10).for_each(|number| with_attempt(&traces, &id(number), ""));
        assert_eq!(traces.lock().traces.len(), MAX_REQUESTS);
        assert!(found(&traces, &id(9), "ABC234", "ann").is_none());
        assert!(found(&traces, &id(10), "ABC234", "ann").is_some());
        traces.forget_room(&RoomCode::parse("ABC234").unwrap());
        assert_eq!((traces.lock().order.len(), budget.used()), (0, 0));
    }

    #[test]
    fn memory_is_bounded_whatever_the_texts() {
        let budget = Budget::new(BUDGET_FRACTION * 10_000);
        let traces = RequestTraces::new(&budget);
        for number in 0..1_000 {
            (0..number % 5).for_each(|_| with_attempt(&traces, &id(number), &"x".repeat(MAX_TEXT)));
            assert!(budget.used() <= 10_000, "{} bytes", budget.used());
        }
        assert!(found(&traces, &id(999), "ABC234", "ann").is_some());
        with_attempt(&traces, &id(1_000), &"x".repeat(20_000));
        assert_eq!((traces.lock().traces.len(), budget.used()), (0, 0), "what cannot fit is not kept");
    }
}
