//! The configuration as a file in which every key is explained: what `trellis config` prints and docs/cli.md holds.

use std::fmt::Write;

use toml::{Table, Value};

use super::Config;
use super::sections::guide::GuideKeys;
use super::sections::keys::{Declared, Key};
use super::sections::network::Kind;
use super::sections::{ArmConfig, DataConfig, GuidanceConfig, NetworkConfig, TrainingConfig, network_keys};

/// Width of a line of comment.
const WIDTH: usize = 110;
/// Column of the values' types.
const COLUMN: usize = 36;

/// Keys before the first table.
const TOP: [(&str, &str, &str); 3] = [
    ("name", "text", "Name of the run folder: letters, digits, `.`, `_` and `-`."),
    ("seeds", "list of whole numbers", "Seeds: each arm is trained once with each."),
    (
        "arms",
        "list of names",
        "Arms in the order in which they are trained: `alone`, `untrained`, `trained`, `trained_first`, and those of \
         `[arm.<name>]`. Differences are to the first.",
    ),
];
const NETWORK: &str = "Kind of the network. The other kinds and their keys stand at the end.";
const REPLICATES: &str = "Repetitions of each combination, each with another split, initial weights and batches.";
const BIAS: &str = "Initial bias of the head: as drawn, or the logarithm of each class's share of the training labels.";

impl Config {
    /// This configuration as a file that says of each key what it does, its values, range and default. Reading it gives this
    /// configuration again.
    pub fn explained(&self) -> String {
        let file: Table = self.to_toml().parse().unwrap_or_default();
        let section = |name: &str| file.get(name).and_then(Value::as_table).cloned().unwrap_or_default();
        let mut page = Page::default();
        let top = TOP.map(|(name, values, doc)| key(name, values, doc));
        page.keys(&top, &file);
        page.table("data", "Data set and splits.");
        page.keys(&DataConfig::keys(), &section("data"));
        page.table("target", "The network that is trained.");
        page.network(&self.target.network, &section("target"));
        page.keys(&[bias()], &section("target"));
        page.table(
            "guide",
            "The network that guides, and its own training. `[guides.<name>]` has the same keys, for more of them.",
        );
        page.network(&self.guide.network, &section("guide"));
        page.keys(&GuideKeys::keys(), &section("guide"));
        page.table("guidance", "The alignment loss.");
        page.keys(&GuidanceConfig::keys(), &section("guidance"));
        page.table("training", "The target's training.");
        page.keys(&TrainingConfig::keys(), &section("training"));
        page.own_tables(&file);
        page.comment(
            "`[sweep]` is for `trellis sweep`: keys of this file, each with a list of values or a text in the syntax of `-m`. \
             `[networks.<name>]` is for `trellis affinity`: a network with the keys of `[target]`, and `training = { … }`.",
        );
        page.line("# [sweep]");
        page.line("# training.learning_rate = [0.001, 0.003, 0.01]");
        page.commented(&[key("replicates", "whole number from 1 up", REPLICATES)], &Table::new());
        for (name, table) in [("sweep", &self.sweep), ("networks", &self.networks)] {
            if !table.is_empty() {
                let own = Table::from_iter([(name.to_string(), Value::Table(table.clone()))]);
                page.line(&own.to_string());
            }
        }
        page.comment("Keys of `[arm.<name>]`. The four usual arms need none; others need `guide`. What is left out is as in the rest of the file.");
        page.commented(&ArmConfig::keys(), &Table::new());
        for kind in Kind::ALL {
            let usual = Table::try_from(NetworkConfig::usual(kind)).unwrap_or_default();
            let name = usual.get("network").map_or(String::new(), Value::to_string);
            page.comment(&format!("Keys of `network = {name}`, with their defaults:"));
            page.commented(&network_keys::keys(kind), &usual);
        }
        page.text
    }
}

fn key(name: &'static str, values: &str, doc: &'static str) -> Key {
    Key { name, doc, values: values.to_string(), range: String::new(), needs: "" }
}

fn bias() -> Key {
    key("bias", "\"default\", \"label_prior\"", BIAS)
}

