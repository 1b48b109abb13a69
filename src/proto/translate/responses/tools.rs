//! The tools of a Responses request as the functions of a chat, and the names under which their calls come back.

use std::collections::{HashMap, HashSet};

use memchr::memchr_iter;

use super::super::super::members::{BadRequest, Members, json_text};
use super::super::chat_request::typed;
use super::super::json::{list, object, text};

/// The most tools of a request, those in namespaces included. One takes many times its text in memory.
const MAX_TOOLS: usize = 4096;
/// The longest name of a tool or a namespace, in bytes. OpenAI takes 64 characters.
const MAX_NAME: usize = 128;
/// The most memory that the names of a tool take beside its text, in bytes: the name in the chat, which may begin with its namespace's,
/// in four places, and its own names in three.
const NAMES: usize = 4 * (2 * MAX_NAME + 2) + 3 * MAX_NAME + 256;

/// The type of an item that adds tools to those of the request.
pub const ADDITIONAL_TOOLS: &str = "additional_tools";

/// A tool whose calls come back in another form than a chat has them.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its own name.
    pub name: String,
    /// The namespace that it is in.
    pub namespace: Option<String>,
    /// Whether it is a custom tool, which takes text in place of arguments.
    pub custom: bool,
}

/// The names of tools in the chat.
#[derive(Debug, Clone, Default)]
pub struct ToolNames {
    /// By their names in the chat. Plain functions are not listed.
    by_chat_name: HashMap<String, Tool>,
    /// Names in the chat, by namespace and name.
    chat_names: HashMap<(String, String), String>,
}

impl ToolNames {
    /// The tool that a chat's call means, unless it is a plain function.
    pub fn by_chat_name(&self, name: &str) -> Option<&Tool> {
        self.by_chat_name.get(name)
    }

    /// The name of a tool in the chat. One that the request does not list has its own.
    pub fn chat_name(&self, namespace: Option<&str>, name: String) -> String {
        let Some(namespace) = namespace else { return name };
        let key = (namespace.to_owned(), name);
        self.chat_names.get(&key).cloned().unwrap_or(key.1)
    }
}

/// The tools that a chat can have: functions, custom tools, and both within namespaces. Those that the provider of a
/// Responses API would run itself are left out.
#[derive(Debug, Default)]
pub struct Tools {
    pub names: ToolNames,
    /// Names and definitions, as the chat has them.
    chat: Vec<(String, String)>,
    /// Definitions, as the client wrote them, without those that the input adds.
    shown: Vec<String>,
}

impl Tools {
    /// Reads a request's tools: its own, and those that its input adds.
    ///
    /// # Errors
    /// When they are no list of objects that have a type.
    pub fn of(request: &Members<'_>) -> Result<Self, BadRequest> {
        let added = request.get("input").map(additional_tools).transpose()?.unwrap_or_default();
        Self::read(request.get("tools").unwrap_or("[]"), &added)
    }

    fn read(own: &str, added: &[String]) -> Result<Self, BadRequest> {
        let mut left = MAX_TOOLS;
        let mut outer = entries(own, &mut left)?;
        let own = outer.len();
        for raw in added {
            outer.extend(entries(raw, &mut left)?);
        }
        let inner = outer.iter().map(|tool| tool.within(&mut left)).collect::<Result<Vec<_>, _>>()?;
        let all = distinct(&outer, &inner);
        let mut uses: HashMap<&str, usize> = HashMap::new();
        all.iter().for_each(|(tool, _)| *uses.entry(&tool.name).or_default() += 1);
        let mut tools = Tools::default();
        for (tool, namespace) in all {
            // Its own name where no other tool has it: models know it from the tool's description.
            let is_only = uses.get(tool.name.as_str()) == Some(&1);
            let long = |namespace: &str| format!("{}__{}", namespace.trim_end_matches('_'), tool.name);
            let chat_name = namespace.filter(|_| !is_only).map_or_else(|| tool.name.clone(), long);
            tools.add(tool, namespace, chat_name);
        }
        tools.shown = outer.iter().zip(&inner).take(own).filter_map(|(tool, within)| tool.shown(within)).collect();
        Ok(tools)
    }

