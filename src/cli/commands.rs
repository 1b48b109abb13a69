//! All commands and flags, as data: the source of parsing, `--help`, the man page, completions and the manual's page of
//! flags.

/// A flag.
#[derive(Debug, PartialEq, Eq)]
pub struct Flag {
    /// Long name, without the dashes.
    pub name: &'static str,
    /// One-letter name.
    pub short: Option<char>,
    /// Placeholder of the value in the help; `None` for a switch.
    pub value: Option<&'static str>,
    /// Description, one line.
    pub help: &'static str,
}

/// A command.
#[derive(Debug)]
pub struct Command {
    /// The words that select it, such as `["room", "create"]`.
    pub path: &'static [&'static str],
    /// Description, one line.
    pub about: &'static str,
    /// The flag whose value may be given as a positional argument.
    pub positional: Option<&'static Flag>,
    /// Its own flags; the [`COMMON`] flags are added to every command.
    pub flags: &'static [&'static Flag],
    /// Whether it prints a stream of events rather than one result.
    pub streams: bool,
    /// Examples: a description and a command line each.
    pub examples: &'static [(&'static str, &'static str)],
}

impl Command {
    /// The name as typed, such as `room create`.
    pub fn name(&self) -> String {
        self.path.join(" ")
    }

    /// Its own flags and the common ones.
    pub fn all_flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().copied().chain(COMMON.iter().copied())
    }
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, value: None, help }
}

const fn value(name: &'static str, short: Option<char>, value: &'static str, help: &'static str) -> Flag {
    Flag { name, short, value: Some(value), help }
}

/// Flags of every command.
pub static COMMON: &[&Flag] = &[
    &HUB,
    &HUB_FINGERPRINT,
    &KEY_FILE,
    &ENV,
    &FORMAT,
    &INTERACTIVE,
    &NO_INTERACTIVE,
    &VERBOSE,
    &QUIET,
    &HELP,
    &VERSION,
];

static HUB: Flag = value(
    "hub",
    Some('H'),
    "URL|auto",
    "The hub, or `auto` to find it by mDNS [GAMBI_HUB; default http://localhost:3000]",
);
static HUB_FINGERPRINT: Flag = value(
    "hub-fingerprint",
    None,
    "TEXT",
    "Fingerprint of the hub's certificate, which must then be that one [GAMBI_HUB_FINGERPRINT]",
);
static KEY_FILE: Flag = value(
    "key-file",
    None,
    "FILE",
    "File with the hub's key: `hub serve` requires it of every client, other commands send it [GAMBI_HUB_KEY]",
);
static ENV: Flag = value("env", None, "NAME", "Environment of the config file to use [GAMBI_ENV]");
static FORMAT: Flag = value(
    "format",
    None,
    "text|json|ndjson",
    "Output format [GAMBI_FORMAT; default text on a terminal and for chat, otherwise json, or ndjson for commands that stream]",
);
static INTERACTIVE: Flag =
    switch("interactive", "Prompt for missing values, optional ones too; an error without a terminal");
static NO_INTERACTIVE: Flag = switch("no-interactive", "Never prompt [GAMBI_NO_INTERACTIVE=1]");
static VERBOSE: Flag = switch("verbose", "Print more details on stderr");
static QUIET: Flag = switch("quiet", "Print only errors on stderr");
static HELP: Flag = Flag { name: "help", short: Some('h'), value: None, help: "Print this help" };
static VERSION: Flag = Flag { name: "version", short: Some('V'), value: None, help: "Print the version" };

static DRY_RUN: Flag = switch("dry-run", "Check all values and print what would be done, without doing it");
static HOST: Flag = value("host", None, "ADDRESS", "Address to listen on [default 0.0.0.0]");
static PORT: Flag = value("port", None, "PORT", "Port to listen on; 0 takes a free one [default 3000]");
static LOCAL_HOST: Flag = value("host", None, "ADDRESS", "Address to listen on [default 127.0.0.1]");
static MDNS: Flag = switch("mdns", "Announce the hub on the local network by mDNS");
static CORS: Flag = value(
    "cors",
    None,
    "ORIGIN",
    "Web origin whose pages may use a hub without a key, or * for all [default: the hub's own]",
);
static TLS: Flag =
    value("tls", None, "self", "Serve TLS with a key that the hub makes once, and print its fingerprint");