/// The page as far as it is written.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A sentence in lines of comment.
    fn sentence(&mut self, text: &str) {
        let mut line = String::from("#");
        for word in text.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(&std::mem::replace(&mut line, String::from("#")));
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(&line);
    }

    fn comment(&mut self, text: &str) {
        self.line("");
        self.sentence(text);
    }

    fn table(&mut self, name: &str, about: &str) {
        self.comment(about);
        self.line(&format!("[{name}]"));
    }

    fn network(&mut self, network: &NetworkConfig, values: &Table) {
        self.keys(&[key("network", &kinds(), NETWORK)], values);
        self.keys(&network_keys::keys(network.kind()), values);
    }

    /// Keys with their values, those without one behind a `#`.
    fn keys(&mut self, keys: &[Key], values: &Table) {
        for key in keys {
            self.sentence(key.doc);
            let setting = match values.get(key.name) {
                Some(value) => format!("{} = {value}", key.name),
                None => format!("# {} =", key.name),
            };
            self.setting(&setting, key);
        }
    }

    /// Keys of a table that is not there, each line behind a `#`.
    fn commented(&mut self, keys: &[Key], values: &Table) {
        let mut table = Self::default();
        table.keys(keys, values);
        for line in table.text.lines() {
            self.line(&format!("# {line}"));
        }
    }

    fn setting(&mut self, setting: &str, key: &Key) {
        let pad = COLUMN.saturating_sub(setting.chars().count());
        self.line(&format!("{setting}{}  # {}", " ".repeat(pad), types(key)));
    }

    /// Tables `[guides.<name>]` and `[arm.<name>]` of the file.
    fn own_tables(&mut self, file: &Table) {
        let own = ["guides", "arm"].into_iter().filter_map(|name| Some((name.to_string(), file.get(name)?.clone())));
        let own: Table = own.collect();
        if own.values().any(|tables| tables.as_table().is_some_and(|tables| !tables.is_empty())) {
            self.line("");
            self.line(&own.to_string());
        }
    }
}

/// Values, range and need of a key in words.
fn types(key: &Key) -> String {
    let mut words = key.values.clone();
    if !key.range.is_empty() {
        let _ = write!(words, " {}", key.range);
    }
    if !key.needs.is_empty() {
        let _ = write!(words, "; needs {}", key.needs);
    }
    words
}

fn kinds() -> String {
    let names = Kind::ALL.iter().filter_map(|kind| Value::try_from(kind).ok());
    names.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_explained_file_reads_back_as_the_same_configuration() {
        let own = "arms = [\"alone\", \"mine\"]\nseeds = [4]\n[target]\nnetwork = \"cnn\"\n[guide]\nsteps = 3\n[guides.small]\nnetwork = \"fcn\"\n\
                   [arm.mine]\nguide = \"small\"\nschedule = { first_steps = 20 }\ntraining = { optimizer = \"sgd\", momentum = 0.5 }\n\
                   [training]\nlearning_rate = 0.1\n";
        let sweep = "[sweep]\ntraining.learning_rate = [0.1, 0.2]\nreplicates = 2\n[networks.a]\nnetwork = \"fcn\"\n";
        for text in ["", own, sweep] {
            let config = Config::parse(text, Path::new("x.toml")).expect("sane");
            let explained = config.explained();
            assert_eq!(Config::parse(&explained, Path::new("y.toml")).expect("sane"), config, "{explained}");
        }
    }

    /// Every key that is written has a declaration, and no declaration is of a key that is not there.
    #[test]
    fn every_key_of_every_network_is_declared() {
        for kind in Kind::ALL {
            let written = Table::try_from(NetworkConfig::usual(kind)).expect("plain");
            let declared: Vec<&str> = network_keys::keys(kind).iter().map(|key| key.name).collect();
            let missing: Vec<&String> =
                written.keys().filter(|key| *key != "network" && !declared.contains(&key.as_str())).collect();
            assert!(missing.is_empty(), "{kind:?}: {missing:?}");
            for key in declared {
                let file = format!("[target]\nnetwork = {}\n{key} = {{}}\n", Value::try_from(kind).expect("a word"));
                let error =
                    Config::parse(&file, Path::new("x.toml")).expect_err("no value of a key is a table").to_string();
                assert!(!error.contains("unknown key"), "{kind:?}: {error}");
            }
        }
    }
}