    fn add(&mut self, tool: &Entry<'_>, namespace: Option<&str>, chat_name: String) {
        let custom = tool.kind == "custom";
        let define = if custom { custom_function } else { function };
        self.chat.push((chat_name.clone(), define(&tool.members, &chat_name)));
        if let Some(namespace) = namespace {
            self.names.chat_names.insert((namespace.to_owned(), tool.name.clone()), chat_name.clone());
        }
        if custom || namespace.is_some() {
            let named = Tool { name: tool.name.clone(), namespace: namespace.map(str::to_owned), custom };
            self.names.by_chat_name.insert(chat_name, named);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chat.is_empty()
    }

    /// Leaves out all tools but these, by their names in the chat.
    pub fn retain(&mut self, names: &HashSet<String>) {
        self.chat.retain(|(name, _)| names.contains(name));
    }

    /// The chat's `tools`.
    pub fn chat(&self) -> String {
        format!("[{}]", self.chat.iter().map(|(_, definition)| definition.as_str()).collect::<Vec<_>>().join(","))
    }

    /// The response's `tools`: those that were kept, as the client wrote them.
    pub fn shown(&self) -> String {
        format!("[{}]", self.shown.join(","))
    }
}

/// The most memory, in bytes, that the names of a request's tools take beside its text, while it is translated and until it is
/// answered.
pub fn tool_name_bytes(request: &Members<'_>) -> usize {
    let input = request.get("input").filter(|input| input.contains(ADDITIONAL_TOOLS));
    let lists = request.get("tools").into_iter().chain(input);
    let objects = lists.map(|list| memchr_iter(b'{', list.as_bytes()).count()).sum::<usize>();
    objects.min(MAX_TOOLS) * NAMES
}

/// The tools that are kept, each with its namespace. One that is listed again, as a history may, counts once.
fn distinct<'e>(outer: &'e [Entry<'e>], inner: &'e [Vec<Entry<'e>>]) -> Vec<(&'e Entry<'e>, Option<&'e str>)> {
    let mut all = Vec::new();
    for (tool, within) in outer.iter().zip(inner) {
        all.extend(tool.is_kept().then_some((tool, None)));
        all.extend(within.iter().map(|inner| (inner, Some(tool.name.as_str()))));
    }
    let mut seen = HashSet::new();
    all.retain(|(tool, namespace)| seen.insert((*namespace, tool.name.as_str())));
    all
}

/// The lists of tools that items of the input add to those of the request.
fn additional_tools(input: &str) -> Result<Vec<String>, BadRequest> {
    let mut all = Vec::new();
    if !input.starts_with('[') || !input.contains(ADDITIONAL_TOOLS) {
        return Ok(all);
    }
    for raw in list(input, "input")?.into_iter().filter(|raw| raw.contains(ADDITIONAL_TOOLS)) {
        let item = object(raw, "input")?;
        if text(&item, "type").as_deref() == Some(ADDITIONAL_TOOLS) {
            all.extend(item.get("tools").map(str::to_owned));
        }
    }
    Ok(all)
}

/// An entry of a list of tools.
struct Entry<'a> {
    raw: &'a str,
    members: Members<'a>,
    kind: String,
    /// Empty where it has none and needs none.
    name: String,
}

/// Reads a list of tools, of which so many may be left.
fn entries<'a>(raw: &'a str, left: &mut usize) -> Result<Vec<Entry<'a>>, BadRequest> {
    let entry = |raw| {
        let members = object(raw, "tools").map_err(|_| BadRequest::field("tools", "must be a list of objects"))?;
        let missing = |key: &str| BadRequest::field("tools", &format!("has a tool without \"{key}\""));
        let kind = text(&members, "type").ok_or_else(|| missing("type"))?;
        // Some clients write functions as a chat has them, one level deeper.
        let inner = members.get("function").and_then(|inner| text(&object(inner, "tools").ok()?, "name"));
        let name = text(&members, "name").or(inner).unwrap_or_default();
        if name.is_empty() && ["function", "custom", "namespace"].contains(&kind.as_str()) {
            return Err(missing("name"));
        }
        if name.len() > MAX_NAME {
            return Err(BadRequest::field("tools", &format!("has a name of more than {MAX_NAME} bytes")));
        }
        Ok(Entry { raw, members, kind, name })
    };
    let tools = list(raw, "tools")?;
    let too_many = || BadRequest::field("tools", &format!("has more than {MAX_TOOLS} tools"));
    *left = left.checked_sub(tools.len()).ok_or_else(too_many)?;
    tools.into_iter().map(entry).collect()
}

