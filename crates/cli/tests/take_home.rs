//! Files that a run leaves for others: checkpoints with recipes, evaluations and predictions of them, a program for
//! PyTorch.

mod command;
mod pictures;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use command::{prints, trellis};
use pictures::png;
use serde_json::Value;
use tempfile::TempDir;

/// A temporary folder of pictures, texts and runs.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("writable"))
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("writable");
        fs::write(&path, bytes).expect("writable");
        path.to_string_lossy().into_owned()
    }

    /// Three classes of small pictures that differ in color, of odd sizes: ten to train with and four held out of each.
    fn flowers(&self) -> String {
        for (class, color) in [("daisy", [230, 230, 200]), ("poppy", [200, 30, 40]), ("violet", [90, 40, 180])] {
            for number in 0..14_u8 {
                let part = if number < 10 { "train" } else { "test" };
                self.write(&format!("flowers/{part}/{class}/{number}.png"), picture(color, number));
            }
        }
        self.at("flowers")
    }
}

/// A spot of a color on a ground of stripes.
fn picture(color: [u8; 3], number: u8) -> Vec<u8> {
    png(size(number), |x, y| spot(color, number, x, y))
}

/// The middle 20 x 20 pixels of a picture: the size that the configuration here resizes to.
fn resized(color: [u8; 3], number: u8) -> Vec<u8> {
    png([20, 20], |x, y| spot(color, number, x + 8, y + 4))
}

fn size(number: u8) -> [u32; 2] {
    [30 + u32::from(number), 41 - u32::from(number)]
}

fn spot(color: [u8; 3], number: u8, x: u32, y: u32) -> [u8; 3] {
    let [width, height] = size(number);
    let (dx, dy) = (x.abs_diff(width / 2 + u32::from(number % 5)), y.abs_diff(height / 2));
    let stripe = ((x * 7 + y * u32::from(number + 1)) % 97) as u8;
    if dx * dx + dy * dy < 80 { color.map(|c| c.saturating_sub(stripe / 4)) } else { [stripe, 100, stripe] }
}

