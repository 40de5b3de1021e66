//! The pages in a browser, on screens of phones and desks, light and dark: nothing overflows, is cut, covers another or is
//! too small. Headless Chromium measures them (`pages.js`); without it the test says that nothing was checked.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trellis_lab::comparison::Comparison;
use trellis_lab::profile::Profile;
use trellis_lab::record::Experiment;
use trellis_lab::report;

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const LONG: &str = "an_arm_whose_name_is_longer_than_a_phone_is_wide_and_has_no_space_to_break_at";

/// Text that a page uses to follow a dark system; with the other one it is always dark.
const DARK: [(&str, &str); 2] = [("(prefers-color-scheme: dark)", "all"), ("(prefers-color-scheme:dark)", "all")];

/// Runs of `arms`, two seeds each, of `classes` classes.
fn experiment(toml: &str, arms: &[&str], classes: usize, pairs: usize) -> Experiment {
    let similarity = |step: usize| (0..pairs).map(|pair| 0.4 + 0.001 * (step * pair) as f64).collect::<Vec<_>>();
    let confusion: Vec<Vec<u32>> =
        (0..classes).map(|label| (0..classes).map(|c| (7 * label + c) as u32 % 9).collect()).collect();
    let layer = |side: &str, pair: usize| format!("{side}.layers.{pair}.feed_forward.linear2");
    let run = |arm: &str, seed: u64, gain: f64| {
        let step = |step: usize| {
            json!({"step": step, "loss": 2.3 - 0.01 * step as f64, "alignment": if step < 30 { Some(1.0) } else { None },
                "similarity": similarity(step), "learning_rate": 0.001})
        };
        let eval = |step: usize| {
            ["train", "test"].map(|split| {
                json!({"step": step, "split": split, "loss": 2.3 - 0.01 * step as f64, "top1": 0.2501 + gain * step as f64,
                    "confusion": if (step, split) == (60, "test") { confusion.clone() } else { Vec::new() }})
            })
        };
        json!({"arm": arm, "seed": seed, "pairs": (0..pairs).map(|pair| [layer("guide", pair), layer("target", pair)]).collect::<Vec<_>>(),
            "steps": (0..60).map(step).collect::<Vec<_>>(), "evals": (0..=60).step_by(10).flat_map(eval).collect::<Vec<_>>(),
            "seconds": 12.5, "steps_per_s": 1234.5})
    };
    let runs: Vec<Value> = (0..)
        .zip(arms)
        .flat_map(|(k, arm)| [run(arm, 11, 0.002 * k as f64), run(arm, 12, 0.0021 * k as f64)])
        .collect();
    let names: Vec<String> =
        (0..classes).map(|class| format!("a class with a rather long name, number {class}")).collect();
    let value = json!({"name": format!("an-experiment-{LONG}"), "adapter": "llvmpipe (LLVM 15.0.6, 256 bits)", "version": "0.1.0",
        "data": "train 64, test 64, images [1, 16, 16] of 10 classes, brightness 0.5 ± 0.1, checksums 628e8bc7",
        "class_names": names, "config_toml": toml, "runs": runs, "seconds": 163.2, "failure": null});
    serde_json::from_value(value).expect("a record")
}

/// A step of `launches` dispatches with long names, some of them much longer than others.
fn profile(launches: usize) -> Profile {
    let launch = |number: usize| {
        let layer = ["target", "backward/target", "guide", "alignment", "data", "optimizer", "loss"][number % 7];
        let phase =
            ["target_forward", "backward", "guide_forward", "alignment", "data", "optimizer", "other"][number % 7];
        json!({"op": "layer_grams_grad", "kernel": format!("gram_grad TALL PACKED LHS_K4 LHS4 RHS4 OUT4 VEC4 {}", number % 3),
            "layer": format!("{layer}/layers.{number}.feed_forward.linear2-conv1…{LONG}"), "phase": phase, "groups": [64, 64, 1],
            "ms": 0.01 + (number % 5) as f64 * 0.7, "flops": 1000 * (number * number) as u64, "bytes": 20_000 * (number + 1) as u64})
    };
    let value = json!({"name": format!("{LONG}, guided step"), "adapter": "llvmpipe (LLVM 15.0.6, 256 bits)", "version": "0.1.0", "steps": 5,
        "ceilings": {"copy_bytes_per_s": 1.2e10, "fma_flop_per_s": 6.0e13}, "step_ms": 30.5, "encode_ms": 0.2, "submit_ms": 0.1,
        "loading": {"batch": 128, "reads_per_s": 51234.5, "step_ms": 31.5, "waited_ms": 0.25},
        "memory_peak": 123_456_789, "memory": [[LONG, 100_000_000], ["target", 1000]],
        "launches": (0..launches).map(launch).collect::<Vec<_>>()});
    serde_json::from_value(value).expect("a profile")
}

/// Stops a browser that does not end by itself.
fn wait(mut browser: Child, limit: Duration) -> bool {
    let began = Instant::now();
    loop {
        match browser.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if began.elapsed() < limit => std::thread::sleep(Duration::from_millis(50)),
            _ => {
                let _ = browser.kill();
                let _ = browser.wait();
                return false;
            }
        }
    }
}

