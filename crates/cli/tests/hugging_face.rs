//! Files of `trellis convert --names gpt2` in Hugging Face's `transformers`, which refuses files that do not say `"format": "pt"`. Skipped
//! with a line where Python has no `transformers`.

use std::io;
use std::path::Path;
use std::process::{Command, Output};

/// Loads `model.safetensors` of the folder as a GPT-2 of its sizes, and tells what was missing or left over.
const LOAD: &str = r#"
import json, os, sys
from safetensors import safe_open
folder = sys.argv[1]
with safe_open(os.path.join(folder, "model.safetensors"), "pt") as file:
    shape = {name: list(file.get_tensor(name).shape) for name in file.keys()}
prefix = "transformer." if "transformer.wte.weight" in shape else ""
layers = {name.split("h.")[1].split(".")[0] for name in shape if name[len(prefix):].startswith("h.")}
(vocabulary, width), (time, _) = shape[prefix + "wte.weight"], shape[prefix + "wpe.weight"]
inner = shape[prefix + "h.0.mlp.c_fc.weight"][1]
config = dict(model_type="gpt2", vocab_size=vocabulary, n_embd=width, n_positions=time, n_layer=len(layers), n_head=2, n_inner=inner)
json.dump(config, open(os.path.join(folder, "config.json"), "w"))
from transformers import GPT2LMHeadModel
model, info = GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
print(json.dumps([sorted(info["missing_keys"]), sorted(info["unexpected_keys"]), sum(p.numel() for p in model.parameters())]))
"#;

fn python(arguments: &[&str]) -> io::Result<Output> {
    let program = std::env::var("TRELLIS_PYTHON").unwrap_or_else(|_| "python3".to_string());
    Command::new(program).args(arguments).output()
}

#[test]
fn transformers_loads_what_convert_writes() {
    let found = python(&["-c", "import transformers, torch, safetensors"]);
    if !found.is_ok_and(|found| found.status.success()) {
        eprintln!("skipped: python3 has no transformers (pip install transformers torch safetensors)");
        return;
    }
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/gpt2.safetensors");
    let (ours, theirs) = (folder.join("ours.safetensors"), folder.join("model.safetensors"));
    for (from, to, names) in [(&golden, &ours, "trellis"), (&ours, &theirs, "gpt2")] {
        let mut convert = Command::new(env!("CARGO_BIN_EXE_trellis"));
        let output = convert.arg("convert").args([from, to]).args(["--names", names]).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = python(&["-c", LOAD, &folder.display().to_string()]).expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stdout);
    let told = told.lines().last().unwrap_or_default();
    // A head that is tied to the embedding is in no file.
    assert!(told.starts_with("[[], [], ") || told.starts_with("[[\"lm_head.weight\"], [], "), "{told}");
}