fn json(arguments: &[&str]) -> Vec<Value> {
    let text = prints(&[arguments, &["--json"]].concat());
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The error of a run that must fail with exit code 1.
fn failure(arguments: &[&str]) -> String {
    let output = trellis(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().rfind(|line| line.starts_with("error: ")).expect("an error line without color").to_string()
}

/// Trains arm `alone` of a configuration with this network for a few steps, without a guide.
fn train(folder: &Folder, name: &str, data: &str, network: &str, place: Option<&str>) -> PathBuf {
    let guide = if data.contains("text") || data.contains("parity") { "network = \"rnn\"\n" } else { "" };
    let text = format!(
        "name = \"{name}\"\nseeds = [1]\narms = [\"alone\"]\n[data]\n{data}\n[target]\n{network}\n[guide]\n{guide}steps = 1\n\
         [training]\nsteps = 6\nbatch = 8\nlearning_rate = 0.01\neval_every = 2\n"
    );
    let file = folder.write(&format!("{name}.toml"), text);
    let mut arguments = vec!["train", &file, "--out"];
    let out = folder.at("runs");
    arguments.push(&out);
    if let Some(place) = place {
        arguments.extend(["--data", place]);
    }
    prints(&arguments);
    folder.0.path().join("runs").join(name)
}

const FLOWERS: &str = "set = \"folder\"\nsize = 16\nresize = 20\ntrain = 20\nvalidation = 6\ntest = 12";

/// The last evaluations of a run's log, by split.
fn last_evals(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("written");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("whole lines"));
    lines.filter(|line| line["kind"] == "eval" && line["arm"] == "alone" && line["step"] == 6).collect()
}

/// A checkpoint knows its network, its classes and what to do with an image. It is evaluated with the bits of its own
/// run, on the splits of the run or on other data, and it predicts.
#[test]
fn a_checkpoint_is_evaluated_and_predicts() {
    let folder = Folder::new();
    let flowers = folder.flowers();
    let run = train(&folder, "flowers", FLOWERS, "network = \"cnn\"\nchannels = [4, 8]", Some(&flowers));
    let last = run.join("alone-1.safetensors").to_string_lossy().into_owned();

    // Same data: the same bits, split by split.
    for eval in last_evals(&run) {
        let split = eval["split"].as_str().expect("a name");
        let found = json(&["eval", &last, "--data", &flowers, "--split", split]);
        assert_eq!([&found[0]["loss"], &found[0]["top1"]], [&eval["loss"], &eval["top1"]], "{split}");
    }
    let text = prints(&["eval", &last, "--data", &flowers]);
    for wanted in ["test split, 12 examples", "daisy ", "poppy ", "cnn 4-8 bn", "arm alone, seed 1, step 6"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(failure(&["eval", &last]).contains("--data PATH"));
    assert!(
        failure(&["eval", &last, "--data", &flowers, "--split", "tests"]).contains("there are train, validation, test")
    );

    // Other data: all of them, by the names of the classes.
    let image = folder.at("flowers/test/poppy/10.png");
    let kept = fs::read(&image).expect("written");
    folder.write("new/train/poppy/1.png", &kept);
    folder.write("new/train/violet/1.png", &kept);
    folder.write("new/test/violet/2.png", &kept);
    let new = folder.at("new");
    let line = &json(&["eval", &last, "--data", &new])[0];
    assert_eq!((&line["split"], &line["examples"]), (&"all".into(), &3.into()), "{line}");
    let class = |number: usize| (line["classes"][number]["name"].clone(), line["classes"][number]["count"].clone());
    assert_eq!(
        [class(0), class(1), class(2)],
        [("daisy", 0), ("poppy", 1), ("violet", 2)].map(|(n, c)| (n.into(), c.into()))
    );
    assert!(line["notes"][0].as_str().expect("a note").contains("all of them are evaluated"), "{line}");
    folder.write("new/train/rose/1.png", &kept);
    let error = failure(&["eval", &last, "--data", &new]);
    assert!(error.contains("knows no class `rose`") && error.contains("daisy, poppy, violet"), "{error}");

    // Predictions agree with the evaluation of the same image.
    let found = json(&["predict", &last, &image]);
    let best = found[0]["predictions"].as_array().expect("a list");
    assert_eq!(best.len(), 3);
    let loss = |name: &str| {
        let candidate = best.iter().find(|candidate| candidate["name"] == name).expect("a class");
        -candidate["probability"].as_f64().expect("a number").ln()
    };
    let mean = (loss("poppy") + 2.0 * loss("violet")) / 3.0;
    assert!((mean - line["loss"].as_f64().expect("a number")).abs() < 1e-4, "{found:?}, {line}");

    // A broken one is named, the others go on.
    let broken = folder.write("flowers/test/poppy/broken.png", b"broken");
    let output = trellis(&["predict", &last, &folder.at("flowers/test/poppy"), "--json"]);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 5), "{text}");
    assert!(errors.contains(&broken) && errors.contains("1 of 5 images could not be read"), "{errors}");
    assert!(failure(&["predict", &last, "--text", "a"]).contains("takes images, not text"));
    assert!(failure(&["predict", &folder.at("flowers/test/poppy/10.png"), &image]).contains("is damaged"));
}