static TLS_CERT: Flag =
    value("tls-cert", None, "FILE", "Certificate chain in PEM with which the hub serves TLS; read again on SIGHUP");
static TLS_KEY: Flag = value(
    "tls-key",
    None,
    "FILE",
    "Key of the certificate in PEM; with --tls self, where both are kept, else in ~/.local/state/gambi/hub.pem",
);
static CODE_PREFIX: Flag = value(
    "code-prefix",
    None,
    "LETTERS",
    "What the codes of all rooms begin with, for a proxy in front of several hubs: one or two letters or digits",
);
static PUBLIC_URL: Flag =
    value("public-url", None, "URL", "The hub's URL as clients see it, if it runs behind a proxy");
static MAX_HEAD: Flag = value("max-head", None, "SIZE", "Maximum size of a request's head [default 32KiB]");
static MAX_HEADERS: Flag =
    value("max-headers", None, "COUNT", "Maximum number of a request's header lines [default 100]");
static MAX_BODY: Flag = value("max-body", None, "SIZE", "Maximum size of a request's body [default 32MiB]");
static HEAD_TIMEOUT: Flag = value(
    "head-timeout",
    None,
    "TIME",
    "Time limit for receiving a request's head, and for a TLS handshake [default 10s]",
);
static BODY_TIMEOUT: Flag =
    value("body-timeout", None, "TIME", "Longest pause while receiving a request's body [default 60s]");
static KEEP_ALIVE_TIMEOUT: Flag =
    value("keep-alive-timeout", None, "TIME", "How long an idle connection stays open [default 75s]");
static WRITE_TIMEOUT: Flag =
    value("write-timeout", None, "TIME", "Time limit for one write to a connection [default 30s]");
static MAX_CONNECTIONS: Flag = value(
    "max-connections",
    None,
    "COUNT",
    "Maximum number of open connections; lower if ulimit -n requires it [default 1024]",
);

static MEMORY: Flag = value(
    "memory",
    None,
    "SIZE",
    "Memory limit for data received from peers; formerly --body-memory [default a quarter of the machine's, at most 256MiB]",
);
static QUEUE_TIMEOUT: Flag = value(
    "queue-timeout",
    None,
    "TIME",
    "How long a request may wait for a busy participant; 0 rejects it at once [default 30s]",
);
static QUEUE_LIMIT: Flag =
    value("queue-limit", None, "COUNT", "Maximum number of waiting requests in each room [default 64]");
static FIRST_BYTE_TIMEOUT: Flag =
    value("first-byte-timeout", None, "TIME", "Time limit for the first byte of a response's body [default 600s]");
static ANSWER_TIMEOUT: Flag =
    value("idle-timeout", None, "TIME", "Longest pause within a response's body [default 300s]");

static NO_HEDGE: Flag = switch("no-hedge", "Send no request to a second participant while the first is silent");
static DRAIN_TIMEOUT: Flag = value(
    "drain-timeout",
    None,
    "TIME",
    "Time for requests in flight to end after a signal; 0 aborts them [default 30s]",
);
static DIRECT: Flag = value(
    "direct",
    None,
    "off|private|any",
    "Which endpoints of direct participants the hub calls: none, those in private networks, or all [default private]",
);
static DECLARE_ROOM: Flag = value("room", None, "CODE=NAME", "Room to create at startup; may be repeated");
static ROOMS_FILE: Flag = value(
    "rooms",
    None,
    "FILE",
    "Rooms to create at startup: a JSON list with code, name, password or passwordHash, defaults",
);
static ROOM_TTL: Flag =
    value("room-ttl", None, "TIME", "Remove rooms that have been unused for this long [default never]");
static EMPTY_ROOM_TTL: Flag =
    value("empty-room-ttl", None, "TIME", "Remove rooms that have had no participants for this long [default never]");
static KEYS: Flag = value(
    "keys",
    None,
    "FILE",
    "Keys of people: a JSON list with name, key or keyHash, rooms, limits, priority; read again on SIGHUP or a change",
);
static USAGE: Flag =
    value("usage", None, "FILE", "Append a JSON line for each finished request: who, what, how many tokens");
