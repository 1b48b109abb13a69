//! Joining with flags left out: looks for providers on this machine and for a hub with rooms, asks on a terminal where there is a
//! choice, and tells the line that does the same without questions. Without a terminal only what has one answer is chosen.

use std::env;
use std::fs;

use gambi::Error;
use gambi::client::Client;
use gambi::participant::{FoundProvider, Providers, RefusingProvider, find_providers};
use gambi::proto::management::{CreateRoom, RoomSummary};

use super::commands::Flag;
use super::context::Context;
use super::failure::Failure;
use super::find_hub::find_hub;
use super::output::beside;
use super::participant::headers;
use super::prompt;
use super::provider_places::{AIRPLAY, usual_places};
use super::service::single_quoted;
use super::style;
use crate::monitor::clean::one_line;

/// Models listed at most; all of them can be chosen.
const MAX_LISTED: usize = 40;

/// What was left out of the flags of a join.
pub struct Choices {
    pub client: Client,
    pub room: String,
    pub id: String,
    /// The provider's; `None` if models were named, which belong to the endpoint of the flags.
    pub endpoint: Option<String>,
    /// Empty for all.
    pub models: Vec<String>,
}

/// What a join lacks, found or asked for. `None` if its room and its models are named.
///
/// # Errors
/// When nothing is found, or nobody can be asked which one is meant.
pub fn choose(context: &Context<'_>, named_models: Option<Vec<String>>) -> Result<Option<Choices>, Failure> {
    let named_room = context.value("room");
    if named_room.is_some() && named_models.is_some() {
        return Ok(None);
    }
    let client = if named_room.is_some() || context.names_hub() { context.client()? } else { find_client(context)? };
    let mut added = Vec::new();
    let room = match named_room {
        Some(room) => room.to_owned(),
        None => {
            let room = choose_room(context, &client)?;
            added.extend(hub_flags(&client));
            added.extend(["--room".to_owned(), room.code.clone()]);
            if room.password_protected && !has_password(context) {
                added.extend(["--password-file".to_owned(), "FILE".to_owned()]);
            }
            room.code
        }
    };
    let (endpoint, models) = match named_models {
        Some(models) => (None, models),
        None => {
            let (provider, models) = choose_models(context)?;
            added.extend(["--endpoint".to_owned(), provider.clone()]);
            added.extend(model_flags(&models));
            (Some(provider), models)
        }
    };
    let id = match context.value("participant-id") {
        None if context.may_ask() || context.is_flat() => {
            let id = free_id(&client, &room);
            added.extend(["--participant-id".to_owned(), id.clone()]);
            id
        }
        _ => context.required("participant-id")?,
    };
    let line = command_line(&given(context, &added), &added);
    context.out.note(&format!("The same without questions: {line}"));
    Ok(Some(Choices { client, room, id, endpoint, models }))
}

/// The flags that lead to a hub again.
fn hub_flags(client: &Client) -> Vec<String> {
    let fingerprint = client.fingerprint().map(|print| ["--hub-fingerprint".to_owned(), print.to_string()]);
    let hub = ["--hub".to_owned(), client.hub_url().to_owned()];
    hub.into_iter().chain(fingerprint.into_iter().flatten()).collect()
}

/// The flags that the user gave, as words, without those that were added.
fn given(context: &Context<'_>, added: &[String]) -> Vec<String> {
    let kept = context.flags().filter(|flag| !added.contains(&format!("--{}", flag.name)));
    kept.flat_map(|flag| given_words(flag, context.has(flag.name), context.values(flag.name))).collect()
}

/// A flag as words. What may be secret is not repeated, and a dry run is not what was asked for.
fn given_words(flag: &Flag, is_set: bool, values: &[String]) -> Vec<String> {
    let name = format!("--{}", flag.name);
    match (flag.name, flag.value) {
        ("dry-run" | "interactive", _) => Vec::new(),
        (_, None) => {
            if is_set {
                vec![name]
            } else {
                Vec::new()
            }
        }
        ("password", _) if is_set => vec!["--password-file".to_owned(), "FILE".to_owned()],
        ("header", _) => {
            let names = values.iter().filter_map(|header| header.split(['=', ':']).next());
            names.flat_map(|header| ["--header-env".to_owned(), format!("{header}=VARIABLE")]).collect()
        }
        _ => values.iter().flat_map(|value| [name.clone(), value.clone()]).collect(),
    }
}

