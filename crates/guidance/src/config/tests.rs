//! Files that must be refused, and one that must not.

use trellis_tensor::Curve;

use super::*;

fn error(text: &str) -> String {
    Config::parse(text, Path::new("x.toml")).unwrap_err().to_string()
}

#[test]
fn the_resolved_file_reads_back_as_itself() {
    let text = "name = \"a\"\n[arm.alone]\nlearning_rate = 0.003\n[guidance]\npairs = [[\"conv1\", \"fc2\"]]\n";
    let config = Config::parse(text, Path::new("x.toml")).unwrap();
    assert_eq!(config.training("alone", 0).optimizer.rate, Curve::Constant(0.003));
    assert_eq!(config.training("trained", 0).optimizer.rate, Curve::Constant(0.001));
    assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
}

#[test]
fn an_unknown_key_comes_with_line_and_suggestion() {
    let message = error("name = \"a\"\n[target]\ndept = 3\n");
    assert_eq!(message, "x.toml: `dept`: line 3: unknown key; did you mean `depth`?");
    assert!(error("[training]\noptimizer = \"adm\"\n").contains("did you mean `adam`?"));
    assert!(error("arms = [\"alon\"]\n").contains("did you mean `alone`?"));
    assert!(error("[target]\ndepth = \"six\"\n").contains("line 2"));
    assert!(error("[target\n").contains("line 1"));
}

#[test]
fn values_that_cannot_be_run_are_refused() {
    for (text, key) in [
        ("[target]\ndepth = 0\n", "target.depth"),
        ("[training]\nbatch = 5000\n", "training.batch"),
        ("[training]\nlearning_rate = nan\n", "learning_rate"),
        ("[guidance]\nweight = inf\n", "guidance.weight"),
        ("[guide]\nstrides = [1]\n", "guide.strides"),
        ("seeds = []\n", "arms"),
        ("[data]\nsize = 20\n", "data.size"),
    ] {
        assert!(error(text).contains(key), "{text}: {}", error(text));
    }
}