static USAGE_MAX_SIZE: Flag = value(
    "usage-max-size",
    None,
    "SIZE",
    "Size at which the file of usage is renamed to FILE.1 and begun anew [default 64MiB]",
);
static USAGE_FILE: Flag = value("file", None, "FILE", "The file of `hub serve --usage`; also without the flag");
static BY: Flag = value("by", None, "caller|model|participant", "What the rows of the table are [default caller]");
static SINCE: Flag = value(
    "since",
    None,
    "TIME|DATE",
    "Count only requests that ended in the last TIME, such as 12h or 30d, or from the DATE on, such as 2026-11-01",
);
static STRICT: Flag = switch("strict", "Require a participant's own token to renew, keep alive or remove it");
static DEFAULT_ROOM: Flag = value(
    "default-room",
    None,
    "CODE",
    "Room whose /v1 and /api routes are served at the root too, for clients that take no path [GAMBI_DEFAULT_ROOM]",
);
static NO_DASHBOARD: Flag = switch("no-dashboard", "Serve no dashboard at /");
static WATCH_TIME: Flag = value(
    "watch-time",
    None,
    "TIME",
    "End event streams after this time, for proxies that limit the length of a stream [default never]",
);
static KNOWN_AS: Flag = value(
    "known-as",
    None,
    "NAME",
    "Host name of the hub that requests may use, for a hub without a key; may be repeated",
);
static TRUSTED_PROXY: Flag =
    value("trusted-proxy", None, "ADDRESS", "Address or range whose X-Forwarded headers are trusted; may be repeated");
static LOG_FORMAT: Flag = value(
    "log-format",
    None,
    "text|json",
    "Format of the log lines on stderr; short ones on a terminal without it [GAMBI_LOG_FORMAT; default text]",
);
static LOG_LEVEL: Flag = value(
    "log-level",
    None,
    "off|error|warn|info|debug",
    "Lowest level to log; info logs a line for each request [GAMBI_LOG_LEVEL; default info]",
);
static OFFLINE_TTL: Flag = value(
    "offline-ttl",
    None,
    "TIME",
    "Remove participants that have been offline for this long; 0 keeps them [default 1h]",
);
static REGISTRY_MEMORY: Flag = value(
    "registry-memory",
    None,
    "SIZE",
    "Memory limit for rooms and participants together [default a sixteenth of the machine's, at most 64MiB]",
);
static KEY_NAME: Flag = value("name", Some('n'), "NAME", "Whose key it is; also as an argument without the flag");
static KEY_ROOMS: Flag =
    value("rooms", None, "CODES", "Rooms that it opens, with commas between them; without the flag all");
static AT_ONCE: Flag = value("requests-at-once", None, "COUNT", "Limit of requests at a time");
static PER_MINUTE: Flag = value("requests-per-minute", None, "COUNT", "Limit of requests in a minute");
static PER_DAY: Flag = value("tokens-per-day", None, "COUNT", "Limit of tokens in a day, by UTC");
static PRIORITY: Flag =
    value("priority", None, "NUMBER", "Requests of a higher one get slots first, -100 to 100; without the flag 0");
static ADMIN: Flag = switch("admin", "The key is as good as the hub's own");
static JSON: Flag = Flag {
    name: "json",
    short: Some('j'),
    value: None,
    help: "Print the rooms as a JSON array, without data and meta",
};

static HOST_ID: Flag = value("host-id", None, "ID", "The hostId that `room create` returned");
static RECONNECT: Flag = switch("reconnect", "Reconnect when the session is lost, until stopped");
static PROMPT: Flag = value("prompt", None, "PROMPT", "The prompt; also as an argument without the flag, or on stdin");
static SELECTOR: Flag =
    value("model", Some('m'), "SELECTOR", "A participant's id, a model, model:NAME, or any [default any]");
static SYSTEM: Flag = value("system", Some('s'), "TEXT", "System message before the prompt");
static THINKING: Flag = value(
    "thinking",
    None,
    "show|hide",
    "Whether the model's thinking is printed, on stderr; if not given, only on a terminal",
);
static NO_HISTORY: Flag = switch("no-history", "Neither read nor keep the prompts of conversations");
static LISTEN: Flag = value("timeout", None, "TIME", "How long to listen [default 2s]");
static SHELL: Flag = value("shell", None, "bash|zsh|fish", "The shell; also as an argument without the flag");