impl Entry<'_> {
    fn is_kept(&self) -> bool {
        matches!(self.kind.as_str(), "function" | "custom")
    }

    /// Its definition as the client wrote it, with those of its own tools that are kept. `None` where none is.
    fn shown(&self, within: &[Entry<'_>]) -> Option<String> {
        if self.is_kept() || within.is_empty() {
            return self.is_kept().then(|| self.raw.to_owned());
        }
        let mut shown = self.members.clone();
        let within: Vec<&str> = within.iter().map(|tool| tool.raw).collect();
        shown.set("tools", format!("[{}]", within.join(",")));
        Some(shown.to_json())
    }

    /// The tools of a namespace that are kept.
    fn within(&self, left: &mut usize) -> Result<Vec<Entry<'_>>, BadRequest> {
        let raw = self.members.get("tools").filter(|_| self.kind == "namespace");
        Ok(entries(raw.unwrap_or("[]"), left)?.into_iter().filter(Entry::is_kept).collect())
    }
}

/// A function's members lie one level deeper in a chat.
fn function(tool: &Members<'_>, name: &str) -> String {
    if let Some(inner) = tool.get("function") {
        return typed("function", inner);
    }
    let mut function = Members::default();
    for (key, value) in tool.iter().filter(|(key, _)| !["type", "defer_loading"].contains(key)) {
        function.push(key, value);
    }
    function.set("name", json_text(name));
    typed("function", &function.to_json())
}

