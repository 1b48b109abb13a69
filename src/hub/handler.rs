//! What route handlers take and return.

use std::io;

use super::respond::Rejection;
use crate::proto::web::percent_decode;

/// What a path's placeholders stood for, percent-decoded, in their order.
pub type Params = Vec<String>;

/// What a handler gives back: the answer has been sent, or this is why not.
pub type Handled = Result<io::Result<()>, Rejection>;

/// The value of a query parameter, decoded; a `+` is a space there.
pub fn query_param(query: Option<&str>, name: &str) -> Option<String> {
    let pair = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pair.into_iter().find(|(key, _)| *key == name).and_then(|(_, value)| percent_decode(&value.replace('+', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_found_and_decoded() {
        assert_eq!(query_param(Some("a=1&token=x%2By+z"), "token").as_deref(), Some("x+y z"));
        assert_eq!(query_param(Some("token"), "token").as_deref(), Some(""));
        assert_eq!(query_param(Some("tokens=1"), "token"), None);
        assert_eq!(query_param(None, "token"), None);
    }
}