/// The document at `page` after its scripts have run.
fn document(browser: &str, page: &Path, folder: &Path) -> String {
    let out = folder.join("document.html");
    let file = std::fs::File::create(&out).expect("writable");
    let child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
        ])
        .args(["--window-size=1600,3200", "--virtual-time-budget=60000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("browser").display()))
        .arg(format!("file://{}", page.display()))
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .expect("the browser starts");
    assert!(wait(child, Duration::from_secs(60)), "{browser} did not end by itself");
    std::fs::read_to_string(out).expect("what the browser wrote")
}

#[test]
fn pages_fit_their_screens() {
    let works = |name: &&&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let Some(browser) = BROWSERS.iter().find(works) else {
        println!("skipped: none of {} is installed, so no page was looked at", BROWSERS.join(", "));
        return;
    };
    let own = format!(
        "arms = [\"alone\", \"{LONG}\", \"orthogonal\"]\n[data]\nset = \"copy_paste\"\nlengths = [8, 8]\nsymbols = 8\n\
         [target]\nnetwork = \"rnn\"\n[guide]\nnetwork = \"transformer\"\n[arm.{LONG}]\nguide = \"untrained\"\nfirst_steps = 30\n\
         [arm.orthogonal]\nguide = \"none\"\ninit = \"orthogonal\"\n"
    );
    let usual = ["alone", "untrained", "trained", "trained_first"];
    let compared: Vec<_> = [0.1, 0.01, 0.001]
        .map(|rate| {
            let config =
                format!("{own}[training]\nlearning_rate = {rate}\nsteps = 60\n[arm.{LONG}.training]\nbatch = 8\n");
            (format!("runs/{LONG}-{rate}").into(), experiment(&config, &["alone", LONG, "orthogonal"], 0, 3))
        })
        .into();
    let mut comparison = Comparison::of(format!("{LONG} and more"), compared);
    assert_eq!(comparison.members.len(), 3);
    comparison.missing.push(format!("{LONG}: not run"));
    let pages = [
        ("images", report::report_html(&experiment("name = \"x\"\n", &usual, 10, 6))),
        ("sequences", report::report_html(&experiment(&own, &["alone", LONG, "orthogonal"], 0, 21))),
        ("profile", Profile::page(&profile(120))),
        ("comparison", report::comparison_html(&comparison, &[])),
    ];
    // For the eye: TRELLIS_REPORT_DIR=/tmp/x cargo test -p trellis --test pages
    if let Some(folder) = std::env::var_os("TRELLIS_REPORT_DIR") {
        for (name, html) in &pages {
            std::fs::write(Path::new(&folder).join(format!("{name}.html")), html)
                .expect("a folder that can be written");
        }
    }
    assert!(pages[1].1.contains("recurrent weights orthogonal") && pages[1].1.contains("trivial solution 25.0 %"));
    let mut cases: Vec<Value> = Vec::new();
    for (name, html) in &pages {
        for width in [400, 768, 1400] {
            cases.push(json!({"name": format!("{name} at {width}"), "width": width, "html": html}));
        }
        let dark = DARK.iter().fold(html.clone(), |html, (from, to)| html.replace(from, to));
        cases.push(json!({"name": format!("{name} at 400, dark"), "width": 400, "html": dark}));
    }
    // Pages of another program that break each rule, so that the rules are seen to work.
    let broken = "<body><style>table { width: 3000px }</style><table><tr><td style='color: #ccc; font-size: 8px'>pale</td></tr></table>\
        <figure><svg role='img' aria-label='plot' width='100' height='50' viewBox='0 0 100 50'><text x='90' y='20'>outside</text>\
        <text x='92' y='22' font-size='9'>over it</text></svg></figure></body>";
    cases.push(json!({"name": "broken", "width": 400, "html": broken}));

    let folder = tempfile::tempdir().expect("writable");
    let page = folder.path().join("pages.html");
    let cases = serde_json::to_string(&cases).expect("JSON").replace("</", "<\\/");
    let script = format!("const cases = {cases};\n{}", include_str!("pages.js"));
    std::fs::write(&page, format!("<!doctype html><meta charset=\"utf-8\"><body><script>{script}</script></body>"))
        .expect("writable");
    let document = document(browser, &page, folder.path());

    let findings =
        document.split_once("<pre>").and_then(|(_, rest)| rest.split_once("</pre>")).map_or("", |(list, _)| list);
    let (expected, wrong): (Vec<&str>, Vec<&str>) = findings.lines().partition(|line| line.starts_with("broken: "));
    assert_eq!(wrong, ["measured 17"], "{}", wrong.join("\n"));
    for rule in ["px wide", "no scroller", "has 8px", "has contrast", "leaves the drawing", "covers", "has 9.0 px"] {
        assert!(expected.iter().any(|line| line.contains(rule)), "{rule}: {expected:?}");
    }
}
