//! A response's headers, and what they say of its body: its content type, and whether it is compressed.

/// Names and values, in the order of the head's lines.
pub type Headers = Vec<(String, String)>;

const CONTENT_TYPE: &str = "content-type";
const CONTENT_ENCODING: &str = "content-encoding";

/// The content type, where there is one.
pub fn content_type(headers: &Headers) -> Option<&str> {
    headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE)).map(|(_, value)| value.as_str())
}

/// The codings of the body (RFC 9110, section 8.4) in the order in which they were applied, without `identity`.
pub fn content_codings(headers: &Headers) -> impl Iterator<Item = &str> {
    let lines = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(CONTENT_ENCODING));
    let codings = lines.flat_map(|(_, value)| value.split(',').map(str::trim));
    codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
}

/// Whether the body is compressed.
pub fn is_coded(headers: &Headers) -> bool {
    content_codings(headers).next().is_some()
}

/// Those of a provider's headers that hold for a translated body too.
pub fn of_translated_body(mut headers: Headers) -> Headers {
    headers
        .retain(|(name, _)| !name.eq_ignore_ascii_case(CONTENT_TYPE) && !name.eq_ignore_ascii_case(CONTENT_ENCODING));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_compressed_if_any_coding_changes_it() {
        let coded = |lines: &[&str]| {
            let headers = lines.iter().map(|value| ("Content-Encoding".to_owned(), (*value).to_owned())).collect();
            is_coded(&headers)
        };
        assert!(coded(&["gzip"]) && coded(&["identity", "br"]) && coded(&["identity, GZIP"]));
        assert!(!coded(&[]) && !coded(&["", " identity "]) && !coded(&["Identity,identity"]));
    }
}