static WORD: Flag = value(
    "arg",
    None,
    "WORD",
    "Word of the command line to complete, as the scripts give them; may be repeated, or all follow `--`",
);
static MANAGER: Flag =
    value("manager", None, "systemd|openwrt|launchd", "The service manager; also as an argument without the flag");
static ROLE: Flag = value("for", None, "hub|participant", "What the service runs [default hub]");
static BIN: Flag =
    value("bin", None, "PATH", "Path of the gambi binary [default /usr/local/bin/gambi; openwrt /usr/bin/gambi]");
static ARG: Flag =
    value("arg", None, "TEXT", "Argument for the command that the service runs; may be repeated, or all follow `--`");

static ROOM_NAME: Flag = value("name", Some('n'), "NAME", "The room's name");
static NEW_PASSWORD: Flag = value("password", Some('p'), "TEXT", "Password that participants need to join");
static PRIVATE: Flag = switch("private", "Require the password for requests, lists and events too");
static DEFAULTS: Flag =
    value("config", None, "PATH|-", "File with the room's generation settings, a JSON object; - for stdin");
static SORT: Flag =
    value("sort", None, "participant-count|created-at|name", "Order of the list [default participant-count]");
static REVERSE: Flag = switch("reverse", "Reverse the order");
static INVITED_PASSWORD: Flag = value("password", Some('p'), "TEXT", "Password of the room to put into the invitation");
static INVITED_PASSWORD_FILE: Flag =
    value("password-file", None, "FILE", "File with the password to put into the invitation");
static WITH_KEY: Flag = switch("with-key", "Put the hub's key into the invitation");
static NEW_KEY: Flag = value(
    "new-key",
    None,
    "NAME",
    "Put a new key of a person for this room into the invitation, and print its line for the file of `hub serve --keys`",
);
static INVITE: Flag = value(
    "invite",
    None,
    "INVITATION",
    "What `room invite` printed, in place of --hub and --room; also as an argument without the flag",
);
static CODE: Flag = value("code", Some('c'), "CODE", "The room's code");
static OVER: Flag =
    value("over", None, "1m|5m|15m", "Time window of the table; JSON output has all three [default 5m]");

static ROOM: Flag = value("room", Some('r'), "CODE", "The room's code");
static PARTICIPANT: Flag = value("participant-id", None, "ID", "The participant's id; a stable one makes a retry safe");
static MODEL: Flag =
    value("model", Some('m'), "NAME", "The model, as the provider calls it; may be repeated, the first is the default");
static MODELS: Flag = value("models", None, "all", "In place of --model: all models that the provider has");
static ENDPOINT: Flag = value("endpoint", Some('e'), "URL", "The provider's base URL [default http://localhost:11434]");
static NICKNAME: Flag =
    value("nickname", Some('n'), "NAME", "Display name [default MODEL@ID6, or the id with --models all]");
static PASSWORD: Flag = value("password", Some('p'), "TEXT", "The room's password [GAMBI_ROOM_PASSWORD]");
static PASSWORD_FILE: Flag =
    value("password-file", None, "FILE", "File with the password, which keeps it out of the list of processes");
static TOKEN_FILE: Flag = value(
    "token-file",
    None,
    "FILE",
    "File for the participant's own token, which a strict hub requires; created when joining",
);
static HEADER: Flag =
    value("header", None, "NAME=VALUE", "Header for requests to the provider, never sent to the hub; may be repeated");
static HEADER_ENV: Flag = value(
    "header-env",
    None,
    "NAME=VARIABLE",
    "Like --header, with the value of an environment variable; may be repeated",
);
static CONFIG: Flag =
    value("config", None, "PATH|-", "File with the participant's generation settings, a JSON object; - for stdin");
static CONCURRENCY: Flag =
    value("concurrency", None, "COUNT", "Number of requests that the provider handles at once, 1 to 4096 [default 1]");
static WEIGHT: Flag =
    value("weight", None, "COUNT", "Share of the requests in proportion to other participants, 1 to 100 [default 1]");
static FALLBACK: Flag = switch("fallback", "Handle only requests that no other participant can");
static ALIAS: Flag = value("alias", None, "NAME", "Additional name of the first model; may be repeated");
static JSON_FRAMES: Flag =
    switch("json-frames", "Send responses as JSON, for proxies that do not pass binary WebSocket messages");
