//! How long requests wait when callers share one participant: a simulation with a clock of its own, in which one caller
//! floods the room and the others send a request now and then. `cargo test --lib simulated -- --nocapture` prints its table.

use std::collections::BTreeMap;

use super::*;

/// Time of one answer, milliseconds.
const ANSWER: u64 = 4_000;
/// Simulated time, milliseconds.
const TIME: u64 = 3_600_000;
/// Requests that the flooding caller keeps waiting.
const FLOOD: usize = 50;

fn caller(number: u32) -> Caller {
    Caller::Network(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into())
}

fn now(mono: u64) -> Now {
    Now { wall: mono, mono }
}

/// The order of requests in the line.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// The registry's.
    Fair,
    /// First come, first served: all requests count as one caller's.
    Arrival,
}

/// Simulates `callers`, the first of which floods. Returns the waits of the flooding caller and of the others, milliseconds.
fn simulate(callers: u32, order: Order) -> [Vec<u64>; 2] {
    let mut story = Story::new();
    story.join("a", "m", now(0));
    let mut random = seeded_random();
    let mut below = |most: u64| {
        let mut bytes = [0; 8];
        random(&mut bytes);
        u64::from_le_bytes(bytes) % most
    };
    // Each of the others reads its answer before it asks again. Together they need about a third of the participant's time.
    let pause = ANSWER * 2 * u64::from(callers - 1);
    let mut next: BTreeMap<(u64, u32), ()> = (1..callers).map(|number| ((below(pause), number), ())).collect();
    let mut waiting: BTreeMap<u64, (u32, u64)> = BTreeMap::new();
    let mut waits = [Vec::new(), Vec::new()];
    let mut running: Option<(u64, Picked)> = None;
    let mut time = 0;
    while time < TIME {
        let arrived: Vec<_> = next.range(..=(time, u32::MAX)).map(|(key, ())| *key).collect();
        let flooding = FLOOD.saturating_sub(waiting.values().filter(|(number, _)| *number == 0).count());
        for number in arrived.iter().map(|key| key.1).chain((0..flooding).map(|_| 0)) {
            let sender = if order == Order::Fair { caller(number) } else { caller(0) };
            let want = Want { caller: sender, ..story.want("any", Need::Chat) };
            let queued = story.registry.wait(&story.code, want, usize::MAX, now(time)).unwrap();
            waiting.insert(queued.number, (number, time));
        }
        for key in arrived {
            next.remove(&key);
        }
        if let Some((_, picked)) = running.take_if(|(end, _)| *end <= time) {
            story.registry.release(&picked, now(time));
        }
        for (number, grant) in story.registry.grant_waiting(now(time), &mut *story.random) {
            let (sender, since) = waiting.remove(&number).unwrap();
            waits[usize::from(sender > 0)].push(time - since);
            if sender > 0 {
                next.insert((time + ANSWER + below(2 * pause), sender), ());
            }
            running = Some((time + ANSWER, grant.unwrap()));
        }
        let arrival = next.first_key_value().map_or(TIME, |(key, ())| key.0);
        time = running.as_ref().map_or(arrival, |(end, _)| arrival.min(*end)).max(time + 1);
    }
    waits.map(|mut waits| {
        waits.sort_unstable();
        waits
    })
}

#[test]
fn simulated_newcomers_wait_for_each_other_and_not_for_the_flood() {
    let percent = |waits: &[u64], percent: usize| waits[(waits.len() - 1) * percent / 100] as f64 / 1000.0;
    println!("callers  order    who     served   p50 s   p95 s   worst s");
    for callers in [2, 5, 20, 50, 200] {
        let [fair, arrival] = [Order::Fair, Order::Arrival].map(|order| simulate(callers, order));
        for (name, results) in [("fair", &fair), ("arrival", &arrival)] {
            for (who, waits) in [("flood", &results[0]), ("others", &results[1])] {
                let [p50, p95, worst] = [50, 95, 100].map(|p| percent(waits, p));
                println!("{callers:>7}  {name:<7}  {who:<6}  {:>6}  {p50:>6.1}  {p95:>6.1}  {worst:>8.1}", waits.len());
            }
        }
        let [flood, others] = &fair;
        let served = flood.len() + others.len();
        assert!(served as u64 >= TIME / ANSWER - 1, "the participant is never idle: {served}");
        assert!(flood.len() > served / 4, "the flood gets what the others leave: {}", flood.len());
        assert!(percent(others, 95) < percent(&arrival[1], 5), "with {callers} callers");
        if callers == 2 {
            assert!(others.iter().all(|&wait| wait <= ANSWER), "another caller waits for the answer that runs");
        }
    }
}