/// Its text is one key of a valid file, the same in each run; files without it load as before and are told from others.
#[test]
fn recipes_are_text_in_a_file() {
    let folder = Folder::new();
    let run = train(&folder, "glyphs", "train = 64\nvalidation = 16\ntest = 16", "depth = 1\nwidth = 8", None);
    let last = run.join("alone-1.safetensors");
    let bytes = fs::read(&last).expect("written");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    assert_eq!((length % 8, &header["__metadata__"]["format"]), (0, &"pt".into()));
    let recipe: Value = serde_json::from_str(header["__metadata__"]["recipe"].as_str().expect("text")).expect("JSON");
    assert_eq!((&recipe["network"]["network"], &recipe["network"]["width"]), (&"fcn".into(), &8.into()), "{recipe}");
    assert_eq!((&recipe["run"]["step"], &recipe["run"]["arm"]), (&6.into(), &"alone".into()));
    assert!(recipe["input"]["normalization"]["mean"].as_f64() > Some(0.0), "{recipe}");

    // Drawn data need no place.
    let last = last.to_string_lossy().into_owned();
    let test = last_evals(&run).into_iter().find(|eval| eval["split"] == "test").expect("evaluated");
    assert_eq!(json(&["eval", &last])[0]["loss"], test["loss"]);
    // The best by validation is what the log says: the highest top-1, of these the lowest loss, of these the first.
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("written");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let evals = lines.iter().filter(|line| line["arm"] == "alone" && line["split"] == "validation");
    let score = |line: &Value| (line["top1"].as_f64().expect("a number"), -line["loss"].as_f64().expect("a number"));
    let best = evals.reduce(|best, line| if score(line) > score(best) { line } else { best }).expect("evaluated");
    let end = lines.iter().find(|line| line["arm"] == "alone" && line["kind"] == "end").expect("ended");
    assert_eq!(end["best_step"], best["step"]);
    let found = json(&["eval", &last.replace(".safetensors", ".best.safetensors"), "--split", "validation"]);
    assert_eq!((&found[0]["top1"], &found[0]["loss"]), (&best["top1"], &best["loss"]));

    // A converted file keeps its recipe.
    let half = folder.at("half.safetensors");
    prints(&["convert", &last, &half, "--dtype", "f16"]);
    let listed = prints(&["inspect", &half]);
    assert!(
        listed.contains("network: fcn 1x8 bn\n") && listed.contains("run: glyphs, arm alone, seed 1, step 6"),
        "{listed}"
    );
    let gray = folder.write("gray.png", picture([255; 3], 3));
    let found = json(&["predict", &half, &gray]);
    let notes = found[0]["notes"].to_string();
    assert!(notes.contains("33 x 38 pixels was resized to 16 x 16") && notes.contains("made gray"), "{notes}");

    // An older file: what it was before.
    let mut old = header.clone();
    old["__metadata__"].as_object_mut().expect("a map").retain(|key, _| key == "trellis");
    let mut text = old.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let older = [&(text.len() as u64).to_le_bytes()[..], &text, &bytes[8 + length..]].concat();
    let older = folder.write("older.safetensors", older);
    assert!(failure(&["predict", &older, &gray]).contains("holds weights without their recipe"));
    let listed = |file: &str| json(&["inspect", file]);
    assert_eq!(listed(&older), listed(&last));
}

/// Networks of images, each with what makes its code differ.
const OF_IMAGES: [(&str, &str); 8] = [
    ("fcn", "depth = 2\nwidth = 8\nfirst_width = 10\nbatch_norm = false"),
    ("cnn", "network = \"cnn\"\nchannels = [4, 8]"),
    ("resnet", "network = \"resnet\"\nblocks = [1, 2]\nwidth = 4"),
    ("bottleneck", "network = \"resnet\"\nblocks = [1, 1]\nwidth = 4\nbottleneck = true\nstem = \"large\""),
    ("fixup", "network = \"resnet\"\nblocks = [1, 2]\nwidth = 4\ninit = \"fixup\""),
    (
        "mobilenet",
        "network = \"mobilenet\"\nwidth = 4\nchannels = [4, 6]\nblocks = [1, 2]\nexpansions = [1, 3]\nstrides = [1, 2]\nfeatures = 8\ndropout = 0.1",
    ),
    ("plain", "network = \"resnet\"\nblocks = [1, 1]\nwidth = 4\nresidual = false"),
    ("vit", "network = \"vit\"\npatch = 4\nwidth = 8\ndepth = 2\nheads = 2\nhidden = 12"),
];