static NO_SPECS: Flag = switch("no-specs", "Do not send this machine's hardware details to the hub");

static NETWORK_ENDPOINT: Flag = value(
    "network-endpoint",
    None,
    "URL",
    "Accepted and ignored: the provider is reached through the tunnel, so the hub needs no address of it",
);
static NO_NETWORK_REWRITE: Flag =
    switch("no-network-rewrite", "Accepted and ignored: through a tunnel, no endpoint needs rewriting");

static WATCHED: Flag = value(
    "room",
    Some('r'),
    "CODE",
    "Room to watch; may be repeated [default: the first twenty]. With --serve, CODE=NAME creates the room",
);
static PLAIN: Flag = switch("plain", "Show the plain table, even if the terminal interface is built in");
static EMBED: Flag = switch("serve", "Run a hub in this process and watch it");

static PROVIDER_PORT: Flag = value("port", None, "PORT", "Port to listen on; 0 takes a free one [default 11435]");
static PROVIDER_MODEL: Flag = value("model", Some('m'), "NAME", "Name of the provider's only model [default echo]");
static DELAY: Flag = value("delay", None, "MS", "Pause before each piece of an answer, in milliseconds [default 0]");
static DEMO_DELAY: Flag =
    value("delay", None, "MS", "Pause before each piece of an answer, in milliseconds [default 60]");
static DEMO_PORT: Flag = value("port", None, "PORT", "Port of the hub; 0 takes a free one [default 0]");
static ONCE: Flag = switch("once", "End after the chat; the exit code is 0 only if the answer came through the tunnel");

static SERVE: &[&Flag] = &[
    &HOST,
    &PORT,
    &MDNS,
    &DECLARE_ROOM,
    &ROOMS_FILE,
    &DEFAULT_ROOM,
    &DIRECT,
    &ROOM_TTL,
    &EMPTY_ROOM_TTL,
    &OFFLINE_TTL,
    &TLS,
    &TLS_CERT,
    &TLS_KEY,
    &CORS,
    &PUBLIC_URL,
    &CODE_PREFIX,
    &TRUSTED_PROXY,
    &KNOWN_AS,
    &KEYS,
    &USAGE,
    &USAGE_MAX_SIZE,
    &STRICT,
    &NO_DASHBOARD,
    &MAX_HEAD,
    &MAX_HEADERS,
    &MAX_BODY,
    &HEAD_TIMEOUT,
    &BODY_TIMEOUT,
    &KEEP_ALIVE_TIMEOUT,
    &WRITE_TIMEOUT,
    &MAX_CONNECTIONS,
    &MEMORY,
    &REGISTRY_MEMORY,
    &QUEUE_TIMEOUT,
    &QUEUE_LIMIT,
    &FIRST_BYTE_TIMEOUT,
    &ANSWER_TIMEOUT,
    &NO_HEDGE,
    &WATCH_TIME,
    &DRAIN_TIMEOUT,
    &LOG_FORMAT,
    &LOG_LEVEL,
    &DRY_RUN,
];
const JOIN: &[&Flag] = &[
    &INVITE,
    &ROOM,
    &PARTICIPANT,
    &MODEL,
    &MODELS,
    &ENDPOINT,
    &NICKNAME,
    &PASSWORD,
    &PASSWORD_FILE,
    &TOKEN_FILE,
    &HEADER,
    &HEADER_ENV,
    &CONFIG,
    &CONCURRENCY,
    &WEIGHT,
    &FALLBACK,
    &ALIAS,
    &NO_SPECS,
    &JSON_FRAMES,
    &RECONNECT,
    &DRAIN_TIMEOUT,
    &DRY_RUN,
];

static FLAT_JOIN: [&Flag; JOIN.len() + 2] = concat(JOIN, &[&NETWORK_ENDPOINT, &NO_NETWORK_REWRITE]);

/// The flags of both lists; `N` is the sum of their lengths.
const fn concat<const N: usize>(first: &[&'static Flag], second: &[&'static Flag]) -> [&'static Flag; N] {
    let mut all = [first[0]; N];
    let mut i = 1;
    while i < N {
        all[i] = if i < first.len() { first[i] } else { second[i - first.len()] };
        i += 1;
    }
    all
}

