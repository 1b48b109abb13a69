"""What Schemathesis can't know of a hub: which rooms, participants and responses there are, what WebSocket clients add to a
request, and that the hub counts bytes where JSON Schema counts characters.

Here well-formed values are exchanged for such as mean something, and nothing is left out: no check, no operation, no answer.
What is not well-formed goes out as it was made up.

Rooms in which participants work are not those that participants are put into and taken out of: whoever named a room's
only participant in between would be told, rightly, that it is not connected (503).
"""

import os
import re
from zlib import crc32

import schemathesis

PROVIDER = os.environ["LAB_PROVIDER"]
#: Where participants work, and where they come and go.
WORK, MOVE = os.environ["LAB_WORK"].split(","), os.environ["LAB_MOVE"].split(",")
WORKER = os.environ["LAB_WORKER"]
#: In the first of the rooms above, made by its participant.
RESPONSES = os.environ["LAB_RESPONSES"].split(",")
#: Rooms to be deleted, and their hosts' ids.
DOOMED = [room.split(":") for room in os.environ["LAB_DOOMED"].split(",")]
#: Participants to be removed from the first room in which they come and go, and their tokens.
LEAVING = [participant.split(":") for participant in os.environ["LAB_LEAVING"].split(",")]
KEYED = bool(os.environ["LAB_KEYED"])

#: Operations that put participants in and take them out, those of participants that work, and those that make and delete
#: rooms.
REGISTERING = {"upsertParticipant", "olderJoin"}
REMOVING = {"removeParticipant", "olderLeave"}
MOVING = REGISTERING | REMOVING
LIVING = {"heartbeat", "olderHeartbeat"}
#: What works with no model, and so is not traced (`is_observed` in src/hub/relay/operation.rs).
UNTRACED = {"cancelResponse", "ollamaShow"}
MAKING, DELETING = {"createRoom", "olderCreateRoom"}, {"deleteRoom", "olderDeleteRoom"}

IDS = [WORKER, WORKER, WORKER, "größe 7"]
SELECTORS = ["any", "*", WORKER, "m", "m:latest", "model:m", "model:none", "nobody"]
ID = r"[^/\x00-\x1f\x7f-\x9f]{1,128}"
ENDPOINTS = [PROVIDER, PROVIDER + "/", PROVIDER + "/v1"]

#: Codes of rooms that were made, and what participants were given, by room and id.
made = set()
#: Requests that were answered: rooms and ids.
requests = []
tokens = {(room, WORKER): os.environ["LAB_TOKEN"] for room in WORK}


def one_of(options, value):
    """The same for the same value, so that a failure can be reproduced."""
    return options[crc32(repr(value).encode()) % len(options)]


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """The document holds for hubs with and without a key: with one, nothing goes without credentials."""
    if not KEYED:
        return
    items = raw_schema["paths"].values()
    operations = [operation for item in items for operation in item.values() if isinstance(operation, dict)]
    for holder in [raw_schema, *operations]:
        if holder.get("security"):
            holder["security"] = [way for way in holder["security"] if way]


@schemathesis.hook
def before_call(context, case, kwargs):
    operation, path = case.operation.definition.raw, case.path_parameters or {}
    headers = dict(case.headers or {})
    name = operation["operationId"]
    if isinstance(case.body, dict):
        case.body = fewer_bytes(body(case.body))
    if well_formed(path.get("id"), ID):
        if "inference" in operation["tags"]:
            path["id"] = one_of(SELECTORS, path["id"])
        else:
            path["id"] = someone(path["id"])
    if well_formed(path.get("code"), "[A-Za-z0-9]{6}"):
        path["code"] = room(path["code"], operation)
    code = str(path.get("code")).upper()
    if name in LIVING and code in WORK:
        stay(case)
    if name in REMOVING and code in MOVE and path["id"] in IDS and LEAVING:
        path["code"], (path["id"], headers["X-Gambi-Participant-Token"]) = MOVE[0], LEAVING.pop()
    response = path.get("responseId")
    if code in WORK and isinstance(response, str) and not response.startswith("resp_"):
        path["code"], path["responseId"] = WORK[0], one_of(RESPONSES, response)
    if name == "requestTrace" and requests and well_formed(path.get("requestId"), "[0-9a-f-]{36}"):
        path["code"], path["requestId"] = requests[-1]
    if name in DELETING and code in MOVE and DOOMED:
        path["code"], headers["X-Gambi-Host-Id"] = DOOMED.pop()
    if name == "openTunnel":
        # A tunnel is asked for by WebSocket clients, which bring a handshake (RFC 6455, section 4.1).
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        # With a token that a registration told it, Schemathesis would get a tunnel, and it speaks HTTP only.
        if well_formed((case.query or {}).get("token"), "[A-Za-z0-9_-]{41}"):
            case.query["token"] += "-spent"
    if token := tokens.get(participant(case)):
        headers["X-Gambi-Participant-Token"] = token
    case.headers = headers