const OF_TEXT: [(&str, &str); 3] = [
    ("gru", "network = \"rnn\"\ncell = \"gru\"\nlayers = 2\nwidth = 6\nhidden = 8"),
    ("lstm", "network = \"rnn\"\ncell = \"lstm\"\nlayers = 1\nwidth = 6\nhidden = 8"),
    (
        "decoder",
        "network = \"transformer\"\nlayers = 2\nwidth = 8\nheads = 2\nhidden = 12\nnorm = \"pre\"\nactivation = \"gelu_tanh\"\n\
         positions = \"learned\"\ncausal = true\ntied = true",
    ),
];

const OF_BITS: [(&str, &str); 3] = [
    ("paper", "network = \"rnn\"\nlayers = 2\nwidth = 3\nhidden = 8\nstack = \"paper\""),
    ("encoder", "network = \"transformer\"\nlayers = 1\nwidth = 8\nheads = 2\nhidden = 12"),
    (
        "inside",
        "network = \"transformer\"\nlayers = 2\nwidth = 8\nheads = 2\nhidden = 12\nnorm = \"inside\"\ncross = true\nshared = true",
    ),
];

/// Reads lines `folder of a run, what is given`, and prints the probabilities that the run's `predict.py` gives.
const DRIVER: &str = "
import importlib.util, json, sys
for line in sys.stdin:
    run, given = json.loads(line)
    spec = importlib.util.spec_from_file_location('predict', run + '/predict.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    print(json.dumps(module.probabilities(given)))
";

/// The program that a run leaves gives the probabilities of `trellis predict`, with the real PyTorch and Pillow, for each kind of
/// network.
#[test]
fn predict_py_agrees_in_pytorch() {
    let modules = "import torch, safetensors, PIL, numpy";
    let found = Command::new("python3").args(["-c", modules]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: python3 has no torch, safetensors, PIL and numpy (pip install torch safetensors pillow numpy)"
        );
        return;
    }
    let folder = Folder::new();
    let flowers = folder.flowers();
    let image = folder.write("sized.png", resized([90, 40, 180], 12));
    let other_size = folder.at("flowers/test/violet/12.png");
    let text = folder.write("text.txt", "the quick brown fox jumps over the lazy dog. ".repeat(12));
    let mut cases: Vec<(PathBuf, String, Vec<Value>)> = Vec::new();
    let best = |run: &Path| run.join("alone-1.best.safetensors").to_string_lossy().into_owned();
    for (name, network) in OF_IMAGES {
        let run = train(&folder, name, FLOWERS, network, Some(&flowers));
        let found = json(&["predict", &best(&run), &image, &other_size]);
        for (line, file) in found.iter().zip([&image, &other_size]) {
            cases.push((run.clone(), file.clone(), line["predictions"].as_array().expect("a list").clone()));
        }
    }
    for (name, network) in OF_TEXT {
        let data = "set = \"text\"\ncontext = 8\ntrain = 24\nvalidation = 4\ntest = 4";
        let run = train(&folder, name, data, network, Some(&text));
        // Fewer tokens than a block, and more.
        for given in ["the q", "over the lazy dog"] {
            let found =
                json(&["predict", &best(&run), "--text", given])[0]["predictions"].as_array().expect("a list").clone();
            cases.push((run.clone(), given.to_string(), found));
        }
    }
    for (name, network) in OF_BITS {
        let data = "set = \"parity\"\nlengths = [2, 6]\ntrain = 16\nvalidation = 16\ntest = 16";
        let run = train(&folder, name, data, network, None);
        assert!(
            failure(&["predict", &best(&run), &image]).contains("takes sequences of 6 tokens from a vocabulary of 3")
        );
        let options = trellis_tensor::GpuOptions::from_env().expect("a plain environment");
        let gpu = trellis_tensor::Gpu::with(&options).expect("an adapter");
        let predictor = trellis_lab::recipe::Predictor::open(&gpu, Path::new(&best(&run))).expect("a checkpoint");
        let logits = predictor.logits(&[1, 0, 1, 1, 2, 2]).expect("a sequence");
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        let candidate =
            |(class, logit): (usize, &f32)| serde_json::json!({"class": class, "probability": logit.exp() / sum});
        cases.push((run, "1 0 1 1".to_string(), logits.iter().enumerate().map(candidate).collect()));
    }
    let mut driver = Command::new("python3");
    driver.args(["-c", DRIVER]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = driver.spawn().expect("it ran before");
    let lines: String = cases.iter().map(|(run, given, _)| format!("{}\n", serde_json::json!([run, given]))).collect();
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), lines.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let output = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.lines().count(), cases.len(), "{output}");
    for (line, (run, given, wanted)) in output.lines().zip(&cases) {
        let found: Vec<f64> = serde_json::from_str(line).expect("a list");
        assert!(!wanted.is_empty() && wanted.len() <= found.len());
        for candidate in wanted {
            let class = candidate["class"].as_u64().expect("a number") as usize;
            let probability = candidate["probability"].as_f64().expect("a number");
            let (name, theirs) = (run.display(), found[class]);
            // Resized pixels are those of Pillow but for a level of 255 here and there.
            let tolerance = if *given == other_size { 1e-2 } else { 1e-4 };
            assert!((probability - theirs).abs() < tolerance, "{name}, {given}: {probability} and in PyTorch {theirs}");
        }
        // It is one of what the network says, not of any: shares differ.
        let spread = found.iter().fold(0.0, |most: f64, share| most.max((share - 1.0 / found.len() as f64).abs()));
        assert!(spread > 1e-3, "{}: {line}", run.display());
    }
    // As a person runs it, beside the checkpoint.
    let output = Command::new("python3").arg(cases[0].0.join("predict.py")).arg(&image).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let name = cases[0].2[0]["name"].as_str().expect("a name");
    assert!(text.starts_with(&format!("{image}: {name} ")), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let report = fs::read_to_string(cases[0].0.join("report.html")).expect("written");
    assert!(report.contains("Take it home") && report.contains("class Dense(nn.Linear):"));
}

