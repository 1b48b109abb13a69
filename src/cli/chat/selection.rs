//! Who answers a chat: the selector of the requests, and the names of participants. Pure.

use gambi::client::Model;

/// The selector if `--model` is not given.
pub const SELECTOR: &str = "any";

/// Whether a selector names this participant or its model.
pub fn selects(selector: &str, model: &Model) -> bool {
    let name = selector.strip_prefix("model:").unwrap_or(selector);
    model.id == selector || model.model == name
}

/// A participant's nickname and id, or its id if it has no other name.
pub fn name_of(id: &str, models: &[Model]) -> String {
    let nickname = models.iter().find(|model| model.id == id).map_or("", |model| &model.nickname);
    if nickname.is_empty() || nickname == id { id.to_owned() } else { format!("{nickname} ({id})") }
}
