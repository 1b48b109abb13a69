//! Pagination: a response holds one page of a long list at a time, so that many slow readers of it need little memory.

/// The next `count` items, or fewer, whose number is above `after`, in ascending order. Scans all items, and copies
/// none.
pub fn next<'i, T>(
    items: impl Iterator<Item = &'i T>,
    number: impl Fn(&T) -> u64,
    after: Option<u64>,
    count: usize,
) -> Vec<&'i T> {
    let mut rest: Vec<_> = items.filter(|item| after.is_none_or(|after| number(item) > after)).collect();
    if rest.len() > count {
        rest.select_nth_unstable_by_key(count, |item| number(item));
        rest.truncate(count);
    }
    rest.sort_unstable_by_key(|item| number(item));
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_in_order_and_complete() {
        let items: Vec<u64> = (0..100).map(|n| n * 37 % 101).collect();
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = next(items.iter(), |item| *item, after, 7);
            let Some(last) = page.last() else { break };
            after = Some(**last);
            listed.extend(page.into_iter().copied());
        }
        assert!(listed.is_sorted() && listed.len() == 100);
        assert_eq!(next(items.iter(), |item| *item, None, 1000).len(), 100);
    }
}