fn has_password(context: &Context<'_>) -> bool {
    context.value("password-file").or(context.value("password")).is_some()
        || context.variable("GAMBI_ROOM_PASSWORD").is_some()
}

/// The hub on this machine, else one that is announced on the network.
fn find_client(context: &Context<'_>) -> Result<Client, Failure> {
    let here = context.client()?;
    let Err(error) = here.health() else { return Ok(here) };
    match find_hub(&context.out, None, context.key()?.as_deref()) {
        Ok(found) => context.client_of(found),
        // Several are announced.
        Err(failure @ Failure::Usage { .. }) if cfg!(feature = "mdns") => Err(failure),
        Err(_) => Err(error.into()),
    }
}

/// A room of the hub; on a terminal one is made if there is none.
fn choose_room(context: &Context<'_>, client: &Client) -> Result<RoomSummary, Failure> {
    let missing = || Failure::usage("--room is missing");
    let rooms = match client.rooms().list() {
        Err(error) if !context.may_ask() => {
            return Err(missing().hint(format!("Give it as --room CODE: the hub could not be asked, {error}.")));
        }
        rooms => rooms?,
    };
    let names: Vec<String> = rooms.iter().map(|room| format!("{}  {}", room.code, one_line(&room.name))).collect();
    match &rooms[..] {
        [] if context.may_ask() && !context.has("dry-run") => create_room(client),
        [] => Err(missing().hint("The hub has no room yet: make one with `gambi room create --name NAME`.")),
        [only] => Ok(only.clone()),
        _ if context.may_ask() => {
            let head = format!("Rooms on {}:", client.hub_url());
            Ok(rooms[ask_one(&head, &names, "Which room")?].clone())
        }
        _ => {
            Err(missing().hint(format!("Give it as --room CODE; the hub has {}.", names.join(", ").replace("  ", " "))))
        }
    }
}

fn create_room(client: &Client) -> Result<RoomSummary, Failure> {
    beside(&format!("{} has no room yet.\n", client.hub_url()));
    let default = format!("Room of {}", host_name());
    let name = ask_with_default("Name of a new room", &default)?;
    Ok(client.rooms().create(&CreateRoom { name, ..CreateRoom::default() })?.room)
}

/// A provider's endpoint, and models of it; none for all.
fn choose_models(context: &Context<'_>) -> Result<(String, Vec<String>), Failure> {
    // An address that was guessed is sent no headers, which may hold a key.
    let (places, headers) = match context.endpoint() {
        Some(endpoint) => (vec![endpoint], headers(context)?),
        None => (usual_places(context.variable("GAMBI_PROVIDERS"), context.variable("OLLAMA_HOST")), Vec::new()),
    };
    let find = || find_providers(&places, &headers);
    let Providers { mut found, refusing } = context.out.while_waiting("Looking for providers on this machine...", find);
    found.retain(|provider| !provider.models.is_empty());
    if found.is_empty() {
        return Err(none_found(&places, &refusing, context.endpoint().is_some()));
    }
    let provider = match &found[..] {
        [only] => only,
        _ if context.may_ask() => {
            let names: Vec<String> = found.iter().map(describe).collect();
            &found[ask_one("Providers on this machine:", &names, "Which one")?]
        }
        _ => {
            let names: Vec<String> = found.iter().map(describe).collect();
            let hint = format!("Name one with --endpoint URL: {}.", names.join("; "));
            return Err(Failure::usage("--endpoint is missing: there are several providers").hint(hint));
        }
    };
    Ok((provider.endpoint.clone(), models_of(context, provider)?))
}

