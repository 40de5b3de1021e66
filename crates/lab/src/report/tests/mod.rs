mod confusion;
mod heat_map;

use confusion::confused;

use super::*;
use trellis_guidance::trainer::{EvalRecord, RunRecord, StepRecord};

/// A run with plausible curves: it overfits if alone, less if guided.
fn run(arm: &str, seed: u64, guided_for: u64, gain: f32) -> RunRecord {
    let wobble = |step: u64, salt: u64| {
        let mixed =
            (step * 31 + salt * 17 + seed * 101 + arm.len() as u64 * 7).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        mixed as f32 / (1 << 24) as f32 - 0.5
    };
    let pairs: u64 = if arm.starts_with("arm") { 21 } else { 6 };
    let step = |step: u64| {
        let t = step as f32 / 600.0;
        let pull = |pair: u64| {
            let start = 0.9 - 0.84 * pair as f32 / pairs as f32;
            let top = 0.97 - 0.3 * pair as f32 / pairs as f32;
            let kept =
                if step >= guided_for { 0.6 + 0.4 * (-(step.abs_diff(guided_for) as f32) / 80.0).exp() } else { 1.0 };
            (start + (top - start) * (1.0 - (-6.0 * t).exp())) * kept + 0.02 * wobble(step, pair)
        };
        StepRecord {
            step,
            loss: 2.3 * (-4.0 * t).exp() + 0.02 + 0.1 * (wobble(step, 9) + 0.5),
            alignment: (step < guided_for).then_some(3.0),
            similarity: if guided_for > 0 { (0..pairs).map(pull).collect() } else { Vec::new() },
            learning_rate: 1e-3,
            balance: None,
            loss_scale: None,
            skipped: None,
        }
    };
    let eval = |step: u64, split: &str| {
        let t = step as f32 / 600.0;
        let (loss, top1) = match split {
            "train" => (2.3 * (-(4.0 - 6.0 * gain) * t).exp() + 0.02, 1.0 - 0.9 * (-5.0 * t).exp()),
            _ => (
                2.3 - 1.2 * (1.0 - (-8.0 * t).exp()) + (2.2 - 6.0 * gain) * t * t + 0.3 * wobble(step, 4) * t,
                0.1 + (0.55 + gain) * (1.0 - (-6.0 * t).exp()) + 0.05 * wobble(step, 3),
            ),
        };
        EvalRecord {
            step,
            split: split.into(),
            loss,
            top1,
            top5: None,
            sequences: None,
            similarity: Vec::new(),
            confusion: if (step, split) == (600, "test") { confused(10, seed as u32) } else { Vec::new() },
        }
    };
    let layers = |pair: u64| [format!("conv{}", pair + 1), format!("linear{}", 8 * pair + 1)];
    RunRecord {
        arm: arm.into(),
        seed,
        pairs: if guided_for > 0 { (0..pairs).map(layers).collect() } else { Vec::new() },
        steps: (0..600).map(step).collect(),
        evals: (0..=600).step_by(50).flat_map(|s| [eval(s, "train"), eval(s, "test")]).collect(),
        seconds: 11.0 + seed as f64,
        steps_per_s: if guided_for > 0 { 45.0 } else { 61.5 },
        best_step: None,
        copied_from: None,
    }
}

fn experiment() -> Experiment {
    let arms = [("trained_first", 150, 0.13), ("alone", 0, 0.0), ("trained", 600, 0.2), ("untrained", 600, 0.005)];
    Experiment {
        name: "demo".into(),
        adapter: "llvmpipe (LLVM 15.0.6, 256 bits), Vulkan".into(),
        version: "0.1.0".into(),
        data: "train 60".into(),
        class_names: (0..10).map(|class| format!("kind <{class}>")).collect(),
        config_toml:
            "[target]\nkind = \"fcn\"\ndepth = 48\nwidth = 64\n\n[guide]\nkind = \"cnn\"\nchannels = [16, 32, 64]\n"
                .into(),
        runs: (0..3).flat_map(|seed| arms.map(|(arm, guided, gain)| run(arm, seed, guided, gain))).collect(),
        guides: Vec::new(),
        seconds: 163.2,
        failure: None,
        diverged: Vec::new(),
        left_out: Vec::new(),
        missing: Vec::new(),
        memory: [("alone".to_string(), 3 << 20)].into(),
        predict_py: Some("if 1 < 2:\n    print(\"&\")\n".into()),
    }
}

