use std::path::PathBuf;

use super::*;

const KINDS: [Kind; 7] = [Kind::Fcn, Kind::Cnn, Kind::Resnet, Kind::Mobilenet, Kind::Vit, Kind::Rnn, Kind::Transformer];

fn parsed(target: Kind, guide: Kind, data: &Data) -> (String, Config) {
    let file = Path::new("my first.toml");
    let text = configuration(target, guide, data, file, Some(Path::new("/data/my set")));
    let config = Config::parse(&text, file).unwrap_or_else(|error| panic!("{target} {guide}: {error}\n{text}"));
    (text, config)
}

#[test]
fn every_pair_that_goes_together_is_a_configuration() {
    let mut pairs = 0;
    for target in KINDS {
        for guide in KINDS {
            let data = Data::drawn(target.takes_tokens());
            let Ok(both) = pair(Some(target), Some(guide), None) else {
                assert_ne!(target.takes_tokens(), guide.takes_tokens());
                continue;
            };
            let (text, config) = parsed(both.0, both.1, &data);
            assert!(text.lines().all(|line| !line.contains(['{', '}'])), "{text}");
            assert!(text.contains("trellis train 'my first.toml' --data '/data/my set'\n"), "{text}");
            assert_eq!(config.name, "my-first");
            let shown = format!("{:?}{:?}", config.target, config.guide).to_lowercase();
            assert!(shown.contains(&target.to_string()) && shown.contains(&guide.to_string()), "{shown}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 5 * 5 + 2 * 2);
}

/// Keys that are commented out are keys of the file too, with values that it takes.
#[test]
fn keys_behind_a_sign_are_known() {
    let optional = |line: &str| {
        line.strip_prefix("# ").filter(|rest| rest.contains(" = ") && !rest.starts_with('[')).map(str::to_string)
    };
    for target in KINDS {
        let data = Data::drawn(target.takes_tokens());
        let (text, _) = parsed(target, target, &data);
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with("# learning_rate")) {
            let Some(key) = optional(line) else { continue };
            let lines: Vec<&str> = text.lines().collect();
            let changed = [&lines[..number], &[key.as_str()], &lines[number + 1..]].concat().join("\n");
            if let Err(error) = Config::parse(&changed, Path::new("x.toml")) {
                // Some ask for another key beside them; none is unknown.
                let text = error.to_string();
                assert!(!text.contains("unknown") && !text.contains("duplicate"), "{key}: {text}");
            }
        }
    }
}

#[test]
fn pairs_that_do_not_go_together_are_told_what_does() {
    let refused = |target, guide, data: Option<&Data>| pair(target, guide, data).expect_err("refused").to_string();
    assert_eq!(
        refused(Some(Kind::Rnn), Some(Kind::Cnn), None),
        "rnn cnn: rnn takes sequences and cnn takes images; fcn, cnn, resnet, mobilenet and vit go together, and so do rnn and transformer"
    );
    let text = Data { set: Set::Text, ..Data::drawn(true) };
    assert!(
        refused(Some(Kind::Fcn), None, Some(&text))
            .starts_with("fcn cnn: fcn takes images, and --data gives sequences (")
    );
    // A network that is not named is one that fits.
    let usual = |target, guide, data: Option<&Data>| pair(target, guide, data).expect("a pair");
    assert_eq!(usual(None, None, None), (Kind::Fcn, Kind::Cnn));
    assert_eq!(usual(None, None, Some(&text)), (Kind::Rnn, Kind::Transformer));
    assert_eq!(usual(Some(Kind::Transformer), None, None), (Kind::Transformer, Kind::Rnn));
}

#[test]
fn names_batches_and_patches_fit() {
    assert_eq!(name(&PathBuf::from("a/my set (2).toml")), "my-set--2-");
    assert_eq!(name(&PathBuf::from(".toml")), "toml");
    assert_eq!((batch(2000, 128), batch(100, 128), batch(3, 128), batch(1, 64)), (128, 64, 2, 1));
    assert_eq!([[16, 16], [28, 28], [32, 32], [30, 20], [29, 31]].map(patch), [4, 7, 8, 5, 1]);
}