/// All commands, in the order of the help.
pub static COMMANDS: &[Command] = &[
    Command {
        path: &["hub", "serve"],
        about: "Run a hub",
        positional: None,
        flags: SERVE,
        streams: true,
        examples: &[
            ("For the whole network, announced by mDNS", "gambi hub serve --mdns"),
            ("For this machine only, on a free port", "gambi hub serve --host 127.0.0.1 --port 0"),
            ("With TLS, and a key of its own", "gambi hub serve --tls self"),
            ("Behind a proxy that terminates TLS", "gambi hub serve --public-url https://hub.example"),
            ("In Ollama's place, for its clients", "gambi hub serve --room LAB001=Lab --default-room LAB001"),
        ],
    },
    Command {
        path: &["key", "new"],
        about: "Make a person's key, and the line for the file of `hub serve --keys`",
        positional: Some(&KEY_NAME),
        flags: &[&KEY_NAME, &KEY_ROOMS, &AT_ONCE, &PER_MINUTE, &PER_DAY, &PRIORITY, &ADMIN],
        streams: false,
        examples: &[
            (
                "For one room, with limits",
                "gambi key new ann --rooms ABC234 --requests-per-minute 30 --tokens-per-day 200000",
            ),
            ("For someone who manages rooms", "gambi key new carol --admin"),
        ],
    },
    Command {
        path: &["room", "create"],
        about: "Create a room",
        positional: None,
        flags: &[&ROOM_NAME, &NEW_PASSWORD, &PASSWORD_FILE, &PRIVATE, &DEFAULTS, &DRY_RUN],
        streams: false,
        examples: &[
            (
                "Create a room and get its code in a script",
                "gambi room create --name Lab --format json | jq -r .data.room.code",
            ),
            (
                "With generation settings for all its requests",
                "echo '{\"temperature\": 0.2}' | gambi room create -n Lab --config -",
            ),
        ],
    },
    Command {
        path: &["room", "list"],
        about: "List the hub's rooms",
        positional: None,
        flags: &[&SORT, &REVERSE],
        streams: false,
        examples: &[
            ("Rooms with the most participants first", "gambi room list"),
            (
                "Only the codes, the newest first",
                "gambi room list --sort created-at --format ndjson | jq -r '.data[].code'",
            ),
        ],
    },
    Command {
        path: &["room", "get"],
        about: "Show one room",
        positional: None,
        flags: &[&CODE],
        streams: false,
        examples: &[("A room by its code", "gambi room get --code ABC234")],
    },
    Command {
        path: &["room", "stats"],
        about: "Show a room's metrics: requests, errors, times and tokens of each model and participant",
        positional: Some(&CODE),
        flags: &[&CODE, &OVER, &PASSWORD, &PASSWORD_FILE],
        streams: false,
        examples: &[
            ("Over the last five minutes", "gambi room stats ABC234"),
            (
                "Time to first token of each participant, for a script",
                "gambi room stats ABC234 --format json | jq '.data.participants[] | {participantId, ttftMs: .windows[\"15m\"].ttftMs}'",
            ),
        ],
    },
    Command {
        path: &["room", "invite"],
        about: "Print an invitation to a room: all that a participant or a chat needs, in one line",
        positional: Some(&CODE),
        flags: &[&CODE, &INVITED_PASSWORD, &INVITED_PASSWORD_FILE, &WITH_KEY, &NEW_KEY],
        streams: false,
        examples: &[
            ("With the address that others reach", "gambi room invite ABC234 --hub http://10.0.0.5:3000"),
            (
                "With the room's password and the hub's key",
                "gambi room invite ABC234 --password-file room.password --key-file hub.key --with-key",
            ),
        ],
    },
    Command {
        path: &["room", "delete"],
        about: "Delete a room; its participants are disconnected",
        positional: None,
        flags: &[&CODE, &HOST_ID],
        streams: false,
        examples: &[(
            "With the hostId that `room create` returned",
            "gambi room delete --code ABC234 --host-id 6f0c...",
        )],
    },
    Command {
        path: &["participant", "join"],
        about: "Join a room with a local provider, and serve requests until stopped",
        positional: None,
        flags: JOIN,
        streams: true,
        examples: &[
            ("Ollama on this machine", "gambi participant join -r ABC234 --participant-id ann-laptop -m llama3"),
            (
                "All models of Ollama, four requests at once",
                "gambi participant join -r ABC234 --participant-id ann-laptop --models all --concurrency 4",
            ),
            (
                "LM Studio, and a hub on another machine",
                "gambi participant join -H http://hub:3000 -r ABC234 --participant-id lab-2 -m qwen3 -e http://localhost:1234",
            ),
            (
                "A provider that requires a key",
                "gambi participant join -r ABC234 --participant-id vllm-1 -m m -e http://localhost:8000 --header-env Authorization=VLLM_AUTH",
            ),
        ],
    },
    Command {
        path: &["participant", "list"],
        about: "List a room's participants",
        positional: None,
        flags: &[&ROOM, &PASSWORD, &PASSWORD_FILE],
        streams: false,
        examples: &[("With status and model", "gambi participant list --room ABC234")],
    },
    Command {
        path: &["participant", "leave"],
        about: "Remove a participant from its room",
        positional: None,
        flags: &[&ROOM, &PARTICIPANT, &TOKEN_FILE, &PASSWORD, &PASSWORD_FILE],
        streams: false,
        examples: &[("From any machine", "gambi participant leave -r ABC234 --participant-id ann-laptop")],
    },
    Command {
        path: &["participant", "heartbeat"],
        about: "Send a participant's heartbeat",
        positional: None,
        flags: &[&ROOM, &PARTICIPANT, &TOKEN_FILE, &PASSWORD, &PASSWORD_FILE],
        streams: false,
        examples: &[("Once", "gambi participant heartbeat -r ABC234 --participant-id ann-laptop")],
    },
    Command {
        path: &["models"],
        about: "List a room's participants and models as clients see them",
        positional: None,
        flags: &[&ROOM, &PASSWORD, &PASSWORD_FILE],
        streams: false,
        examples: &[("Ids for a script", "gambi models -r ABC234 --format ndjson | jq -r '.data[].id'")],
    },
    Command {
        path: &["chat"],
        about: "Send chats to a room",
        positional: Some(&PROMPT),
        flags: &[&INVITE, &ROOM, &SELECTOR, &SYSTEM, &PROMPT, &THINKING, &NO_HISTORY, &PASSWORD, &PASSWORD_FILE],
        streams: false,
        examples: &[
            ("One question", "gambi chat -r ABC234 'Why is the sky blue?'"),
            ("The prompt from a file", "gambi chat -r ABC234 -m model:llama3 --system 'Summarise.' < notes.txt"),
            ("A conversation; /help lists its commands", "gambi chat -r ABC234"),
        ],
    },
    Command {
        path: &["discover"],
        about: "Find hubs on the local network and their rooms",
        positional: None,
        flags: &[&LISTEN],
        streams: false,
        examples: &[("Listen for five seconds", "gambi discover --timeout 5s")],
    },
    Command {
        path: &["events", "watch"],
        about: "Print a room's events as they arrive",
        positional: None,
        flags: &[&ROOM, &PASSWORD, &PASSWORD_FILE],
        streams: true,
        examples: &[
            ("As text", "gambi events watch --room ABC234"),
            (
                "Only finished requests",
                "gambi events watch -r ABC234 --format ndjson | jq -c 'select(.type == \"llm.complete\")'",
            ),
        ],
    },
    Command {
        path: &["monitor"],
        about: "Watch rooms, participants and requests",
        positional: None,
        flags: &[
            &INVITE,
            &WATCHED,
            &PASSWORD,
            &PASSWORD_FILE,
            &ENDPOINT,
            &HEADER,
            &HEADER_ENV,
            &EMBED,
            &HOST,
            &PORT,
            &MDNS,
            &ROOMS_FILE,
            &DEFAULT_ROOM,
            &TLS,
            &TLS_CERT,
            &TLS_KEY,
            &KEYS,
            &USAGE,
            &USAGE_MAX_SIZE,
            &STRICT,
            &PLAIN,
        ],
        streams: true,
        examples: &[
            ("A hub on another machine", "gambi monitor --hub http://hub:3000"),
            ("A new hub in the same process", "gambi monitor --serve --room LAB001=Lab"),
            (
                "Participants that go offline, for a script",
                "gambi monitor | jq -c 'select(.type == \"participant\" and .data.status == \"offline\")'",
            ),
        ],
    },
    Command {
        path: &["provider"],
        about: "Run an echo provider for trying gambi without a model",
        positional: None,
        flags: &[&LOCAL_HOST, &PROVIDER_PORT, &PROVIDER_MODEL, &DELAY],
        streams: true,
        examples: &[
            ("On port 11435", "gambi provider"),
            ("With a visible delay between the pieces of a stream", "gambi provider --delay 100 --model slow-echo"),
        ],
    },
    Command {
        path: &["demo"],
        about: "Run a hub, a provider and a participant in one process, and send a chat through them",
        positional: None,
        flags: &[&LOCAL_HOST, &DEMO_PORT, &DEMO_DELAY, &ONCE],
        streams: true,
        examples: &[
            ("Keep running, to try it with curl", "gambi demo"),
            ("Check an installation", "gambi demo --once"),
        ],
    },
    Command {
        path: &["usage"],
        about: "Sum up a file of `hub serve --usage` and the one before it",
        positional: Some(&USAGE_FILE),
        flags: &[&USAGE_FILE, &BY, &SINCE],
        streams: false,
        examples: &[
            ("By person, over all", "gambi usage usage.jsonl"),
            ("By model, for this month", "gambi usage usage.jsonl --by model --since 2026-11-01"),
        ],
    },
    Command {
        path: &["completions"],
        about: "Print completions for a shell",
        positional: Some(&SHELL),
        flags: &[&SHELL, &WORD],
        streams: false,
        examples: &[("For bash", "source <(gambi completions bash)")],
    },
    Command {
        path: &["man"],
        about: "Print the man page",
        positional: None,
        flags: &[],
        streams: false,
        examples: &[("Read it", "gambi man | man -l -")],
    },
    Command {
        path: &["version"],
        about: "Print the version",
        positional: None,
        flags: &[],
        streams: false,
        examples: &[("The same as --version", "gambi version")],
    },
    Command {
        path: &["openapi"],
        about: "Print the description of the hub's API, OpenAPI 3.1 in JSON",
        positional: None,
        flags: &[],
        streams: false,
        examples: &[("The routes", "gambi openapi | jq -r '.paths | keys[]'")],
    },
    Command {
        path: &["service"],
        about: "Print a hardened unit for the system's service manager",
        positional: Some(&MANAGER),
        flags: &[&MANAGER, &ROLE, &BIN, &ARG],
        streams: false,
        examples: &[
            (
                "A hub with a declared room",
                "gambi service systemd -- --mdns --room LAB001=Lab > /etc/systemd/system/gambi-hub.service",
            ),
            (
                "A participant that reconnects",
                "gambi service systemd --for participant -- -H http://hub:3000 -r LAB001 --participant-id ann -m llama3",
            ),
        ],
    },
    Command {
        path: &["serve"],
        about: "Older name of `hub serve`",
        positional: None,
        flags: SERVE,
        streams: true,
        examples: &[("On the standard port", "gambi serve")],
    },
    Command {
        path: &["create"],
        about: "Older name of `room create`",
        positional: Some(&ROOM_NAME),
        flags: &[&ROOM_NAME, &NEW_PASSWORD, &PASSWORD_FILE, &PRIVATE, &DEFAULTS, &DRY_RUN],
        streams: false,
        examples: &[("A room with a password", "gambi create \"My AI Room\" --password secret123")],
    },
    Command {
        path: &["list"],
        about: "Older name of `room list`",
        positional: None,
        flags: &[&SORT, &REVERSE, &JSON],
        streams: false,
        examples: &[("For a script", "gambi list --json")],
    },
    Command {
        path: &["join"],
        about: "Short for `participant join`; without flags, asks what it cannot find out",
        positional: Some(&ROOM),
        flags: &FLAT_JOIN,
        streams: true,
        examples: &[
            ("Look for providers, the hub and its rooms, and ask", "gambi join"),
            ("Ollama on this machine", "gambi join ABC234 --nickname Alice --model llama3"),
            ("The same with flags only", "gambi join -c ABC234 -n Alice -m llama3"),
        ],
    },
];