/// Every element is closed by its like, every attribute is quoted: what browsers forgive and XML does not.
fn check_nesting(html: &str) {
    let void = ["meta", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or_default();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closes what was opened last");
        } else if !tag.ends_with('/') && !void.contains(&name) {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?} stay open");
}

#[test]
fn the_page_holds_tables_and_plots_and_nothing_from_elsewhere() {
    let html = report_html(&experiment());
    check_nesting(&html);
    // Top-1 at three sizes, 2 losses and CKA of 3 guided arms at two, 4 confusion matrices.
    let drawings = 3 + 2 * (2 + 3) + 4;
    // A swatch for each line of the tables of results and of prices, and of the lists below narrow drawings: 3 of 4 arms, 3 of 6 pairs.
    let swatches = 2 * 4 + 3 * 4 + 3 * 6;
    assert_eq!(html.matches("role=\"img\"").count(), drawings);
    assert_eq!(html.matches("<svg").count(), drawings + swatches);
    // One script, which sorts; three tables as CSV.
    assert_eq!(html.matches("<script").count(), 1);
    assert_eq!((html.matches("href=").count(), html.matches("href=\"data:text/csv").count()), (3, 3));
    for absent in ["<link", "<img", "src=", "url(", "@import", "NaN", "inf"] {
        assert!(!html.contains(absent), "{absent}");
    }
    assert_eq!(html.matches("http").count(), html.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    let order: Vec<usize> = ["alone", "untrained", "trained", "trained_first"]
        .map(|arm| html.find(&format!("</svg>{arm}</td>")).expect("a row"))
        .to_vec();
    assert!(order.is_sorted());
    // 30, 31 and 32 of three seeds.
    assert_eq!(html.matches("Most often: “kind &lt;4&gt;” taken for “kind &lt;9&gt;”, 93 times").count(), 4);
    assert_eq!(html.matches("“kind &lt;4&gt;” taken for “kind &lt;9&gt;”: 93 times").count(), 4);
    for wanted in [
        "minus alone",
        "depth = 48",
        "guide taken away",
        "llvmpipe",
        "better than alone",
        "With 3 seeds p cannot be below 0.250, and for 3 arms Holm’s p not below 0.750",
        "<td data-value=\"0.25\">0.250</td><td data-value=\"0.75\">0.750</td>",
        ">3.0</td>",
        "conv1 → linear1",
        "if 1 &lt; 2:",
    ] {
        assert!(html.contains(wanted), "{wanted}");
    }
    assert!(html.len() < 400_000, "{} bytes", html.len());
    // For the eye: TRELLIS_REPORT_DIR=/tmp/x cargo test -p trellis-guidance report
    if let Some(folder) = std::env::var_os("TRELLIS_REPORT_DIR") {
        let folder = Path::new(&folder);
        write_report(&experiment(), &folder.join("report.html")).expect("a folder that can be written");
        std::fs::write(folder.join("curve.svg"), curve_svg(&experiment())).expect("a folder that can be written");
    }
}

#[test]
fn what_comes_from_files_is_escaped() {
    let evil = "</style><script>alert(\"1\")</script>&\u{1b}'";
    let mut experiment = experiment();
    experiment.name = evil.into();
    experiment.adapter = evil.into();
    experiment.version = evil.into();
    experiment.config_toml = evil.into();
    for run in experiment.runs.iter_mut().filter(|run| run.arm == "trained") {
        run.arm = evil.into();
        run.pairs.iter_mut().flatten().for_each(|name| *name = evil.into());
        run.evals.iter_mut().filter(|e| e.split == "train").for_each(|e| e.split = evil.into());
    }
    for text in [report_html(&experiment), curve_svg(&experiment)] {
        let own = if text.starts_with("<!doctype") { 1 } else { 0 };
        assert!(text.matches("<script").count() == own && !text.contains('\u{1b}'));
        assert_eq!(text.matches("</style>").count(), 1);
        check_nesting(&text);
    }
}

#[test]
fn nan_breaks_nothing() {
    let mut experiment = experiment();
    for run in experiment.runs.iter_mut().filter(|run| run.arm == "trained") {
        run.steps.iter_mut().skip(300).for_each(|s| {
            (s.loss, s.alignment, s.similarity[0]) = (f32::NAN, Some(f32::NAN), f32::INFINITY);
        });
        run.evals.iter_mut().filter(|e| e.step > 300).for_each(|e| (e.loss, e.top1) = (f32::NAN, f32::NAN));
    }
    let html = report_html(&experiment);
    check_nesting(&html);
    assert!(html.contains("not finite") && html.contains("are missing from the plots"));
    assert!(!html.contains("NaN,") && !html.contains(",NaN") && !html.contains("-2147483648"));

    for run in &mut experiment.runs {
        run.steps.iter_mut().for_each(|s| (s.loss, s.learning_rate) = (f32::NAN, f32::NAN));
        run.steps.iter_mut().for_each(|s| {
            s.alignment = s.alignment.map(|_| f32::NAN);
            s.similarity.iter_mut().for_each(|c| *c = f32::NAN);
        });
        run.evals.iter_mut().for_each(|e| (e.loss, e.top1) = (f32::NAN, f32::NEG_INFINITY));
    }
    check_nesting(&report_html(&experiment));
    assert!(curve_svg(&experiment).contains("nothing was recorded"));
}

#[test]
fn nothing_recorded_is_said() {
    let html = report_html(&Experiment { name: "empty".into(), ..Experiment::default() });
    check_nesting(&html);
    assert!(html.contains("No run was finished") && !html.contains("<table"));
    assert!(curve_svg(&Experiment::default()).contains("nothing was recorded"));
}

/// Of two guides the first leaves after step 1, the second after step 3 or never; a later seed counts.
#[test]
fn every_guide_that_leaves_is_marked() {
    let mut one = run("arm", 0, 100, 0.1);
    one.pairs.truncate(2);
    let step = one.steps[0].clone();
    let similarity = |first: bool, second: bool| match (first, second) {
        (false, false) => vec![],
        pulls => [pulls.0, pulls.1].map(|pulls| if pulls { 0.5 } else { f32::NAN }).to_vec(),
    };
    let steps = |pulls: &[(bool, bool)]| -> Vec<StepRecord> {
        let step = |(number, &(first, second)): (usize, &(bool, bool))| StepRecord {
            step: number as u64,
            alignment: (first || second).then_some(1.0),
            similarity: similarity(first, second),
            ..step.clone()
        };
        pulls.iter().enumerate().map(step).collect()
    };
    let (both, later, none) = ((true, true), (false, true), (false, false));
    one.steps = steps(&[both, both, later, later, none]);
    let marked = |runs: &[RunRecord]| {
        marks(runs.iter()).into_iter().map(|(step, what)| (step as u64, what.starts_with("a "))).collect::<Vec<_>>()
    };
    assert_eq!(marked(&[one.clone()]), [(1, true), (3, false)]);
    let mut stays = one.clone();
    stays.steps = steps(&[both, both, both, later, later]);
    assert_eq!(marked(&[stays.clone()]), [(2, true)]);
    assert_eq!(marked(&[one.clone(), stays]), [(2, true), (3, false)]);
    one.steps = steps(&[both, both]);
    assert_eq!(marked(&[one]), []);
}

#[test]
fn one_to_eight_arms_of_any_name() {
    for count in 1..=8u64 {
        let runs =
            (0..count).map(|k| run(&format!("arm {k} with a name that is rather long"), 0, 100 * k, 0.01)).collect();
        let experiment = Experiment { runs, ..experiment() };
        let html = report_html(&experiment);
        check_nesting(&html);
        check_nesting(&curve_svg(&experiment));
        // Results and prices; one seed has no p.
        assert_eq!(html.matches("<tr><td>").count() as u64, 2 * count);
        if let Some(folder) = std::env::var_os("TRELLIS_REPORT_DIR") {
            write_report(&experiment, &Path::new(&folder).join("arms.html")).expect("a folder that can be written");
        }
        let (table, _) = html.split_once("</table>").expect("a table");
        let colors: std::collections::HashSet<_> =
            table.match_indices("r=\"5.5\" fill=\"").map(|(at, found)| &table[at + found.len()..][..7]).collect();
        assert_eq!(colors.len() as u64, count, "each arm has a color of its own");
    }
}

#[test]
fn a_single_evaluation_is_a_dot_and_other_splits_stand_in() {
    let mut experiment = experiment();
    experiment.runs.iter_mut().for_each(|run| run.evals.retain(|e| e.split == "test" && e.step == 600));
    assert!(curve_svg(&experiment).contains("<circle"));
    let first = |step| EvalRecord {
        step,
        split: "validation".into(),
        loss: 1.0,
        top1: 0.4,
        top5: None,
        sequences: None,
        similarity: Vec::new(),
        confusion: Vec::new(),
    };
    experiment.runs.iter_mut().for_each(|run| run.evals.extend([first(0), first(300), first(600)]));
    let svg = curve_svg(&experiment);
    assert!(svg.contains("Validation top-1, mean and range of 3 seeds") && !svg.contains("<circle"));
}

#[test]
fn the_picture_stands_alone() {
    let svg = curve_svg(&experiment());
    check_nesting(&svg);
    assert!(svg.starts_with("<svg ") && svg.contains("prefers-color-scheme:dark") && svg.contains("width=\"860\""));
}

const OWN_ARMS: &str = "arms = [\"alone\", \"trained_first\", \"orthogonal\"]\n[data]\nset = \"copy_paste\"\nlengths = [8, 8]\n\
    symbols = 8\n[target]\nnetwork = \"rnn\"\n[guide]\nnetwork = \"transformer\"\nsteps = 30\nlearning_rate = 0.01\n[training]\n\
    steps = 240\noptimizer = \"adamw\"\nlearning_rate = 0.003\n[arm.trained_first]\nfirst_steps = 100\nweight = 2\n[arm.orthogonal]\n\
    guide = \"none\"\ninit = \"orthogonal\"\nbias = \"label_prior\"\n";

#[test]
fn the_header_says_what_was_run() {
    let runs = ["alone", "trained_first", "orthogonal"].map(|arm| run(arm, 0, 0, 0.0)).to_vec();
    let data = "train 64, test 64, sequences of 18 tokens from a vocabulary of 11, 11 classes, drawn".into();
    let own = Experiment { config_toml: OWN_ARMS.into(), runs, data, ..experiment() };
    let html = report_html(&own);
    check_nesting(&html);
    for fact in [
        "<dt>Data</dt><dd>copy-paste, 8 symbols of 8 kinds; train 64, test 64, sequences of 18 tokens from a vocabulary of 11, 11 classes</dd>",
        "<dt>Target</dt><dd>rnn 2x64 embedding 64</dd>",
        ", trained 30 steps at 0.01</dd>",
        "<dt>Measure</dt><dd>CKA, weight 1</dd>",
        "<dt>Training</dt><dd>adamw, rate 0.003, batch 128, 240 steps</dd>",
        "<dt>Arms</dt><dd>alone: no guide</dd><dd>trained_first: trained guide, the first 100 of 240 steps, weight 2</dd>\
         <dd>orthogonal: no guide, recurrent weights orthogonal, head bias from the label shares</dd>",
        "<dt>Steps taken</dt><dd>600</dd>",
    ] {
        assert!(html.contains(fact), "{fact}");
    }
    let relative = format!("{OWN_ARMS}[guidance]\nbalance = true\nmap = \"all\"\n");
    let html = report_html(&Experiment { config_toml: relative, ..own });
    let fact = "<dd>CKA, weight 1 of the norm of the task&#39;s gradient, layers by the map all</dd>";
    assert!(html.contains(fact) || html.contains(&fact.replace("&#39;", "'")), "{fact}");
    let data = "train 60, test 20, images [1, 16, 16] of 10 classes, brightness 0.5".into();
    let images = Experiment { config_toml: "[target]\ndepth = 6\n".into(), data, ..experiment() };
    let html = report_html(&images);
    assert!(html.contains("<dd>glyphs; train 60, test 20, images of 1 × 16 × 16, 10 classes</dd>"));
    assert!(
        html.contains("<dd>fcn 6x128 bn</dd>") && html.contains("<dd>untrained: untrained guide at every step</dd>")
    );
    // A configuration that cannot be read, or was never kept, is left out.
    for config_toml in ["[target]\nkind = \"fcn\"\n", ""] {
        let html = report_html(&Experiment { config_toml: config_toml.into(), ..experiment() });
        assert!(
            !html.contains("<dt>Data</dt>")
                && html.contains("<dt>Arms</dt><dd>alone, untrained, trained, trained_first</dd>")
        );
    }
}

#[test]
fn a_dotted_line_shows_what_a_network_gets_that_has_learned_nothing() {
    let dotted = |toml: &str| {
        let experiment = Experiment { config_toml: toml.into(), ..experiment() };
        (curve_svg(&experiment), report_html(&experiment))
    };
    // The line, and its label in the picture and in each of the page's three sizes.
    let (svg, html) = dotted(OWN_ARMS);
    assert_eq!((svg.matches(">trivial solution 25.0 %<").count(), svg.matches("stroke-dasharray").count()), (1, 1));
    assert_eq!(html.matches(">trivial solution 25.0 %<").count(), 3);
    // It stands at its value: the height of the tick of 25 % would be between those of 20 % and 30 %.
    let height = |from: &str, attribute: &str| -> f64 {
        let (_, rest) = svg.split_once(from).expect("drawn");
        let (_, value) = rest.split_once(attribute).expect("placed");
        value.split('"').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    let line = height("<line x1=", "y1=\"");
    let tick = |text: &str| {
        let at = svg.find(&format!("{text}\n</text>")).expect("a tick");
        let (_, y) = svg[..at].rsplit_once(" y=\"").expect("placed");
        y.split('"').next().and_then(|number| number.parse::<f64>().ok()).expect("a number")
    };
    assert!(tick("40 %") < line && line < tick("20 %"), "{line} between {} and {}", tick("40 %"), tick("20 %"));
    let (svg, _) = dotted("[target]\ndepth = 6\n");
    assert!(svg.contains(">chance 10.0 %<"));
    let (svg, html) = dotted("");
    assert!(!svg.contains("chance") && !html.contains("chance 10"));
    let (svg, _) = dotted("[data]\nset = \"text\"\n[target]\nnetwork = \"rnn\"\n[guide]\nnetwork = \"rnn\"\n");
    assert!(!svg.contains("stroke-dasharray"), "a language model has no chance of its own");
}

#[test]
fn names_are_whole_however_long() {
    let long = "an arm with a name that is rather long and goes on for more than a hundred letters, so that no row of a picture \
        holds all of it";
    let experiment = Experiment { runs: vec![run(long, 0, 0, 0.0), run("alone", 0, 0, 0.0)], ..experiment() };
    let svg = curve_svg(&experiment);
    check_nesting(&svg);
    let texts: String = svg.lines().filter(|line| line.starts_with("<text") && line.contains("</text>")).collect();
    let words: String = texts.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect();
    assert!(words.contains(long) && words.contains("alone"), "{words}");
    assert!(svg.contains("height=\"460\""), "three rows below");
    assert!(report_html(&experiment).contains(&format!("</svg>{long}</li>")));
}
