//! Paths of the inference plane with a slip in the base URL: a doubled or trailing slash, `v1` twice, missing, before
//! `rooms`, or in front of Ollama's `api`. Each has one possible meaning, so it is served rather than refused.

/// The corrected path, if it differs from `path`. It may still match no route.
pub fn repaired(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.first() == Some(&"v1") && parts.get(1) == Some(&"rooms") {
        parts.remove(0);
    }
    if parts.first() != Some(&"rooms") || parts.len() < 2 {
        return None;
    }
    let rest = parts.split_off(2);
    let meant: Vec<&str> = rest.iter().copied().skip_while(|part| *part == "v1").collect();
    // Ollama's API lies beside `v1`.
    if !rest.is_empty() && meant.first() != Some(&"api") {
        parts.push("v1");
    }
    parts.extend(meant);
    let repaired = format!("/{}", parts.join("/"));
    (repaired != path).then_some(repaired)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_in_the_base_url_is_repaired() {
        for slip in [
            "/rooms/ABC234/chat/completions",
            "/rooms/ABC234/v1/v1/chat/completions",
            "/rooms/ABC234/v1//chat/completions",
            "//rooms/ABC234/v1/chat/completions",
            "/rooms/ABC234/v1/chat/completions/",
            "/v1/rooms/ABC234/v1/chat/completions",
            "/v1/rooms/ABC234/chat/completions",
        ] {
            assert_eq!(repaired(slip).as_deref(), Some("/rooms/ABC234/v1/chat/completions"), "{slip}");
        }
    }

    #[test]
    fn ollamas_api_lies_beside_v1() {
        for slip in ["/rooms/ABC234/v1/api/chat", "/rooms/ABC234//api/chat/", "/v1/rooms/ABC234/api/chat"] {
            assert_eq!(repaired(slip).as_deref(), Some("/rooms/ABC234/api/chat"), "{slip}");
        }
        assert_eq!(repaired("/rooms/ABC234/api/"), Some("/rooms/ABC234/api".into()));
        assert_eq!(repaired("/rooms/ABC234/api/nothing"), None);
    }

    #[test]
    fn the_base_itself_may_end_with_a_slash() {
        assert_eq!(repaired("/rooms/ABC234/v1/").as_deref(), Some("/rooms/ABC234/v1"));
        assert_eq!(repaired("/rooms/ABC234/").as_deref(), Some("/rooms/ABC234"));
    }

    #[test]
    fn a_correct_path_or_one_without_a_room_is_unchanged() {
        for path in ["/rooms/ABC234/v1/models", "/v1/chat/completions", "/rooms", "/rooms/ABC234", "/", ""] {
            assert_eq!(repaired(path), None, "{path}");
        }
    }
}
