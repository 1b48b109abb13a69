//! The routes that a participant's provider was found to lack, of those that something else can take the place of.

use crate::proto::management::{Capabilities, Support};

/// A route of a provider that another API, or the hub itself, can take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplaceableRoute {
    /// `/v1/responses`.
    Responses,
    /// `/v1/messages`.
    Messages,
    /// `/v1/messages/count_tokens`.
    CountTokens,
    /// `/api/chat`.
    OllamaChat,
    /// `/api/generate`.
    OllamaGenerate,
    /// `/api/embed`.
    OllamaEmbed,
    /// `/api/embeddings`.
    OllamaEmbeddings,
    /// `/api/show`.
    OllamaShow,
}

impl ReplaceableRoute {
    const ALL: [ReplaceableRoute; 8] = [
        ReplaceableRoute::Responses,
        ReplaceableRoute::Messages,
        ReplaceableRoute::CountTokens,
        ReplaceableRoute::OllamaChat,
        ReplaceableRoute::OllamaGenerate,
        ReplaceableRoute::OllamaEmbed,
        ReplaceableRoute::OllamaEmbeddings,
        ReplaceableRoute::OllamaShow,
    ];

    /// What its participant has registered about it.
    fn support(self, capabilities: &Capabilities) -> Support {
        match self {
            ReplaceableRoute::Responses => capabilities.open_responses,
            ReplaceableRoute::Messages | ReplaceableRoute::CountTokens => Support::Unknown,
            _ => capabilities.ollama,
        }
    }
}

/// A set of such routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MissingRoutes(u8);

impl MissingRoutes {
    /// Those that a participant has registered as not supported.
    pub fn registered(capabilities: &Capabilities) -> Self {
        let mut missing = MissingRoutes::default();
        for route in ReplaceableRoute::ALL {
            if route.support(capabilities) == Support::Unsupported {
                missing.insert(route);
            }
        }
        missing
    }

    /// Adds a route. Without Messages there is nothing that counts their tokens either.
    pub fn insert(&mut self, route: ReplaceableRoute) {
        self.0 |= 1 << route as u8;
        if route == ReplaceableRoute::Messages {
            self.insert(ReplaceableRoute::CountTokens);
        }
    }

    /// Whether the route is missing.
    pub fn contains(self, route: ReplaceableRoute) -> bool {
        self.0 & 1 << route as u8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_is_missing_says_nothing_about_the_others_of_its_api() {
        let mut missing = MissingRoutes::default();
        missing.insert(ReplaceableRoute::CountTokens);
        missing.insert(ReplaceableRoute::OllamaEmbed);
        let found: Vec<_> = ReplaceableRoute::ALL.into_iter().filter(|route| missing.contains(*route)).collect();
        assert_eq!(found, [ReplaceableRoute::CountTokens, ReplaceableRoute::OllamaEmbed]);
    }

    #[test]
    fn without_messages_no_tokens_are_counted() {
        let mut missing = MissingRoutes::default();
        missing.insert(ReplaceableRoute::Messages);
        assert!(missing.contains(ReplaceableRoute::CountTokens));
    }

    #[test]
    fn what_a_participant_registers_as_not_supported_is_missing() {
        let capabilities = Capabilities { ollama: Support::Unsupported, ..Capabilities::default() };
        let mut missing = MissingRoutes::registered(&capabilities);
        assert!(missing.contains(ReplaceableRoute::OllamaShow) && !missing.contains(ReplaceableRoute::Responses));
        missing.insert(ReplaceableRoute::Responses);
        assert!(missing.contains(ReplaceableRoute::OllamaShow) && missing.contains(ReplaceableRoute::Responses));
    }
}
