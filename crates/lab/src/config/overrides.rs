//! Keys that are set on the command line: `training.learning_rate=3e-4`.

use std::path::Path;

use super::Config;
use toml::{Table, Value};
use trellis_guidance::{Error, Result};

/// The text of a configuration with `set` keys, each `key=value`. A value is TOML, or else a word: `training.optimizer=sgd`. Without
/// any the text stays as it is, and so it does where it is no TOML, which reading it will tell.
///
/// # Errors
/// [`Error::Config`] for what is not of this form, or a key below one that is no table.
pub(super) fn with_set(text: &str, set: &[String], path: &Path) -> Result<String> {
    let Some(mut file) = (!set.is_empty()).then(|| text.parse::<Table>().ok()).flatten() else {
        return Ok(text.to_string());
    };
    for pair in set {
        let hint = "write it as --set training.learning_rate=3e-4";
        let refused = |problem: &str| Error::config(path, pair.as_str(), problem, hint);
        let (key, value) = pair.split_once('=').ok_or_else(|| refused("has no value"))?;
        let parts: Vec<&str> = key.trim().split('.').collect();
        let Some((last, tables)) = parts.split_last().filter(|_| !parts.contains(&"")) else {
            return Err(refused("has no key"));
        };
        let mut table = &mut file;
        for name in tables {
            let below = table.entry(name.to_string()).or_insert_with(|| Value::Table(Table::new()));
            table = below.as_table_mut().ok_or_else(|| refused("lies below a key that is no table"))?;
        }
        table.insert(last.to_string(), value_of(value.trim()));
    }
    Ok(file.to_string())
}

/// An error of a text in which keys are `set`, as a user can mend it. A key that `--set` gives is said to be given there. Lines are
/// those of the file, or are left out: the text with the keys has others.
pub(super) fn told(error: Error, text: &str, set: &[String], path: &Path) -> Error {
    let Error::Config { place, key, problem, hint } = error else { return error };
    let below = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    let keys = || set.iter().filter_map(|pair| Some(pair.split_once('=')?.0.trim()));
    let given = keys().any(|own| own == key || below(&key, own));
    if !given
        && let Err(error) = Config::parse(text, path)
        && matches!(&error, Error::Config { key: of_file, .. } if *of_file == key)
    {
        return error;
    }
    let problem = match problem.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => rest.to_string(),
        None => problem,
    };
    // A table that is unknown is named without the key in it.
    let by_set = given || keys().any(|own| below(own, &key));
    Error::Config { place, key, problem: if by_set { format!("given by --set: {problem}") } else { problem }, hint }
}

fn value_of(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, pairs: &[&str]) -> Result<Config> {
        let pairs: Vec<String> = pairs.iter().map(|pair| pair.to_string()).collect();
        Config::parse_with(text, &pairs, Path::new("x.toml"))
    }

    #[test]
    fn any_key_may_be_set() {
        let text = "[training]\nlearning_rate = 0.1 # comment\n[target]\ndepth = 3\n";
        let pairs = [
            "training.learning_rate=3e-4",
            "training.optimizer=sgd",
            "seeds=[7, 8]",
            "arm.mine.guide=none",
            "arms=[\"mine\"]",
        ];
        let config = set(text, &pairs).expect("sane keys");
        assert_eq!(config.training.learning_rate, 3e-4);
        assert_eq!((config.seeds.as_slice(), config.arms.as_slice()), (&[7, 8][..], &["mine".to_string()][..]));
        assert!(config.to_toml().contains("optimizer = \"sgd\"") && config.to_toml().contains("depth = 3"));
        assert_eq!(set(text, &[]).expect("sane"), Config::parse(text, Path::new("x.toml")).expect("sane"));
    }

    #[test]
    fn what_cannot_be_set_is_told() {
        for (pair, expected) in [
            ("training.learning_rate", "has no value"),
            ("=3", "has no key"),
            ("training..x=3", "has no key"),
            ("training.learning_rate.x=3", "no table"),
            ("training.learnig_rate=3", "learnig_rate"),
            ("training.learning_rate=fast", "learning_rate"),
        ] {
            let error = set("[training]\nlearning_rate = 0.1\n", &[pair]).expect_err(pair).to_string();
            assert!(error.contains(expected), "{pair}: {error}");
        }
    }

    /// The text with the keys is written anew, without comments: its lines are not those of the file.
    #[test]
    fn errors_name_lines_of_the_file_or_none() {
        let text = "# a comment\n\n[training]\n# another\nlearning_rate = 0.1\n";
        let error = |text: &str, pairs: &[&str]| set(text, pairs).expect_err("wrong").to_string();
        for (pair, expected) in [
            ("training.btch=3", "x.toml: `training.btch`: given by --set: unknown key; did you mean `batch`?"),
            ("training.batch=abc", "x.toml: `training.batch`: given by --set: invalid type: string \"abc\", expected"),
            ("trainin.batch=3", "x.toml: `trainin`: given by --set: unknown key; did you mean `training`?"),
            ("arms=[\"alon\"]", "x.toml: `arms`: given by --set: unknown arm `alon`"),
            ("training.epochs=3", "x.toml: `training.epochs`: given by --set: says the same as `training.steps`"),
        ] {
            let error = error(&text.replace("# another", "steps = 9"), &[pair]);
            assert!(error.starts_with(expected), "{pair}: {error}");
        }
        let wrong = text.replace("# another", "btch = 3");
        let expected = "x.toml: `training.btch`: line 4: unknown key; did you mean `batch`?";
        assert_eq!(error(&wrong, &["target.depth=3"]), expected);
        assert_eq!(error(&wrong, &["training.batch=8"]), expected);
        assert!(error("a\n= 3", &["training.batch=8"]).contains("line 1"), "no TOML");
    }
}
