//! The plain table as lines of text, for a terminal of a given size. Pure.

use super::clean::one_line;
use super::model::{Health, Member, Room};
use super::state::{Link, MonitorState};
use super::stats::Stats;
use super::text::{brief, clock, count, fit, span, speed};
use super::words::{FAILED, FIRST_TOKEN, REQUESTS, TOKENS_PER_SECOND, link};

const STATUS_WIDTH: usize = Health::WIDTH;
/// Width of the four statistics columns: requests, errors, first token, tokens/s.
const STATS_WIDTH: usize = 4 * 8;

/// The whole table, cut to the given size.
pub fn lines(state: &MonitorState, now: u64, columns: usize, rows: usize) -> Vec<String> {
    let mut lines = vec![status_line(state, now), state.limits.unwrap_or_default().to_owned()];
    lines.push(format!("{:<7} {} {:>7}{}", "ROOM", fit("NAME", name_width(columns)), "HERE", headings()));
    let rooms: Vec<&Room> = state.rooms.values().filter(|room| room.watched).collect();
    // Rooms take at most half of the screen; participants take the rest.
    let most = (rows.saturating_sub(6) / 2).max(1);
    lines.extend(rooms.iter().take(most).map(|room| room_line(room, state.hub_time(now), columns)));
    lines.extend(more(rooms.len(), most, "rooms"));
    lines.push(String::new());
    lines.push(format!(
        "{:<7} {} {:<STATUS_WIDTH$}{} {:>5}",
        "ROOM",
        name_and_model("PARTICIPANT", "MODEL", columns),
        "STATUS",
        headings(),
        "SEEN"
    ));
    let left = rows.saturating_sub(lines.len() + 1).max(1);
    let members: Vec<_> = rooms.iter().flat_map(|room| room.members.values().map(move |m| (room, m))).collect();
    let shown = members.iter().take(left);
    lines.extend(shown.map(|(room, member)| member_line(state, room, member, state.hub_time(now), columns)));
    lines.extend(more(members.len(), left, "participants"));
    // Codes and the hub's URL have not been made safe to print yet.
    lines.iter().map(|line| fit(&one_line(line), columns).trim_end().to_owned()).collect()
}

/// The headings of the four columns of statistics.
fn headings() -> String {
    let names = [REQUESTS, FAILED, FIRST_TOKEN, TOKENS_PER_SECOND];
    names.iter().map(|name| format!("{:>8}", name.short.to_uppercase())).collect()
}

fn name_width(columns: usize) -> usize {
    columns.saturating_sub(7 + 1 + 1 + 7 + STATS_WIDTH).clamp(8, 60)
}

fn more(all: usize, shown: usize, what: &str) -> Option<String> {
    (all > shown).then(|| format!("... and {} more {what}", all - shown))
}

fn status_line(state: &MonitorState, now: u64) -> String {
    let link = match &state.link {
        Link::Connecting => link::CONNECTING.to_owned(),
        Link::Up => link::UP.to_owned(),
        Link::Lost { reason, .. } => format!("{}: {reason}", link::LOST.to_uppercase()),
    };
    let tally = state.tally(now).words("online", "offline", "  ");
    format!("{}  {}  {} rooms  {tally}  {link}", clock(now), state.url, state.rooms.len())
}

fn stats_cells(stats: &Stats, now: u64) -> String {
    let first = stats.ttft(now).map_or("-".into(), brief);
    let rate = stats.tokens_per_second(now).map_or("-".into(), speed);
    format!("{:>8}{:>8}{first:>8}{rate:>8}", count(stats.requests), count(stats.errors))
}

fn room_line(room: &Room, now: u64, columns: usize) -> String {
    let name = fit(&room.name, name_width(columns));
    let line = format!("{:<7} {name} {:>7}", room.info.code, room.count());
    match &room.refused {
        Some(why) => format!("{line}  {why}"),
        None => line + &stats_cells(&room.stats, now),
    }
}

/// Nickname and model share the width that the other columns leave, 3 to 2.
fn name_and_model(name: &str, model: &str, columns: usize) -> String {
    let both = columns.saturating_sub(7 + 1 + 1 + STATUS_WIDTH + STATS_WIDTH + 1 + 5 + 1).clamp(12, 100);
    format!("{} {}", fit(name, both - both * 2 / 5), fit(model, both * 2 / 5))
}

