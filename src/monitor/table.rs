//! The plain table as lines of text, for a terminal of a given size. Pure.

use super::clean::one_line;
use super::figures::Figures;
use super::people::{Member, Room};
use super::state::{Link, State};
use super::text::{brief, clock, count, fit, span, speed};

/// Columns of the numbers: requests, errors, first token, tokens/s.
const NUMBERS: usize = 4 * 8;

/// All that is known, in as many lines as fit.
pub fn lines(state: &State, now: u64, columns: usize, rows: usize) -> Vec<String> {
    let mut lines = vec![head(state, now), String::new()];
    lines.push(format!("{:<7} {} {:>7}{}", "ROOM", fit("NAME", name_width(columns)), "HERE", HEADS));
    let rooms: Vec<&Room> = state.rooms.values().filter(|room| room.watched).collect();
    // Half the screen for rooms, if they need it; the rest is for those in them.
    let most = (rows.saturating_sub(6) / 2).max(1);
    lines.extend(rooms.iter().take(most).map(|room| room_line(room, state.hub_time(now), columns)));
    lines.extend(more(rooms.len(), most, "rooms"));
    lines.push(String::new());
    lines.push(format!(
        "{:<7} {} {:<9}{} {:>5}",
        "ROOM",
        who("PARTICIPANT", "MODEL", columns),
        "STATUS",
        HEADS,
        "SEEN"
    ));
    let left = rows.saturating_sub(lines.len() + 1).max(1);
    let members: Vec<_> = rooms.iter().flat_map(|room| room.members.values().map(move |m| (room, m))).collect();
    let shown = members.iter().take(left);
    lines.extend(shown.map(|(room, member)| member_line(room, member, state.hub_time(now), columns)));
    lines.extend(more(members.len(), left, "participants"));
    // Codes and the hub's address are as the hub wrote them.
    lines.iter().map(|line| fit(&one_line(line), columns).trim_end().to_owned()).collect()
}

const HEADS: &str = "     REQ     ERR   FIRST   TOK/S";

fn name_width(columns: usize) -> usize {
    columns.saturating_sub(7 + 1 + 1 + 7 + NUMBERS).clamp(8, 60)
}

fn more(all: usize, shown: usize, what: &str) -> Option<String> {
    (all > shown).then(|| format!("... and {} more {what}", all - shown))
}

fn head(state: &State, now: u64) -> String {
    let link = match &state.link {
        Link::Opening => "connecting".to_owned(),
        Link::Up => "up".to_owned(),
        Link::Lost { reason, .. } => format!("LOST: {reason}"),
    };
    let (up, busy, down) = state.tally(now);
    let rooms = state.rooms.len();
    format!("{}  {}  {rooms} rooms  {up} online  {busy} busy  {down} offline  {link}", clock(now), state.url)
}

fn numbers(figures: &Figures, now: u64) -> String {
    let first = figures.ttft(now).map_or("-".into(), brief);
    let rate = figures.speed(now).map_or("-".into(), speed);
    format!("{:>8}{:>8}{first:>8}{rate:>8}", count(figures.requests), count(figures.errors))
}

fn room_line(room: &Room, now: u64, columns: usize) -> String {
    let name = fit(&room.name, name_width(columns));
    let line = format!("{:<7} {name} {:>7}", room.told.code, room.count());
    match &room.refused {
        Some(why) => format!("{line}  {why}"),
        None => line + &numbers(&room.figures, now),
    }
}

/// Nickname and model share what the other columns leave.
fn who(name: &str, model: &str, columns: usize) -> String {
    let both = columns.saturating_sub(7 + 1 + 1 + 9 + NUMBERS + 1 + 5 + 1).clamp(12, 100);
    format!("{} {}", fit(name, both - both * 2 / 5), fit(model, both * 2 / 5))
}

fn member_line(room: &Room, member: &Member, now: u64, columns: usize) -> String {
    let seen = span(now.saturating_sub(member.told.last_seen));
    let who = who(&member.name, &member.model, columns);
    let numbers = numbers(&member.figures, now);
    format!("{:<7} {who} {:<9}{numbers} {seen:>5}", room.told.code, member.health(now).word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::samples::{NOW, answered, began, lab, participant};
    use crate::monitor::state::News;
    use crate::monitor::text::width;

    #[test]
    fn it_shows_who_is_there_and_how_they_do() {
        let mut state = lab(&[participant("ann", "Ann"), participant("bob", "B\u{1b}[31mob")]);
        state.hear(began("LAB001", "ann", "r1"), NOW);
        state.hear(answered("LAB001", "ann", "r1"), NOW);
        let lines = lines(&state, NOW + 3000, 79, 23);
        assert_eq!(lines[0], "22:13:23Z  http://hub:3000  1 rooms  2 online  0 busy  0 offline  up");
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(3), ["LAB001", "Lab", "2", "1", "0", "210ms", "40.0"]);
        assert_eq!(words(6), ["LAB001", "Ann", "llama3", "online", "1", "0", "210ms", "40.0", "3s"]);
        // Numbers end where their heads do.
        for (head, below, end) in [(2, 3, "TOK/S"), (5, 6, "SEEN")] {
            assert_eq!(lines[head].find(end).map(|at| at + end.len()), Some(lines[below].len()));
        }
        assert!(lines[7].starts_with("LAB001  B\u{fffd}[31mob"), "{}", lines[7]);
    }

    #[test]
    fn it_fits_whatever_there_is() {
        let many: Vec<_> = (0..500).map(|n| participant(&format!("p{n}"), &"🎉".repeat(200))).collect();
        let mut state = lab(&many);
        let rooms = (0..300).map(|n| crate::monitor::samples::room(&format!("R{n:05}"), &"שלום ".repeat(40)));
        state.hear(News::Rooms(rooms.chain([state.rooms["LAB001"].told.clone()]).collect(), 0), NOW);
        for (columns, rows) in [(79, 23), (199, 59), (40, 10), (1, 1), (0, 0)] {
            let lines = lines(&state, NOW, columns, rows);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}");
            assert!(lines.len() <= rows.max(10), "{} lines in {rows}", lines.len());
        }
        let all = lines(&state, NOW, 199, 59).join("\n");
        assert!(all.contains("more participants") && !all.contains("more rooms"), "{all}");
    }

    #[test]
    fn a_hub_that_is_gone_and_a_room_that_is_shut_say_so() {
        let mut state = lab(&[]);
        state.hear(News::Lost { reason: "cannot reach it".into(), again: None }, NOW);
        state.hear(News::Refused("LAB001".into(), "Invalid password".into()), NOW);
        let all = lines(&state, NOW, 99, 23).join("\n");
        assert!(all.contains("LOST: cannot reach it") && all.contains("Invalid password"), "{all}");
    }
}