/// The failure of a search that found no provider with a model. `is_named`: whether the user named the endpoint.
fn none_found(places: &[String], refusing: &[RefusingProvider], is_named: bool) -> Failure {
    let places = places.join(", ").replace(", http://localhost:", ", :");
    let none = format!("no provider with a model answers at {places}");
    let is_likely = |refusing: &&RefusingProvider| is_named || (refusing.status, &*refusing.endpoint) != (403, AIRPLAY);
    match refusing.iter().find(is_likely).cloned() {
        Some(RefusingProvider { endpoint, status }) if is_named => Error::ModelsUnlisted { endpoint, status }.into(),
        Some(RefusingProvider { endpoint, status }) => {
            let hint = format!(
                "If that is the provider, name it with --endpoint {endpoint}, and with --header-env Authorization=KEY the environment variable that has its key, such as KEY='Bearer ...'."
            );
            Failure::usage(format!("{none}, but {endpoint} requires a key (status {status})")).hint(hint)
        }
        None => Failure::usage(none).hint(
            "Start Ollama, LM Studio, vLLM or llama.cpp with a model, or name the provider with --endpoint URL and its model with --model NAME.",
        ),
    }
}

/// The models to offer of a provider; none for all.
fn models_of(context: &Context<'_>, provider: &FoundProvider) -> Result<Vec<String>, Failure> {
    match &provider.models[..] {
        [only] => {
            context.out.note(&format!("{} at {} has {only}.", provider.kind, provider.endpoint));
            Ok(vec![only.clone()])
        }
        models if context.may_ask() => {
            let head = format!("{} at {} has these models:", provider.kind, provider.endpoint);
            list(&head, models);
            let chosen = ask_until("Which ones, such as 1,3-5", "all", |text| selection(text, models.len()))?;
            Ok(chosen.into_iter().map(|at| models[at].clone()).collect())
        }
        models => {
            let hint =
                format!("Give it as --model NAME, or --models all: {} has {}.", provider.endpoint, models.join(", "));
            Err(Failure::usage("--model is missing").hint(hint))
        }
    }
}

fn describe(provider: &FoundProvider) -> String {
    let count = provider.models.len();
    let models = if count == 1 { provider.models[0].clone() } else { format!("{count} models") };
    format!("{} at {} ({models})", provider.kind, provider.endpoint)
}

/// This host's name as an id that no other participant of the room uses.
fn free_id(client: &Client, room: &str) -> String {
    // A private room does not tell who is there: the hub says so if the id is taken.
    let taken = client.participants(room).list().unwrap_or_default();
    let is_free = |id: &str| !taken.iter().any(|one| one.id == id && one.connection.connected);
    let host = id_of(&host_name());
    let numbered = (2..100).map(|number| format!("{host}-{number}"));
    std::iter::once(host.clone()).chain(numbered).find(|id| is_free(id)).unwrap_or(host)
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| fs::read_to_string("/etc/hostname"));
    let name = name.ok().or_else(|| env::var("HOSTNAME").ok()).unwrap_or_default();
    let first = name.trim().split('.').next().unwrap_or_default();
    if first.is_empty() { "this machine".to_owned() } else { first.to_owned() }
}

/// A host's name with letters, digits and dashes only.
fn id_of(host: &str) -> String {
    let id: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let id = id.trim_matches('-');
    if id.is_empty() { "machine".to_owned() } else { id.chars().take(60).collect() }
}

/// The flags for these models; none stand for all.
fn model_flags(models: &[String]) -> Vec<String> {
    if models.is_empty() {
        return vec!["--models".to_owned(), "all".to_owned()];
    }
    models.iter().flat_map(|model| ["--model".to_owned(), model.clone()]).collect()
}

/// The command line for a shell.
fn command_line(given: &[String], added: &[String]) -> String {
    let words = ["gambi", "participant", "join"].map(str::to_owned);
    words.iter().chain(added).chain(given).map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { word.to_owned() } else { single_quoted(word) }
}

/// The places in a list that an answer such as `1,3-5` or `all` names; none for all. `None` if it is no such answer.
fn selection(text: &str, count: usize) -> Option<Vec<usize>> {
    if text == "all" {
        return Some(Vec::new());
    }
    let mut chosen = Vec::new();
    for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first == 0 || last > count || first > last {
            return None;
        }
        chosen.extend(first - 1..last);
    }
    chosen.sort_unstable();
    chosen.dedup();
    Some(chosen).filter(|chosen| !chosen.is_empty())
}

