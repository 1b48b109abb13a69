//! Who answers a chat: the selector of the requests, and the names of participants. Pure.

use gambi::client::Model;

use crate::monitor::clean::name;

/// The selector if `--model` is not given.
pub const SELECTOR: &str = "any";

/// Whether a selector names this participant or its model.
pub fn selects(selector: &str, model: &Model) -> bool {
    model.id == selector || model.model == selector.strip_prefix("model:").unwrap_or(selector)
}

/// A participant's nickname and id, or its id if it has no other name.
pub fn name_of(id: &str, models: &[Model]) -> String {
    called(id, models.iter().find(|model| model.id == id).map_or("", |model| &model.nickname))
}

/// The same of a participant whose nickname is known.
pub fn called(id: &str, nickname: &str) -> String {
    let (nickname, id) = (name(nickname), name(id));
    if nickname.is_empty() || nickname == id { id } else { format!("{nickname} ({id})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_participant_is_called_by_its_nickname_and_id() {
        assert_eq!(name_of("ann-1", &[]), "ann-1");
        assert_eq!(name_of("a\u{1b}", &[]), "a\u{fffd}");
        assert_eq!([called("ann-1", "Ann"), called("ann", "ann")], ["Ann (ann-1)", "ann"]);
    }
}
