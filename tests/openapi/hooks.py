"""What Schemathesis can't know of a hub: how the document's own formats look, and which rooms and participants there are.

Here values are made, and nothing is left out: no check, no operation, no answer.

Rooms in which participants work are not those that participants are put into and taken out of: whoever named a room's
only participant in between would be told, rightly, that it is not connected (503).
"""

import os
import string

import schemathesis
from hypothesis import strategies as st

PROVIDER = os.environ["LAB_PROVIDER"]
#: Where participants work, and where they come and go.
WORK, MOVE = os.environ["LAB_WORK"].split(","), os.environ["LAB_MOVE"].split(",")
WORKER = os.environ["LAB_WORKER"]
#: In the first of the rooms above, made by its participant.
RESPONSES = os.environ["LAB_RESPONSES"].split(",")
#: Rooms to be deleted, and their hosts' ids.
DOOMED = [room.split(":") for room in os.environ["LAB_DOOMED"].split(",")]
#: What participants were given, by room and id.
TOKENS = {(room, WORKER): os.environ["LAB_TOKEN"] for room in WORK}
KEYED = bool(os.environ["LAB_KEYED"])

#: Operations that put participants in and take them out, and those that would delete the room under them.
MOVING = {"upsertParticipant", "removeParticipant", "olderJoin", "olderLeave"}
REGISTERING = {"upsertParticipant", "olderJoin"}
DELETING = {"deleteRoom", "olderDeleteRoom"}

unprintable = "".join(map(chr, [*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x206A), 0xFEFF]))
signs = st.characters(exclude_categories=["Cs"])
printable = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/" + unprintable)
ascii_text = st.text(string.ascii_letters + string.digits, min_size=1, max_size=64)


def bytes_up_to(most, text):
    """Text of so many bytes at most, of short and of the longest kind."""
    long = st.integers(most - 2, most).map(lambda length: "x" * length)
    return st.one_of(text.filter(lambda value: len(value.encode()) <= most), long)


schemathesis.openapi.format("text", bytes_up_to(1024, st.text(signs)))
schemathesis.openapi.format("long-text", bytes_up_to(65536, st.text(signs)))
schemathesis.openapi.format(
    "participant-id", st.one_of(st.sampled_from([WORKER, "bob", "größe 7"]), bytes_up_to(128, st.text(printable, min_size=1)))
)
schemathesis.openapi.format("response-id", st.one_of(st.sampled_from(RESPONSES), st.text(signs, min_size=1)))
schemathesis.openapi.format("http-url", st.sampled_from([PROVIDER, PROVIDER + "/", PROVIDER + "/v1"]))
schemathesis.openapi.format(
    "selector",
    st.one_of(
        st.sampled_from(["any", "*", WORKER, "m", "m:latest", "model:m", "model:none"]),
        ascii_text.map(lambda text: f"nobody {text}"),
    ),
)
schemathesis.openapi.format(
    "room-code",
    st.one_of(
        st.sampled_from([WORK[0], WORK[0].lower(), *WORK, *MOVE]),
        st.text(string.ascii_letters + string.digits, min_size=6, max_size=6),
    ),
)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """The document holds for hubs with and without a key: with one, nothing goes without credentials."""
    if not KEYED:
        return
    operations = [operation for item in raw_schema["paths"].values() for operation in item.values() if isinstance(operation, dict)]
    for holder in [raw_schema, *operations]:
        if holder.get("security"):
            holder["security"] = [way for way in holder["security"] if way]


@schemathesis.hook
def before_call(context, case, kwargs):
    operation, path = case.operation.definition.raw, case.path_parameters or {}
    name = operation["operationId"]
    code = path.get("code")
    known = code.upper() if isinstance(code, str) else None
    if path.get("responseId") in RESPONSES and known in WORK + MOVE:
        path["code"] = WORK[0]
    elif known in WORK + MOVE and name in DELETING and DOOMED:
        path["code"], host = DOOMED.pop()
        case.headers = {**(case.headers or {}), "X-Gambi-Host-Id": host}
    elif known in WORK and name in MOVING:
        path["code"] = MOVE[WORK.index(known)]
    elif known in MOVE and "inference" in operation["tags"]:
        path["code"] = WORK[MOVE.index(known)]
    headers = dict(case.headers or {})
    if name == "openTunnel":
        # A tunnel is asked for by WebSocket clients, which bring a handshake (RFC 6455, section 4.1).
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    if token := TOKENS.get(participant(case)):
        headers["X-Gambi-Participant-Token"] = token
    case.headers = headers


@schemathesis.hook
def after_call(context, case, response):
    """A participant keeps the token that it is given, and shows it from then on."""
    if case.operation.definition.raw["operationId"] in REGISTERING and response.status_code in (200, 201):
        answer = response.json()
        if token := answer.get("data", answer).get("participantToken"):
            TOKENS[participant(case)] = token


def participant(case):
    """The room and the id that a request is about."""
    path = case.path_parameters or {}
    body = case.body if isinstance(case.body, dict) else {}
    return str(path.get("code")).upper(), str(path.get("id", body.get("id")))
