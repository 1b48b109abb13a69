//! The parameters and the result of route handlers.

use std::io;

use super::respond::Rejection;
use crate::proto::web::percent_decode;

/// The values of a route's path placeholders, percent-decoded, in their order.
pub type PathParams = Vec<String>;

/// The result of a handler: the outcome of sending the response, or a rejection that is still to be sent.
pub type HandlerResult = Result<io::Result<()>, Rejection>;

/// The first value of a query parameter, decoded. A `+` stands for a space.
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
