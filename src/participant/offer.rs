//! The models that a participant offers: those that its user chose, of those that its provider has.

use std::collections::HashSet;

use crate::proto::management::{MAX_MODELS, MAX_TEXT, Registration};
use crate::proto::openai::same_model;

/// Which of its provider's models a participant offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelChoice {
    /// These, by the user's names for them.
    Named(Vec<String>),
    /// All that the provider lists, [`MAX_MODELS`] at most.
    All,
}

impl ModelChoice {
    /// The chosen models that the provider lists, by its own names.
    pub fn offered(&self, listed: &[String]) -> Vec<String> {
        match self {
            ModelChoice::Named(names) => names.iter().filter_map(|name| find(listed, name).cloned()).collect(),
            ModelChoice::All => {
                let fits = |name: &&String| !name.trim().is_empty() && name.len() <= MAX_TEXT;
                listed.iter().filter(fits).take(MAX_MODELS).cloned().collect()
            }
        }
    }

    /// The first chosen model that the provider does not list.
    pub fn missing(&self, listed: &[String]) -> Option<&str> {
        match self {
            ModelChoice::Named(names) => names.iter().find(|name| find(listed, name).is_none()).map(String::as_str),
            ModelChoice::All => None,
        }
    }

    /// Whether the offer can change: what is left of a single model that is gone is no offer.
    pub fn can_change(&self) -> bool {
        !matches!(self, ModelChoice::Named(names) if names.len() == 1)
    }
}

/// The provider's name for a model. An exact match comes before one that differs in `:latest`.
fn find<'l>(listed: &'l [String], name: &str) -> Option<&'l String> {
    let exact = listed.iter().find(|known| *known == name);
    exact.or_else(|| listed.iter().find(|known| same_model(known, name)))
}

/// Puts models into a registration. Those that it has keep their order, so that its first one stays the first for as long as
/// it is there. False where nothing changes: it has the same models already, or there are none to put into it.
pub fn update(registration: &mut Registration, offered: &[String]) -> bool {
    let current =
        if registration.models.is_empty() { vec![registration.model.clone()] } else { registration.models.clone() };
    let kept: HashSet<&String> = offered.iter().collect();
    let mut known = HashSet::new();
    let all = current.iter().filter(|name| kept.contains(name)).chain(offered);
    let names: Vec<String> = all.filter(|name| known.insert(*name)).cloned().collect();
    if names.is_empty() || names == current {
        return false;
    }
    registration.model.clone_from(&names[0]);
    registration.models = if names.len() > 1 { names } else { Vec::new() };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn chosen_models_are_offered_by_the_providers_names() {
        let listed = names(&["a:latest", "a", "b:latest", "c"]);
        let choice = ModelChoice::Named(names(&["b", "a", "d"]));
        assert_eq!(choice.offered(&listed), ["b:latest", "a"]);
        assert_eq!((choice.missing(&listed), ModelChoice::All.missing(&[])), (Some("d"), None));
        let long = [names(&["x", " "]), vec!["y".repeat(MAX_TEXT + 1)]].concat();
        assert_eq!(ModelChoice::All.offered(&long), ["x"]);
        let many: Vec<String> = (0..=MAX_MODELS).map(|n| n.to_string()).collect();
        assert_eq!(ModelChoice::All.offered(&many).len(), MAX_MODELS);
    }

    #[test]
    fn the_first_model_stays_the_first_while_it_is_there() {
        let mut registration =
            Registration { model: "b".into(), models: names(&["b", "a"]), ..Registration::default() };
        assert!(!update(&mut registration, &names(&["a", "b"])), "the order alone is no change");
        assert!(!update(&mut registration, &[]), "without any model the last offer stays");
        assert!(update(&mut registration, &names(&["c", "a", "b"])));
        assert_eq!((registration.model.as_str(), &registration.models), ("b", &names(&["b", "a", "c"])));
        assert!(update(&mut registration, &names(&["c"])));
        assert_eq!((registration.model.as_str(), registration.models.len()), ("c", 0));
        assert!(update(&mut registration, &names(&["c", "d", "d"])));
        assert_eq!(registration.models, ["c", "d"]);
    }
}
