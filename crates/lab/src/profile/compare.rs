//! Two profiles side by side.

use super::Profile;

/// One op in two profiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The op, or the phase where spans were timed.
    pub name: String,
    /// Milliseconds a step before; 0 if it was not there.
    pub before_ms: f64,
    /// Milliseconds a step after; 0 if it is gone.
    pub after_ms: f64,
}

/// Every op that occurs in either, the greatest change first; every phase, if one of them has timed no more.
pub fn compare(before: &Profile, after: &Profile) -> Vec<Change> {
    let by_phase = [before, after].iter().any(|profile| !profile.spans.is_empty());
    let groups = |profile: &Profile| match by_phase {
        true => profile.by_phase(),
        false => profile.grouped(|launch| launch.op.clone()),
    };
    let (old, new) = (groups(before), groups(after));
    let ms = |groups: &[super::Group], name: &str| groups.iter().find(|g| g.name == name).map_or(0.0, |g| g.ms);
    let mut names: Vec<&str> = old.iter().chain(&new).map(|group| group.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name: &str| Change { name: name.to_string(), before_ms: ms(&old, name), after_ms: ms(&new, name) };
    let mut changes: Vec<Change> = names.into_iter().map(change).collect();
    let size = |c: &Change| (c.after_ms - c.before_ms).abs();
    changes.sort_by(|a, b| size(b).total_cmp(&size(a)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::profile;

    #[test]
    fn the_greatest_change_comes_first() {
        let (before, mut after) = (profile(), profile());
        after.launches.retain(|launch| launch.op != "gather");
        after.launches.iter_mut().filter(|launch| launch.op == "matmul").for_each(|launch| launch.ms /= 2.0);
        let changes = compare(&before, &after);
        assert_eq!((changes[0].name.as_str(), changes[0].before_ms, changes[0].after_ms), ("matmul", 3.0, 1.5));
        assert_eq!((changes[1].name.as_str(), changes[1].after_ms), ("gather", 0.0));
        assert_eq!(changes.len(), 4);
    }
}
