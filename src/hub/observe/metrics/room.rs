//! The statistics of a room: of each participant, of each model, and in all; and its history.

use std::collections::BTreeMap;

use super::ParticipantTable;
use crate::hub::context::HubContext;
use crate::proto::history::{ParticipantHistory, RoomHistory};
use crate::proto::metrics::{ModelMetrics, ParticipantMetrics, RoomMetrics, Windows};
use crate::state::Now;
use crate::state::registry::Missing;
use crate::state::room::Room;
use crate::state::stats::WindowSums;

/// The statistics of the room with this code.
///
/// # Errors
/// [`Missing::Room`] where there is none.
pub fn of_room(hub: &HubContext, code: &str) -> Result<RoomMetrics, Missing> {
    let now = hub.clock.now();
    let (metrics, serials) = hub.registry().room(code).map(|room| present_state(room, now))?;
    Ok(with_windows(metrics, &serials, &hub.metrics.participants(), now.mono))
}

/// The room's present state without figures of windows, and the serial numbers of its participants.
fn present_state(room: &Room, now: Now) -> (RoomMetrics, Vec<u64>) {
    let members = room.members_in_order();
    let participants: Vec<ParticipantMetrics> = members
        .iter()
        .map(|member| ParticipantMetrics {
            participant_id: member.id.to_string(),
            nickname: member.profile.nickname.clone(),
            model: member.profile.models.first().to_owned(),
            status: member.status(),
            in_flight: u64::from(member.in_flight),
            windows: Windows::default(),
        })
        .collect();
    let metrics = RoomMetrics {
        room_code: room.code.to_string(),
        timestamp: now.wall,
        in_flight: participants.iter().map(|participant| participant.in_flight).sum(),
        queued: room.queue.len() as u64,
        participants,
        ..RoomMetrics::default()
    };
    (metrics, members.iter().map(|member| member.serial).collect())
}

/// The history of the room with this code.
///
/// # Errors
/// [`Missing::Room`] where there is none.
pub fn history_of_room(hub: &HubContext, code: &str) -> Result<RoomHistory, Missing> {
    let now = hub.clock.now();
    let (code, members) = hub.registry().room(code).map(|room| {
        let members = room.members_in_order();
        let members: Vec<_> = members.iter().map(|member| (member.id.to_string(), member.serial)).collect();
        (room.code.clone(), members)
    })?;
    let participants = recent_minutes(&members, &hub.metrics.participants(), now);
    let (minutes, callers) = hub.metrics.history().of(&code, now);
    Ok(RoomHistory { room_code: code.to_string(), timestamp: now.wall, minutes, callers, participants })
}

/// The last minutes of those of these participants that had requests in them.
fn recent_minutes(members: &[(String, u64)], table: &ParticipantTable, now: Now) -> Vec<ParticipantHistory> {
    let history = |(id, serial): &(String, u64)| {
        let (requests, output_tokens) = table.members.get(serial)?.recent.minutes(now.mono)?;
        Some(ParticipantHistory { participant_id: id.clone(), requests, output_tokens })
    };
    members.iter().filter_map(history).collect()
}

/// The sums of all participants with one model.
#[derive(Default)]
struct ModelSums {
    participants: u64,
    in_flight: u64,
    windows: WindowSums,
}

/// Adds the figures of the windows that end at `now`, milliseconds on the monotonic clock.
fn with_windows(mut room: RoomMetrics, serials: &[u64], table: &ParticipantTable, now: u64) -> RoomMetrics {
    let mut all = WindowSums::default();
    let mut models = BTreeMap::<String, ModelSums>::new();
    for (participant, serial) in room.participants.iter_mut().zip(serials) {
        let model = models.entry(participant.model.clone()).or_default();
        model.participants += 1;
        model.in_flight += participant.in_flight;
        // Figures of a model that the participant served before are left out.
        let stats = table.members.get(serial).filter(|stats| stats.model == participant.model);
        let Some(recent) = stats.map(|stats| &stats.recent) else { continue };
        let mut own = WindowSums::default();
        for sums in [&mut own, &mut model.windows, &mut all] {
            sums.add(recent, now);
        }
        participant.windows = own.windows();
    }
    let metrics_of = |(name, model): (String, ModelSums)| ModelMetrics {
        model: name,
        participants: model.participants,
        in_flight: model.in_flight,
        windows: model.windows.windows(),
    };
    room.models = models.into_iter().map(metrics_of).collect();
    room.windows = all.windows();
    room
}
