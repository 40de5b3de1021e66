//! Affinity of architectures: each of several networks guides each other, and itself.
//!
//! An experiment for each target trains it alone and by every guide. [`Affinity`] is the matrix of what the guides were worth.

mod cluster;
mod matrix;
mod picture;

use std::path::Path;

use toml::{Table, Value};
use trellis_guidance::{Error, Result};

use crate::config::Config;
use crate::sweep::Cell;
pub use matrix::{Affinity, Worth};
pub use picture::{affinity_figures, affinity_svg};

/// The arm without a guide, the first of each experiment.
const ALONE: &str = "alone";

/// The experiments of an affinity: one for each table `[networks.<name>]` of the file `text`, whose network is the target there, and the
/// guide of an arm in each of them. `[guide]` has the keys of the guides' own training (`steps = 0`: untrained guides), and a network's key
/// `training` those of its own as a target. Each comes `replicates` times, if that is not 0.
///
/// # Errors
/// [`Error::Config`] for a file without two networks, and with the target for what cannot be run.
pub fn experiments(text: &str, path: &Path, replicates: u32) -> Result<Vec<(Cell, Config)>> {
    let refused = |key: &str, problem: &str, hint: &str| Error::config(path, key, problem, hint);
    // A file that is no TOML is told as ever, with its line.
    let file: Table = text.parse().unwrap_or_default();
    for section in ["target", "guides", "arm", "arms", "sweep"] {
        if file.contains_key(section) {
            let problem = "has no meaning here: every network is target and guide";
            return Err(refused(section, problem, "remove it; a network stands in [networks.NAME]"));
        }
    }
    let name = Config::parse(text, path)?.name;
    let networks = file.get("networks").and_then(Value::as_table).cloned().unwrap_or_default();
    if networks.len() < 2 {
        let hint = "write a table [networks.NAME] for each of at least two networks: network = \"fcn\", depth = 6";
        return Err(refused("networks", "are fewer than two", hint));
    }
    let (mut guides, mut arms) = (Table::new(), Table::new());
    let own = file.get("guide").and_then(Value::as_table).cloned().unwrap_or_default();
    for (name, network) in &networks {
        let Some(network) = network.as_table() else {
            return Err(refused(&format!("networks.{name}"), "is no table", "write it as [networks.NAME]"));
        };
        if name == ALONE {
            return Err(refused("networks.alone", "is the name of the arm without a guide", "give it another"));
        }
        let mut guide = own.clone();
        guide.extend(network.clone().into_iter().filter(|(key, _)| key != "training"));
        guides.insert(name.clone(), Value::Table(guide));
        arms.insert(name.clone(), Value::Table([("guide".to_string(), name.as_str().into())].into_iter().collect()));
    }
    let names: Vec<Value> = [ALONE].into_iter().chain(networks.keys().map(String::as_str)).map(Value::from).collect();
    let mut all = Vec::new();
    for (target, network) in &networks {
        let mut table = file.clone();
        table.remove("networks");
        table.remove("guide");
        let mut network = network.as_table().cloned().unwrap_or_default();
        if let Some(Value::Table(training)) = network.remove("training") {
            let base = table.entry("training").or_insert_with(|| Value::Table(Table::new()));
            base.as_table_mut().into_iter().for_each(|base| base.extend(training.clone()));
        }
        table.insert("target".to_string(), Value::Table(network));
        table.insert("guides".to_string(), Value::Table(guides.clone()));
        table.insert("arm".to_string(), Value::Table(arms.clone()));
        table.insert("arms".to_string(), Value::Array(names.clone()));
        for replicate in if replicates == 0 { vec![None] } else { (1..=u64::from(replicates)).map(Some).collect() } {
            let cell = Cell { name: target.clone(), set: vec![format!("target={target}")], replicate };
            table.insert("name".to_string(), cell.folder().into());
            if let Some(number) = replicate {
                table.insert("seeds".to_string(), Value::Array(vec![Value::Integer(number as i64)]));
                let data = table.entry("data").or_insert_with(|| Value::Table(Table::new()));
                data.as_table_mut().and_then(|data| data.insert("seed".to_string(), Value::Integer(number as i64)));
            }
            let config = Config::parse(&table.to_string(), path).and_then(|config| config.with_files_beside(path));
            all.push((cell, config.map_err(|error| error.in_run(format!("target {target} of {name}")))?));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "name = \"x\"\nseeds = [4]\n[data]\ntrain = 64\n[guide]\nsteps = 7\n[training]\nsteps = 5\n[networks.a]\n\
                        network = \"fcn\"\ndepth = 2\n[networks.b]\nnetwork = \"cnn\"\nchannels = [4]\ntraining = { learning_rate = 0.5 }\n";

    #[test]
    fn each_network_is_target_and_guide() {
        let all = experiments(FILE, Path::new("x.toml"), 0).expect("two networks");
        let names: Vec<&str> = all.iter().map(|(cell, _)| cell.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        for ((_, config), rate) in all.iter().zip([1e-3, 0.5]) {
            assert_eq!(config.arms, ["alone", "a", "b"]);
            assert_eq!((config.training.learning_rate, config.training.steps, config.seeds[0]), (rate, 5, 4));
            assert!(config.guides.values().all(|guide| guide.keys.steps == 7));
            assert_ne!(config.guides["a"].network, config.guides["b"].network);
        }
        assert_eq!(all[1].1.target.network, all[0].1.guides["b"].network);
        // Files lie beside the file that names them.
        let from_file = FILE.replace("steps = 7", "weights = \"w.safetensors\"");
        let all = experiments(&from_file, Path::new("/far/x.toml"), 0).expect("two networks");
        assert_eq!(all[0].1.guides["b"].keys.weights.as_deref(), Some(Path::new("/far/w.safetensors")));
        let repeated = experiments(FILE, Path::new("x.toml"), 3).expect("two networks");
        let (cell, config) = &repeated[5];
        assert_eq!(
            (cell.folder().as_str(), config.seeds.as_slice(), config.data.seed),
            ("b__replicate-3", &[3][..], 3)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, told) in [
            ("[networks.a]\nnetwork = \"fcn\"\n".to_string(), "fewer than two"),
            (FILE.replace("networks.b", "networks.alone"), "without a guide"),
            (format!("{FILE}[arm.mine]\nguide = \"none\"\n"), "`arm`"),
            (FILE.replace("depth = 2", "dept = 2"), "did you mean `depth`"),
        ] {
            let error = experiments(&text, Path::new("x.toml"), 0).expect_err(&text).to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