fn member_line(state: &MonitorState, room: &Room, member: &Member, now: u64, columns: usize) -> String {
    let seen = span(now.saturating_sub(member.info.last_seen));
    let name_and_model = name_and_model(&member.name, &member.model, columns);
    let stats_cells = stats_cells(&member.stats, now);
    let status = state.health(member, now).word();
    format!("{:<7} {name_and_model} {status:<STATUS_WIDTH$}{stats_cells} {seen:>5}", room.info.code)
}

#[cfg(test)]
mod tests {
    use gambi::proto::management::Status;

    use super::*;
    use crate::monitor::fixtures::{NOW, answered, began, lab, participant};
    use crate::monitor::state::Update;
    use crate::monitor::text::width;

    #[test]
    fn rooms_and_participants_are_listed_with_their_statistics() {
        let mut state = lab(&[participant("ann", "Ann"), participant("bob", "B\u{1b}[31mob")]);
        state.on_update(began("LAB001", "ann", "r1"), NOW);
        state.on_update(answered("LAB001", "ann", "r1"), NOW);
        let lines = lines(&state, NOW + 3000, 79, 23);
        assert_eq!(lines[0], "22:13:23Z  http://hub:3000  1 rooms  2 online  0 busy  0 offline  up");
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(3), ["LAB001", "Lab", "2", "1", "0", "210ms", "40.0"]);
        assert_eq!(words(6), ["LAB001", "Ann", "llama3", "online", "1", "0", "210ms", "40.0", "3s"]);
        // Numbers are aligned with the right edge of their headings.
        for (head, below, end) in [(2, 3, "TOK/S"), (5, 6, "SEEN")] {
            assert_eq!(lines[head].find(end).map(|at| at + end.len()), Some(lines[below].len()));
        }
        assert!(lines[7].starts_with("LAB001  B\u{fffd}[31mob"), "{}", lines[7]);
    }

    #[test]
    fn the_table_fits_every_terminal_size() {
        let many: Vec<_> = (0..500).map(|n| participant(&format!("p{n}"), &"🎉".repeat(200))).collect();
        let mut state = lab(&many);
        let rooms = (0..300).map(|n| crate::monitor::fixtures::room(&format!("R{n:05}"), &"שלום ".repeat(40)));
        state.on_update(Update::Rooms(rooms.chain([state.rooms["LAB001"].info.clone()]).collect(), 0), NOW);
        for (columns, rows) in [(79, 23), (199, 59), (40, 10), (1, 1), (0, 0)] {
            let lines = lines(&state, NOW, columns, rows);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}");
            assert!(lines.len() <= rows.max(10), "{} lines in {rows}", lines.len());
        }
        let all = lines(&state, NOW, 199, 59).join("\n");
        assert!(all.contains("more participants") && !all.contains("more rooms"), "{all}");
    }

    #[test]
    fn the_limits_of_an_older_hub_are_the_second_line() {
        let mut state = lab(&[]);
        state.on_update(Update::Limited(Some("Older hub: no figures.")), NOW);
        let lines = lines(&state, NOW, 99, 23);
        assert!(lines[1] == "Older hub: no figures." && lines[2].starts_with("ROOM"), "{lines:?}");
    }

    #[test]
    fn a_provider_that_is_down_a_lost_hub_and_a_refused_room_are_shown_as_such() {
        let mut down = participant("bob", "Bob");
        (down.status, down.provider_down) = (Status::Offline, true);
        let mut state = lab(&[participant("ann", "Ann"), down]);
        let all = lines(&state, NOW, 79, 23).join("\n");
        assert!(all.contains(" online ") && all.contains(" provider down ") && all.contains("1 offline"), "{all}");
        state.on_update(Update::Lost { reason: "cannot reach it".into(), retry_in: None }, NOW);
        let all = lines(&state, NOW, 99, 23).join("\n");
        assert!(all.contains("2 unknown") && !all.contains("online") && !all.contains("provider down"), "{all}");
        state.on_update(Update::Refused("LAB001".into(), "Invalid password".into()), NOW);
        let all = lines(&state, NOW, 99, 23).join("\n");
        assert!(all.contains("LOST: cannot reach it") && all.contains("Invalid password"), "{all}");
    }
}