fn list(head: &str, items: &[String]) {
    let paint = style::err();
    let numbered = items.iter().take(MAX_LISTED).enumerate();
    let mut text: String = numbered.map(|(at, item)| format!("  {:>2}  {}\n", at + 1, one_line(item))).collect();
    if items.len() > MAX_LISTED {
        text.push_str(&format!("      and {} more, up to {}\n", items.len() - MAX_LISTED, items.len()));
    }
    beside(&format!("{}\n{text}", paint.bold(&one_line(head))));
}

fn ask_one(head: &str, items: &[String], label: &str) -> Result<usize, Failure> {
    list(head, items);
    ask_until(label, "1", |text| text.parse::<usize>().ok().filter(|n| (1..=items.len()).contains(n)).map(|n| n - 1))
}

fn ask_with_default(label: &str, default: &str) -> Result<String, Failure> {
    let answer = prompt::ask(&format!("{label} [{default}]"))?;
    let answer = answer.trim();
    Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
}

/// Asks until the answer can be read. Enter takes the default.
fn ask_until<T>(label: &str, default: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
    loop {
        if let Some(value) = read(&ask_with_default(label, default)?) {
            return Ok(value);
        }
        beside("That is no choice of the list.\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_names_places_of_the_list() {
        assert_eq!(selection("all", 3), Some(vec![]));
        assert_eq!(selection("2", 3), Some(vec![1]));
        assert_eq!(selection("3, 1-2,2", 3), Some(vec![0, 1, 2]));
        for bad in ["", "0", "4", "2-4", "3-1", "x", "1-", "-1", "1;2"] {
            assert_eq!(selection(bad, 3), None, "{bad}");
        }
    }

    #[test]
    fn who_refuses_is_told_unless_it_is_no_provider() {
        let told = |endpoint: &str, status, is_named| {
            let refusing = [RefusingProvider { endpoint: endpoint.to_owned(), status }];
            none_found(&usual_places(None, None), &refusing, is_named).to_string()
        };
        let places = "http://localhost:11434, :1234, :8000, :8080, :5001, :5000, :30000, :1337, :4891, :13305, :9997, :52415, :12434/engines";
        let none = format!("no provider with a model answers at {places}");
        assert_eq!(told(AIRPLAY, 403, false), none);
        assert_eq!(told(AIRPLAY, 401, false), format!("{none}, but {AIRPLAY} requires a key (status 401)"));
        assert!(told(AIRPLAY, 403, true).contains("without a valid key (status 403)"));
    }

    #[test]
    fn a_hosts_name_is_made_an_id() {
        assert_eq!(id_of("Anns-MacBook"), "anns-macbook");
        assert_eq!(id_of("grün/box_1"), "gr-n-box-1");
        assert_eq!(id_of("//"), "machine");
        assert_eq!(id_of(&"x".repeat(300)).len(), 60);
    }

    #[test]
    fn the_line_repeats_what_was_chosen_and_no_secret() {
        let words = |text: &[&str]| text.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let flag = |name: &'static str, value| Flag { name, short: None, value, help: "" };
        let given = [
            given_words(&flag("password", Some("PASSWORD")), true, &words(&["s3cret"])),
            given_words(&flag("header", Some("NAME=VALUE")), true, &words(&["Authorization=Bearer s3cret"])),
            given_words(&flag("nickname", Some("NAME")), true, &words(&["Ann's box"])),
            given_words(&flag("no-specs", None), true, &[]),
            given_words(&flag("dry-run", None), true, &[]),
            given_words(&flag("fallback", None), false, &[]),
        ];
        let added = [words(&["--room", "ABC234"]), model_flags(&words(&["llama3:8b"])), model_flags(&[])].concat();
        assert_eq!(
            command_line(&given.concat(), &added),
            r"gambi participant join --room ABC234 --model llama3:8b --models all --password-file FILE --header-env Authorization=VARIABLE --nickname 'Ann'\''s box' --no-specs"
        );
    }
}
