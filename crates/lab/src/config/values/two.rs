//! Lists of exactly two values. TOML's reader passes over a third without a word.

use std::fmt::Display;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Two values.
pub(in crate::config) fn two<'de, D: Deserializer<'de>, T: Deserialize<'de> + Display>(
    list: D,
) -> Result<[T; 2], D::Error> {
    of_two(Vec::deserialize(list)?).map_err(D::Error::custom)
}

/// Two values, if the key is there.
pub(in crate::config) fn two_if_given<'de, D: Deserializer<'de>, T: Deserialize<'de> + Display>(
    list: D,
) -> Result<Option<[T; 2]>, D::Error> {
    two(list).map(Some)
}

/// Pairs of a guide layer and a target layer.
pub(in crate::config) fn pairs<'de, D: Deserializer<'de>>(lists: D) -> Result<Vec<(String, String)>, D::Error> {
    let lists = Vec::<Vec<String>>::deserialize(lists)?;
    let pair = |names: Vec<String>| of_two(names).map(|[guide, target]| (guide, target));
    let pairs: Result<Vec<_>, String> = lists.into_iter().map(pair).collect();
    pairs.map_err(|problem| D::Error::custom(format!("{problem}: a guide layer and a target layer")))
}

fn of_two<T: Display>(values: Vec<T>) -> Result<[T; 2], String> {
    let told = |values: Vec<T>| {
        let named = values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
        match values.get(2) {
            Some(third) => format!("`{third}` is one too many in {named}, expected two"),
            None => format!("{} of two values: {named}", values.len()),
        }
    };
    values.try_into().map_err(told)
}
