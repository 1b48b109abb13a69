//! Handlers of the management plane: health, rooms and participants (PROTOCOL.md, "Management plane").

use serde_json::json;

use crate::http::Exchange;
use crate::hub::access::credentials::key_holder;
use crate::hub::access::own_url::own_url;
use crate::hub::api::list::{ListFrame, send_members, send_rooms};
use crate::hub::api::registration::{
    self, check_password, invalid_participant_id, read_fields, read_loaded, read_profile, register,
};
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::respond::{Rejection, send_data};
use crate::proto::management::{Health, ParticipantToken, Registered, RoomCreated, Success, TunnelTicket};
use crate::proto::web::percent_encode;
use crate::state::id::ParticipantId;
use crate::state::registry::Upserted;
use crate::state::room::{Reach, Room};

const REQUIRED: [&str; 3] = ["nickname", "model", "endpoint"];

/// `GET /v1/health`.
pub fn health(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    let health = Health { status: "ok".into(), timestamp: hub.clock.now().wall };
    Ok(send_data(exchange, 200, health))
}

/// `GET /v1/rooms`.
pub fn list_rooms(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    let frame = ListFrame::envelope(exchange);
    let holder = key_holder(hub, exchange);
    send_rooms(hub, exchange, &frame, |items, room| {
        if holder.as_ref().is_none_or(|holder| holder.opens(room.code.as_str())) {
            items.add(&room.summary());
        }
    })
}

/// `POST /v1/rooms`.
pub fn create_room(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    let body = exchange.body()?;
    let room = registration::create_room(hub, exchange, &read_fields(&body)?)?;
    let host_id = room.host_id.clone();
    Ok(send_data(exchange, 201, RoomCreated { room, host_id }))
}

/// `GET /v1/rooms/{code}`.
pub fn get_room(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let room = hub.registry().room(&params[0]).map(Room::summary)?;
    Ok(send_data(exchange, 200, room))
}

/// `DELETE /v1/rooms/{code}`.
pub fn delete_room(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    registration::delete_room(hub, exchange, &params[0])?;
    Ok(send_data(exchange, 200, Success { success: true }))
}

/// `GET /v1/rooms/{code}/participants`.
pub fn list_participants(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let frame = ListFrame::envelope(exchange);
    send_members(hub, exchange, &params[0], &frame, |items, member| items.add(&member.shown()), |_| false)
}

/// `PUT /v1/rooms/{code}/participants/{id}`.
pub fn upsert(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let (code, id) = (&params[0], &params[1]);
    let password = hub.registry().room(code)?.password.clone();
    let body = exchange.body()?;
    let fields = read_fields(&body)?;
    let id = ParticipantId::parse(id).ok_or_else(invalid_participant_id)?;
    if fields.get("authHeaders").is_some() {
        return Err(Rejection::invalid("Participant auth headers are not accepted by the hub.")
            .hint("The provider's credentials stay on the participant's machine: pass them to its runtime (--header).")
            .details(json!({ "forbidden": ["authHeaders"] })));
    }
    let (profile, loaded) = (read_profile(&fields, &REQUIRED, 1)?, read_loaded(&fields)?);
    check_password(hub, exchange, &fields, code, password.as_ref())?;
    let upserted = register(hub, exchange, code, id, profile, loaded, Reach::Tunnel)?;
    let url = tunnel_url(hub, exchange, &upserted)?;
    let status = if upserted.created { 201 } else { 200 };
    let ticket = TunnelTicket { url, token: upserted.token.reveal().to_owned() };
    let registered = Registered {
        participant: upserted.participant,
        room_id: upserted.room_id,
        tunnel: ticket,
        participant_token: upserted.participant_token.map(|token| ParticipantToken(token.reveal().to_owned())),
    };
    Ok(send_data(exchange, status, registered))
}

/// The URL at which a participant opens its tunnel.
fn tunnel_url(hub: &HubContext, exchange: &Exchange<'_>, upserted: &Upserted) -> Result<String, Rejection> {
    let base = own_url(hub, exchange)?.replacen("http", "ws", 1);
    let id = percent_encode(&upserted.participant.id);
    Ok(format!("{base}/v1/rooms/{}/participants/{id}/tunnel", upserted.code))
}

/// `DELETE /v1/rooms/{code}/participants/{id}`.
pub fn remove(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    registration::remove(hub, exchange, &params[0], &params[1])?;
    Ok(send_data(exchange, 200, Success { success: true }))
}

/// `POST /v1/rooms/{code}/participants/{id}/heartbeat`.
pub fn heartbeat(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let report = registration::read_report(&exchange.body()?)?;
    let beat = registration::heartbeat(hub, exchange, &params[0], &params[1], &report)?;
    Ok(send_data(exchange, 200, beat))
}