/// A custom tool as a function with the argument `input`. A grammar that the text must match is put into words.
fn custom_function(tool: &Members<'_>, name: &str) -> String {
    let mut description = text(tool, "description").unwrap_or_default();
    if let Some(format) = tool.get("format").and_then(|raw| object(raw, "tools").ok())
        && let Some(definition) = text(&format, "definition")
    {
        let syntax = text(&format, "syntax").unwrap_or_default();
        description.push_str(&format!("\n\nThe input must match this {syntax} grammar:\n{definition}"));
    }
    let (name, description) = (json_text(name), json_text(description.trim_ascii_start()));
    let parameters = concat!(
        r#"{"type":"object","properties":{"input":{"type":"string"}},"#,
        r#""required":["input"],"additionalProperties":false}"#
    );
    typed("function", &format!(r#"{{"name":{name},"description":{description},"parameters":{parameters}}}"#))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(raw: &str) -> Result<Tools, BadRequest> {
        Tools::read(raw, &[])
    }

    fn parsed(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn custom_tools_become_functions_with_one_text() {
        let raw = r#"[{"type":"custom","name":"apply_patch","description":"Patches.",
            "format":{"type":"grammar","syntax":"lark","definition":"start: /x/"}},{"type":"custom","name":"bare"}]"#;
        let tools = read(raw).unwrap();
        let chat = parsed(&tools.chat());
        let parameters = json!({ "type": "object", "properties": { "input": { "type": "string" } }, "required": ["input"],
            "additionalProperties": false });
        let description = "Patches.\n\nThe input must match this lark grammar:\nstart: /x/";
        assert_eq!(
            chat[0],
            json!({ "type": "function", "function": { "name": "apply_patch", "description": description, "parameters": parameters } })
        );
        assert_eq!((&chat[1]["function"]["name"], &chat[1]["function"]["description"]), (&json!("bare"), &json!("")));
        assert!(tools.names.by_chat_name("apply_patch").is_some_and(|tool| tool.custom));
        assert_eq!(parsed(&tools.shown()), parsed(raw));
    }

    #[test]
    fn namespaces_are_flattened_and_doubled_names_told_apart() {
        let raw = r#"[{"type":"function","name":"f"},
            {"type":"namespace","name":"mcp__a__","description":"A","tools":[{"type":"function","name":"f","defer_loading":true},
                {"type":"function","name":"only","strict":true},{"type":"mcp","name":"x"}]},
            {"type":"namespace","name":"b","tools":[{"type":"function","name":"f"},{"type":"custom","name":"patch"}]},
            {"type":"namespace","name":"empty","tools":[{"type":"web_search"}]}]"#;
        let tools = read(raw).unwrap();
        let chat = parsed(&tools.chat());
        let names: Vec<_> =
            chat.as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["f", "mcp__a__f", "only", "b__f", "patch"]);
        assert_eq!(chat[1], json!({ "type": "function", "function": { "name": "mcp__a__f" } }));
        let tool = tools.names.by_chat_name("b__f").unwrap();
        assert_eq!((tool.name.as_str(), tool.namespace.as_deref(), tool.custom), ("f", Some("b"), false));
        assert!(tools.names.by_chat_name("f").is_none() && tools.names.by_chat_name("patch").is_some_and(|t| t.custom));
        for (namespace, name, chat_name) in
            [(None, "f", "f"), (Some("b"), "f", "b__f"), (Some("mcp__a__"), "only", "only"), (Some("c"), "x", "x")]
        {
            assert_eq!(tools.names.chat_name(namespace, name.into()), chat_name);
        }
        let shown = parsed(&tools.shown());
        let shown: Vec<_> =
            shown.as_array().unwrap().iter().map(|tool| tool["tools"].as_array().map(Vec::len)).collect();
        assert_eq!(shown, [None, Some(2), Some(2)]);
    }

    #[test]
    fn tools_that_an_item_of_the_input_adds_count_as_the_requests_own() {
        let request = r#"{"tools":[{"type":"function","name":"f"}],"input":[
            {"type":"additional_tools","role":"developer","tools":[{"type":"namespace","name":"n","tools":[
                {"type":"custom","name":"exec"},{"type":"function","name":"f"}]}]},
            {"type":"additional_tools","role":"developer","tools":[{"type":"namespace","name":"n","tools":[
                {"type":"custom","name":"exec"}]},{"type":"function","name":"f"}]},
            {"role":"user","content":"additional_tools"}]}"#;
        let tools = Tools::of(&Members::parse(request.as_bytes()).unwrap()).unwrap();
        let chat = parsed(&tools.chat());
        let names: Vec<_> =
            chat.as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["f", "exec", "n__f"]);
        assert!(tools.names.by_chat_name("exec").is_some_and(|tool| tool.custom));
        assert_eq!(parsed(&tools.shown()), json!([{ "type": "function", "name": "f" }]));
    }

    #[test]
    fn tools_that_only_the_provider_of_the_responses_api_runs_are_left_out() {
        let raw = r#"[{"type":"web_search"},{"type":"mcp","server_label":"x"},{"type":"image_generation"},
            {"type":"local_shell"},{"type":"tool_search"},{"type":"some_day"}]"#;
        let tools = read(raw).unwrap();
        assert!(tools.is_empty());
        assert_eq!((tools.chat(), tools.shown()), ("[]".into(), "[]".into()));
        for bad in ["5", "[5]", "[{}]", r#"[{"type":"function"}]"#, r#"[{"type":"namespace","tools":[]}]"#] {
            assert_eq!(read(bad).unwrap_err().field, Some("tools"), "{bad}");
        }
    }

    #[test]
    fn names_are_short() {
        let named = |length: usize| {
            let name = "n".repeat(length);
            [
                json!([{ "type": "function", "name": name }]),
                json!([{ "type": "namespace", "name": name, "tools": [{ "type": "function", "name": "f" }] }]),
                json!([{ "type": "namespace", "name": "n", "tools": [{ "type": "custom", "name": name }] }]),
            ]
            .map(|tools| read(&tools.to_string()).map_err(|bad| bad.message))
        };
        assert!(named(MAX_NAME).iter().all(Result::is_ok));
        let refused = "\"tools\" has a name of more than 128 bytes";
        assert!(named(MAX_NAME + 1).iter().all(|read| read.as_ref().is_err_and(|message| message == refused)));
    }

    #[test]
    fn tools_are_counted_in_namespaces_too() {
        let list = |count: usize| format!("[{}]", vec![r#"{"type":"x"}"#; count].join(","));
        let nested = |count: usize| format!(r#"[{{"type":"namespace","name":"n","tools":{}}}]"#, list(count));
        assert!(read(&list(MAX_TOOLS)).is_ok() && read(&nested(MAX_TOOLS - 1)).is_ok());
        assert!(read(&list(MAX_TOOLS + 1)).is_err() && read(&nested(MAX_TOOLS)).is_err());
    }

    #[test]
    fn a_function_written_as_in_a_chat_stays_as_it_is() {
        let raw = r#"[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}}]"#;
        assert_eq!(read(raw).unwrap().chat(), raw);
    }
}
