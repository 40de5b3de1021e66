//! `trellis config`, and the reference in docs/cli.md that is its output.

use std::path::Path;
use std::process::Command;

fn config(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_trellis")).arg("config").args(arguments).output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_reference_is_what_the_command_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/cli.md")).expect("a page");
    let (_, reference) = page.split_once("## Every key\n").expect("a section");
    let (_, block) = reference.split_once("```toml\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let (succeeded, printed, _) = config(&[]);
    assert!(succeeded);
    assert_eq!(block, printed, "replace the block by the output of `trellis config`");
}

/// A reader may take a block of the pages as a file.
#[test]
fn blocks_of_the_pages_are_configurations() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let place = tempfile::tempdir().expect("writable");
    let file = place.path().join("block.toml");
    for (page, least) in [("cli.md", 3), ("alignment.md", 1)] {
        let text = std::fs::read_to_string(root.join(page)).expect("a page");
        let blocks: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() >= least, "{page}");
        for block in blocks {
            std::fs::write(&file, block).expect("writable");
            let (succeeded, _, error) = config(&[&file.to_string_lossy()]);
            assert!(succeeded, "{page}: {error}\n{}", &block[..block.len().min(400)]);
        }
    }
}

#[test]
fn a_file_is_printed_with_its_defaults() {
    let file = format!("{}/../../examples/configs/glyphs.toml", env!("CARGO_MANIFEST_DIR"));
    let (succeeded, printed, _) = config(&[&file, "--set", "training.learning_rate=0.25"]);
    assert!(
        succeeded && printed.contains("\nlearning_rate = 0.25  ") && printed.contains("# Weight decay: "),
        "{printed}"
    );
    let (succeeded, json, _) = config(&[&file, "--json"]);
    assert!(succeeded);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["training"]["learning_rate"].is_number() && json["guide"]["steps"].is_number(), "{json}");
    let (succeeded, _, error) = config(&[&file, "--set", "training.learnig_rate=0.25"]);
    let told = "glyphs.toml: `training.learnig_rate`: given by --set: unknown key; did you mean `learning_rate`?";
    assert!(!succeeded && error.contains(told), "{error}");
}
