//! Configurations as dotted keys, and the keys in which they differ.

use crate::config::dotted;

/// Key of the seed of the drawing and the split.
pub(super) const DATA_SEED: &str = "data.seed";

/// Keys and values of a configuration, without those that name the run and choose its seeds, and its `data.seed`.
pub(super) fn values(toml: &str) -> (Vec<(String, String)>, String) {
    let plain = |value: toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let mut values: Vec<(String, String)> = dotted(toml).into_iter().map(|(key, value)| (key, plain(value))).collect();
    let seed = values.iter().find(|(key, _)| key == DATA_SEED).map_or(String::new(), |(_, seed)| seed.clone());
    values.retain(|(key, _)| !["name", "seeds", DATA_SEED].contains(&key.as_str()));
    (values, seed)
}

/// Keys whose value is not the same in all configurations, in the order in which they first stand.
pub(super) fn differing(all: &[&[(String, String)]]) -> Vec<String> {
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in all.iter().flat_map(|values| values.iter()) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let value = |values: &[(String, String)], key: &str| {
        values.iter().find(|(own, _)| own == key).map(|(_, value)| value.clone())
    };
    let differs = |key: &&String| all.windows(2).any(|two| value(two[0], key) != value(two[1], key));
    keys.into_iter().filter(differs).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_differ() {
        let of = |text: &str| values(text).0;
        let a = of(
            "name = \"a\"\nseeds = [1]\n[data]\nseed = 1\ntrain = 5\n[training]\noptimizer = \"sgd\"\n[arm.x]\nweight = 1.0\n",
        );
        let b = of("name = \"b\"\nseeds = [2]\n[data]\nseed = 2\ntrain = 5\n[training]\noptimizer = \"adam\"\n");
        assert_eq!(differing(&[&a, &b]), ["arm.x.weight", "training.optimizer"]);
        assert_eq!(differing(&[&a, &a]), Vec::<String>::new());
        assert_eq!(differing(&[&a]), Vec::<String>::new());
        assert!(a.contains(&("training.optimizer".to_string(), "sgd".to_string())));
    }
}
