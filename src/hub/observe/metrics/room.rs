//! A room's figures, of each participant and of each model.

use std::collections::BTreeMap;

use super::Counted;
use crate::hub::context::HubContext;
use crate::proto::metrics::{ModelMetrics, ParticipantMetrics, RoomMetrics, Windows};
use crate::state::Now;
use crate::state::registry::Missing;
use crate::state::room::Room;
use crate::state::stats::{Recent, Sum};

/// A room's figures; of an unknown room, that it is missing.
///
/// # Errors
/// When there is no room with this code.
pub fn of_room(hub: &HubContext, code: &str) -> Result<RoomMetrics, Missing> {
    let now = hub.clock.now();
    let (metrics, serials) = hub.registry().room(code).map(|room| present(room, now))?;
    Ok(filled(metrics, &serials, &hub.metrics.counted(), now.mono))
}

/// What goes on now, and the members' numbers.
fn present(room: &Room, now: Now) -> (RoomMetrics, Vec<u64>) {
    let members = room.members_in_order();
    let participants: Vec<ParticipantMetrics> = members
        .iter()
        .map(|member| ParticipantMetrics {
            participant_id: member.id.to_string(),
            nickname: member.profile.nickname.clone(),
            model: member.profile.model.clone(),
            status: member.status(),
            in_flight: u64::from(member.in_flight),
            windows: Windows::default(),
        })
        .collect();
    let metrics = RoomMetrics {
        room_code: room.code.to_string(),
        timestamp: now.wall,
        in_flight: participants.iter().map(|participant| participant.in_flight).sum(),
        queued: room.line.len() as u64,
        participants,
        ..RoomMetrics::default()
    };
    (metrics, members.iter().map(|member| member.serial).collect())
}

#[derive(Default)]
struct Model {
    participants: u64,
    in_flight: u64,
    sum: Sum,
}

/// With what has been counted of its members.
fn filled(mut room: RoomMetrics, serials: &[u64], counted: &Counted, now: u64) -> RoomMetrics {
    let (nothing, mut all) = (Recent::default(), Sum::default());
    let mut models = BTreeMap::<String, Model>::new();
    for (participant, serial) in room.participants.iter_mut().zip(serials) {
        // What it did with another model is no figure of this one.
        let kept = counted.members.get(serial).filter(|kept| kept.model == participant.model);
        let recent = kept.map_or(&nothing, |kept| &kept.recent);
        let model = models.entry(participant.model.clone()).or_default();
        model.participants += 1;
        model.in_flight += participant.in_flight;
        let mut own = Sum::default();
        for sum in [&mut own, &mut model.sum, &mut all] {
            sum.add(recent, now);
        }
        participant.windows = own.windows();
    }
    let shown = |(name, model): (String, Model)| ModelMetrics {
        model: name,
        participants: model.participants,
        in_flight: model.in_flight,
        windows: model.sum.windows(),
    };
    room.models = models.into_iter().map(shown).collect();
    room.windows = all.windows();
    room
}
