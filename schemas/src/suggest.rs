//! "Did you mean": the known name closest to what was written.

/// The candidate closest to `written`, if it is close enough to be what was meant.
///
/// Close enough is a Damerau-Levenshtein distance of at most a third of the longer name, and at least 1.
pub fn closest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (written.len().max(candidate.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(closest("prize", ["price", "size", "name"]), Some("price"));
        assert_eq!(closest("colour", ["price", "size"]), None);
        assert_eq!(closest("Servcie", ["service", "server"]), Some("service"));
    }
}
