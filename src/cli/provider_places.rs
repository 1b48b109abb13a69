//! Where providers are looked for when none is named.

/// Where providers usually listen on this machine, as the manual lists them.
const USUAL_PLACES: [&str; 13] = [
    // Ollama, LM Studio, vLLM, llama.cpp.
    "11434",
    "1234",
    "8000",
    "8080",
    // KoboldCpp, text-generation-webui and TabbyAPI, SGLang, Jan, GPT4All, Lemonade, Xinference, exo.
    "5001",
    "5000",
    "30000",
    "1337",
    "4891",
    "13305",
    "9997",
    "52415",
    // Docker Model Runner, which has OpenAI's routes under this path.
    "12434/engines",
];
/// Where macOS's AirPlay receiver answers every request with 403.
pub const AIRPLAY: &str = "http://localhost:5000";

/// Where to look for providers. `listed` replaces the usual ports; `ollama` is where Ollama was told to listen.
pub fn usual_places(listed: Option<String>, ollama: Option<String>) -> Vec<String> {
    let listed = listed.map(|text| text.split([',', ' ']).filter(|url| !url.is_empty()).map(with_scheme).collect());
    let mut places: Vec<String> = listed.unwrap_or_else(|| {
        let usual = USUAL_PLACES.map(|place| format!("http://localhost:{place}"));
        ollama.map(|host| ollama_place(&host)).into_iter().chain(usual).collect()
    });
    let mut seen = Vec::new();
    places.retain(|place| {
        !seen.contains(place) && {
            seen.push(place.clone());
            true
        }
    });
    places
}

fn with_scheme(text: &str) -> String {
    let text = text.trim().trim_end_matches('/');
    if text.contains("://") { text.to_owned() } else { format!("http://{text}") }
}

/// The URL of `OLLAMA_HOST`, which may leave out the scheme and the port, and may be an address to listen on.
fn ollama_place(host: &str) -> String {
    let url = with_scheme(host);
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() => (name, port),
        _ if scheme == "https" => return url,
        _ => (rest, "11434"),
    };
    let name = if matches!(name, "" | "0.0.0.0" | "127.0.0.1" | "[::]" | "[::1]") { "localhost" } else { name };
    format!("{scheme}://{name}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_looked_for_at_each_address_once() {
        let usual = USUAL_PLACES.map(|place| format!("http://localhost:{place}"));
        assert_eq!(usual_places(None, None), usual);
        assert_eq!(usual_places(None, Some("127.0.0.1".into())), usual);
        assert_eq!(usual_places(None, Some("0.0.0.0:11434".into())), usual);
        assert_eq!(usual_places(None, Some("box:5000".into()))[0], "http://box:5000");
        assert_eq!(usual_places(None, Some("https://ollama.lab".into()))[0], "https://ollama.lab");
        let listed = usual_places(Some("localhost:1, http://b:2/,localhost:1".into()), Some("c".into()));
        assert_eq!(listed, ["http://localhost:1", "http://b:2"]);
    }
}
