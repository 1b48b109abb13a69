//! The models of a participant, found by the names that requests give them.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::proto::openai::bare_model;

/// The names of a participant's models. There is always one.
#[derive(Debug, Clone, PartialEq)]
pub struct Models {
    /// As the provider spells them, without duplicates.
    names: Vec<String>,
    /// Indexes of `names`, in the order of the names without `:latest`.
    sorted: Vec<u16>,
    /// A hash of `names`: lists that differ mostly have different ones.
    hash: u64,
}

impl Models {
    /// The model `first`, and others behind it. Names that are there already are dropped.
    pub fn new(first: String, others: Vec<String>) -> Self {
        let mut known = HashSet::from([first.clone()]);
        let mut names = vec![first];
        names.extend(others.into_iter().filter(|name| known.insert(name.clone())));
        let mut sorted: Vec<u16> = (0..=u16::MAX).take(names.len()).collect();
        sorted.sort_unstable_by(|&a, &b| {
            let [a, b] = [a, b].map(|index| names[usize::from(index)].as_str());
            bare_model(a).cmp(bare_model(b)).then(a.cmp(b))
        });
        let mut hasher = DefaultHasher::new();
        names.hash(&mut hasher);
        Models { names, sorted, hash: hasher.finish() }
    }

    /// The first one, which stands for all where only one can be shown.
    pub fn first(&self) -> &str {
        &self.names[0]
    }

    /// All names, the first one first.
    pub fn all(&self) -> &[String] {
        &self.names
    }

    /// Whether there are several.
    pub fn are_several(&self) -> bool {
        self.names.len() > 1
    }

    /// The provider's name with this index, as [`Models::find`] returns it.
    pub fn name(&self, index: u16) -> &str {
        self.names.get(usize::from(index)).map_or("", String::as_str)
    }

    /// The different ones among some lists, each with what belongs to the lists that are like it.
    pub fn grouped<'m, T>(lists: impl Iterator<Item = (&'m Models, T)>) -> Vec<(&'m Models, Vec<T>)> {
        let mut grouped: BTreeMap<u64, Vec<(&Models, Vec<T>)>> = BTreeMap::new();
        for (list, item) in lists {
            let alike = grouped.entry(list.hash).or_default();
            match alike.iter_mut().find(|(known, _)| *known == list) {
                Some((_, items)) => items.push(item),
                None => alike.push((list, vec![item])),
            }
        }
        grouped.into_values().flatten().collect()
    }

    /// The index of the model with this name. `NAME` and `NAME:latest` are the same, but an exact match wins.
    pub fn find(&self, name: &str) -> Option<u16> {
        let bare = bare_model(name);
        let start = self.sorted.partition_point(|&index| bare_model(self.name(index)) < bare);
        let same = self.sorted[start..].iter().copied().take_while(|&index| bare_model(self.name(index)) == bare);
        same.min_by_key(|&index| self.name(index) != name)
    }

    /// The first place behind a name in the alphabetical order.
    pub fn place_after(&self, name: &str) -> usize {
        self.sorted.partition_point(|&index| bare_model(self.name(index)) <= name)
    }

    /// The index of the name at a place of the alphabetical order.
    pub fn index_at(&self, place: usize) -> Option<u16> {
        self.sorted.get(place).copied()
    }

    /// The name at a place of the alphabetical order, without `:latest`. Two places can have the same name.
    pub fn bare_at(&self, place: usize) -> Option<&str> {
        self.index_at(place).map(|index| bare_model(self.name(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(names: &[&str]) -> Models {
        let mut names = names.iter().map(|&name| name.to_owned());
        Models::new(names.next().unwrap(), names.collect())
    }

    #[test]
    fn a_model_is_found_with_and_without_latest_and_an_exact_match_wins() {
        let models = models(&["qwen3:8b", "llama3:latest", "llama3", "Qwen3:8b", "phi:latest", "qwen3:8b"]);
        assert_eq!((models.all().len(), models.first()), (5, "qwen3:8b"));
        for (asked, found) in [
            ("qwen3:8b", "qwen3:8b"),
            ("Qwen3:8b", "Qwen3:8b"),
            ("llama3", "llama3"),
            ("llama3:latest", "llama3:latest"),
            ("phi", "phi:latest"),
        ] {
            assert_eq!(models.find(asked).map(|index| models.name(index)), Some(found), "{asked}");
        }
        for unknown in ["qwen3", "QWEN3:8B", "", "zzz", "phi:3"] {
            assert_eq!(models.find(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn lists_with_the_same_names_in_the_same_order_are_one_group() {
        let lists = [&["a", "b"][..], &["b", "a"], &["a", "b"], &["a"], &["A", "b"], &["a", "b"]].map(models);
        let groups = Models::grouped(lists.iter().zip(0..));
        let mut counts: Vec<usize> = groups.iter().map(|(_, items): &(_, Vec<u8>)| items.len()).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 1, 1, 3]);
        let mut same_hash = models(&["x"]);
        same_hash.hash = lists[0].hash;
        assert_eq!(Models::grouped([(&lists[0], ()), (&same_hash, ())].into_iter()).len(), 2);
    }

    #[test]
    fn places_are_in_alphabetical_order() {
        let models = models(&["c", "a:latest", "b"]);
        let names: Vec<_> = (0..4).filter_map(|place| models.bare_at(place)).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(["", "a", "aa", "c"].map(|name| models.place_after(name)), [0, 1, 1, 3]);
    }
}
