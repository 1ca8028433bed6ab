//! Finds what was probably meant.

/// Returns the candidate that is near enough to `given` to be worth suggesting.
///
/// Case, hyphens and underscores do not count, so `idleTimeout` is near `idle_timeout`.
#[must_use]
pub fn nearest<'c>(given: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    // Long input is a mistake of another kind, and the distance costs its square.
    if given.len() > 80 {
        return None;
    }
    let wanted = plain(given);
    let length = wanted.chars().count();
    candidates
        .into_iter()
        .map(|candidate| {
            let candidate_plain = plain(candidate);
            let apart = strsim::damerau_levenshtein(&wanted, &candidate_plain);
            let contained = wanted.len() >= 4
                && (candidate_plain.contains(&wanted) || wanted.contains(&candidate_plain))
                && candidate_plain.len() >= 4;
            let distance = if contained { apart.min(1) } else { apart };
            (distance, apart, candidate)
        })
        .filter(|(distance, ..)| *distance <= (length / 3).max(1))
        .min()
        .map(|(.., candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let keys = ["idle_timeout", "nat_subnet", "nat_ip_count", "name"];
        assert_eq!(nearest("idel_timeout", keys), Some("idle_timeout"));
        assert_eq!(nearest("natIpCount", keys), Some("nat_ip_count"));
        assert_eq!(nearest("idle", keys), Some("idle_timeout"));
        assert_eq!(nearest("nmae", keys), Some("name"));
        // Both contain each other; the nearer one is meant.
        let words = ["hash", "hash-strict"];
        assert_eq!(nearest("hash-stric", words), Some("hash-strict"));
        assert_eq!(nearest("hashs", words), Some("hash"));
        assert_eq!(nearest("bandwidth", keys), None);
        assert_eq!(nearest(&"n".repeat(100_000), keys), None);
    }
}