@schemathesis.hook
def after_call(context, case, response):
    """A participant keeps the token that it is given, and shows it from then on."""
    name = case.operation.definition.raw["operationId"]
    if name in REGISTERING | MAKING and response.status_code in (200, 201):
        answer = response.json()
        answer = answer.get("data", answer)
        if name in MAKING:
            made.add(answer["room"]["code"])
        elif token := answer.get("participantToken"):
            tokens[participant(case)] = token
    traced = "inference" in case.operation.definition.raw["tags"] and name not in UNTRACED
    if traced and response.status_code == 200:
        # Who made a request may ask how it went.
        request = response.headers.get("x-gambi-request-id")
        if request and case.operation.method.upper() == "POST":
            requests.append((case.path_parameters["code"], request[0] if isinstance(request, list) else request))


def stay(case):
    """Who works in a room is named in place of somebody who may be there."""
    for holder in (case.path_parameters, case.body):
        if isinstance(holder, dict) and holder.get("id") in IDS:
            holder["id"] = WORKER


def well_formed(value, pattern):
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def room(code, operation):
    """A room that is there, where the operation may go on; one code in eight stays as it was made up."""
    is_made = code.upper() in made
    if "inference" in operation["tags"]:
        rooms = WORK
    elif is_made:
        return code
    elif operation["operationId"] in MOVING | DELETING:
        rooms = MOVE
    elif operation["operationId"] in LIVING:
        rooms = WORK
    else:
        rooms = WORK + MOVE
    if code.upper() in rooms or (not is_made and one_of(range(8), code) == 0):
        return code
    if code.upper() == WORK[0]:
        return rooms[0]
    # Mostly the first, which asks for no password.
    return one_of([rooms[0], rooms[0].lower(), *rooms], code)


def body(body):
    """A request with participants that are there, and the provider that is there."""
    body = dict(body)
    if well_formed(body.get("endpoint"), r"https?://[^\s/?#:][^\s]*"):
        body["endpoint"] = one_of(ENDPOINTS, body["endpoint"])
    elif isinstance(body.get("model"), str) and body["model"] and "endpoint" not in body and "nickname" not in body:
        body["model"] = one_of(SELECTORS, body["model"])
    if well_formed(body.get("id"), ID):
        # Whoever joins by the one plane is not to take an id of the other's: 409.
        body["id"] = "older" if "endpoint" in body else someone(body["id"])
    return body


def someone(id):
    """A participant that may be there, unless the id is that of one who was registered."""
    return id if any(known == id for _, known in tokens) else one_of(IDS, id)


def fewer_bytes(value):
    """Text of as many characters, each of one byte, where it has no more characters than the hub takes bytes."""
    if isinstance(value, dict):
        return {key: fewer_bytes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [fewer_bytes(item) for item in value]
    if isinstance(value, str) and any(len(value) <= most < len(value.encode()) for most in (1024, 65536)):
        return "".join(sign if sign.isascii() else "x" for sign in value)
    return value


def participant(case):
    """The room and the id that a request is about."""
    path = case.path_parameters or {}
    body = case.body if isinstance(case.body, dict) else {}
    return str(path.get("code")).upper(), str(path.get("id", body.get("id")))