#[test]
fn callers_of_many_rooms_are_forgotten_once_they_are_too_many() {
    let mut story = Story::new();
    let wait = |story: &mut Story, number| {
        let want = Want { caller: caller(number), ..story.want("any", Need::Chat) };
        story.registry.wait(&story.code, want, usize::MAX, now(0)).unwrap().number
    };
    let remembered =
        |story: &Story| story.registry.rooms.values().map(|room| room.shares.callers()).collect::<Vec<_>>();
    let mut stays = None;
    for _ in 0..66 {
        let new =
            NewRoom { name: "Lab".into(), password: None, private: false, defaults: None, code: None, owner: None };
        story.code = story.registry.create_room(new, now(0), &mut *story.random).0.code;
        stays.get_or_insert_with(|| (story.code.clone(), wait(&mut story, 0)));
        for number in 1..=990 {
            let waiting = wait(&mut story, number);
            assert!(story.registry.leave_queue(&story.code, waiting, now(0)));
        }
        story.registry.forget_callers(now(0));
    }
    assert_eq!(remembered(&story).iter().sum::<usize>(), 66 * 990 + 1, "not too many");
    for number in 1_000..1_030 {
        for code in story.registry.rooms.keys().map(ToString::to_string).collect::<Vec<_>>() {
            story.code = code;
            let waiting = wait(&mut story, number);
            assert!(story.registry.leave_queue(&story.code, waiting, now(0)));
        }
    }
    story.registry.forget_callers(now(0));
    assert!(remembered(&story).iter().all(|count| *count <= 511));
    let (code, number) = stays.unwrap();
    assert!(story.registry.place(&code, number, now(0)).is_some());
    let first = story.registry.room(&code).unwrap();
    assert_eq!(first.shares.callers(), 511, "with the one that waits");
}

#[test]
fn two_callers_with_full_queues_get_the_same_time() {
    let mut story = Story::new();
    story.join("a", "m", now(0));
    // The first caller's answers take three times as long.
    let length = |number: u32| if number == 0 { 3 * ANSWER } else { ANSWER };
    let mut used = [0, 0];
    let mut senders: BTreeMap<u64, u32> = BTreeMap::new();
    let mut time = 0;
    while time < TIME {
        for number in [0, 1] {
            let want = Want { caller: caller(number), ..story.want("any", Need::Chat) };
            if senders.values().filter(|&&sender| sender == number).count() < 3 {
                senders.insert(story.registry.wait(&story.code, want, 9, now(time)).unwrap().number, number);
            }
        }
        let (number, grant) = story.registry.grant_waiting(now(time), &mut *story.random).remove(0);
        let sender = senders.remove(&number).unwrap();
        used[sender as usize] += length(sender);
        time += length(sender);
        story.registry.release(&grant.unwrap(), now(time));
    }
    let [first, second] = used;
    assert!(first.abs_diff(second) < TIME / 20, "{first} ms and {second} ms");
}

#[test]
fn a_flood_that_fills_the_line_makes_room_for_a_newcomer() {
    let mut story = Story::new();
    story.join("a", "m", at(0));
    let running = story.pick("a").unwrap();
    let flood: Vec<u64> = (0..3).map(|_| story.wait("any")).collect();
    let newcomer = |number| Want { caller: caller(number), ..story.want("any", Need::Chat) };
    let (first, second, third) = (newcomer(7), newcomer(8), newcomer(9));
    let queued = story.registry.wait(&story.code, first, 3, at(1)).unwrap();
    assert_eq!(queued.evicted, Some(flood[2]), "the newest of the flood");
    assert_eq!(story.registry.place(&story.code, queued.number, at(1)), Some((1, 3)));
    assert_eq!(story.registry.place(&story.code, flood[1], at(1)), Some((3, 3)));
    assert_eq!(story.registry.place(&story.code, flood[2], at(1)), None, "it waits no longer");
    let second = story.registry.wait(&story.code, second, 3, at(1)).unwrap();
    assert_eq!(second.evicted, Some(flood[1]));
    assert_eq!(story.registry.wait(&story.code, third, 3, at(1)).unwrap_err(), PickError::QueueFull);
    story.registry.release(&running, at(2));
    let grants = story.registry.grant_waiting(at(2), &mut *story.random);
    assert_eq!(grants.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [queued.number]);
}