/// A network of text keeps all its characters: other texts are cut by them, or refused.
#[test]
fn a_text_is_cut_as_in_the_training() {
    let folder = Folder::new();
    let text = folder.write("text.txt", "the quick brown fox jumps over the lazy dog. ".repeat(12));
    let data = "set = \"text\"\ncontext = 8\ntrain = 24\nvalidation = 4\ntest = 4";
    let run = train(&folder, "text", data, OF_TEXT[0].1, Some(&text));
    let last = run.join("alone-1.safetensors").to_string_lossy().into_owned();
    for eval in last_evals(&run) {
        let split = eval["split"].as_str().expect("a name");
        let found = &json(&["eval", &last, "--data", &text, "--split", split])[0];
        let numbers = |line: &Value| ["loss", "top1", "sequences"].map(|key| line[key].clone());
        assert_eq!(numbers(found), numbers(&eval), "{split}");
    }
    // Fewer characters than the vocabulary, and as many blocks as there are.
    let other = folder.write("other.txt", "the lazy fox jumps over the fox. ".repeat(3));
    let found = &json(&["eval", &last, "--data", &other])[0];
    assert_eq!((&found["split"], &found["examples"]), (&"all".into(), &12.into()), "{found}");
    assert!(found["notes"].to_string().contains("the last 2 tokens fill no block of 8"), "{found}");
    let unknown = folder.write("unknown.txt", "The lazy fox jumps over the fox. ".repeat(3));
    let error = failure(&["eval", &last, "--data", &unknown]);
    assert!(error.contains("has 'T', which is none of the 28 characters of its vocabulary"), "{error}");
    assert!(failure(&["predict", &last, "--text", "fox!"]).contains("has '!'"));
    assert!(failure(&["predict", &last, "--text", ""]).contains("is empty"));
    assert!(failure(&["predict", &last, &text]).contains("takes text, not images"));
    let found = &json(&["predict", &last, "--text", "over the lazy dog"])[0];
    assert_eq!(found["notes"][0], "only its last 8 of 17 tokens count");
}
