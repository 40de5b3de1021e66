//! Confusion matrices in the report.

use super::*;

/// Mostly right, and class 4 often taken for 9; the few of class 7 more often wrong than right.
pub(super) fn confused(classes: usize, more: u32) -> Vec<Vec<u32>> {
    let count = |label: usize, class: usize| match (label, class) {
        (4, 9) => 30 + more,
        (7, 2) => 5,
        (7, 7) => 1,
        _ if label == class => 60,
        _ => u32::from((label + class).is_multiple_of(4)),
    };
    (0..classes).map(|label| (0..classes).map(|class| count(label, class)).collect()).collect()
}

/// Along both sides, whole or shortened with the whole name in a title; no two boxes of text meet.
#[test]
fn classes_have_their_names_along_the_sides_of_the_confusion_matrix() {
    let long = "a_very_long_name_of_a_class_";
    for (classes, name) in [(2, "cat"), (3, "cat"), (10, "automobile"), (14, long), (14, "猫と犬と鳥と牛と馬と羊")]
    {
        let names: Vec<String> = (0..classes).map(|class| format!("{name}{class}")).collect();
        let mut experiment = Experiment { class_names: names.clone(), ..experiment() };
        let evals = experiment.runs.iter_mut().flat_map(|run| run.evals.last_mut());
        evals.for_each(|eval| eval.confusion = confused(classes, 0));
        let html = report_html(&experiment);
        check_nesting(&html);
        let class = html.find("class=\"squares\"").expect("drawn");
        let svg = &html[html[..class].rfind("<svg").expect("begins")..];
        let svg = &svg[..svg.find("</svg>").expect("ends")];
        for name in &names {
            assert_eq!(svg.matches(&format!("<title>“{name}”</title>")).count(), 2, "{name}");
        }
        let value = |text: &str, key: &str| -> f64 {
            let (_, rest) = text.split_once(&format!("{key}=\"")).expect("placed");
            rest.split('"').next().and_then(|number| number.parse().ok()).expect("a number")
        };
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        let texts = svg.split("<text").filter_map(|text| text.split_once("</text>"));
        for (text, _) in texts.filter(|(text, _)| text.contains("<title>")) {
            let shown = text.split("</title>").nth(1).expect("a label");
            let wide: f64 = shown.chars().map(|c| if c.is_ascii() { 7.0 } else { 12.0 }).sum();
            let (x, y) = (value(text, " x"), value(text, " y"));
            if text.contains("text-anchor=\"end\"") {
                assert!(x - wide >= 0.0, "{shown} begins left of the picture");
                rows.push(y);
            } else {
                columns.push((x, text.contains("rotate(-45"), wide, shown));
            }
        }
        assert!(rows.len() == classes && rows.windows(2).all(|y| y[1] - y[0] >= 12.0));
        let (_, size) = svg.split_once("viewBox=\"0 0 ").expect("a size");
        let across: f64 = size.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
        for (at, (x, turned, wide, shown)) in columns.iter().enumerate() {
            let reach = if *turned { wide * 0.71 } else { wide / 2.0 };
            assert!(x + reach <= across + 1.0, "{shown} ends right of the picture");
            let next = columns.get(at + 1).map_or(f64::INFINITY, |(next, ..)| next - x);
            // Turned texts are as far apart as their columns, seen at 45 degrees.
            assert!(if *turned { next * 0.7 >= 12.0 } else { next >= *wide }, "{shown} meets the next");
        }
        assert_eq!(columns.len(), classes);
    }
    // Numbers where there is no room, and a word about them.
    let mut experiment = Experiment { class_names: (0..20).map(|at| format!("kind{at}")).collect(), ..experiment() };
    let evals = experiment.runs.iter_mut().flat_map(|run| run.evals.last_mut());
    evals.for_each(|eval| eval.confusion = confused(20, 0));
    let html = report_html(&experiment);
    assert!(html.contains("<title>4 “kind4”</title>4</text>") && html.contains("have numbers along the sides"));
}

#[test]
fn confusion_of_many_classes_or_ragged_counts_breaks_nothing() {
    let mut experiment = experiment();
    experiment.runs.iter_mut().for_each(|run| run.evals.iter_mut().for_each(|eval| eval.confusion.clear()));
    assert!(!report_html(&experiment).contains("taken for"));
    let evals = experiment.runs.iter_mut().flat_map(|run| run.evals.last_mut());
    for (number, eval) in evals.enumerate() {
        eval.confusion = match number % 3 {
            0 => confused(100, 0),
            1 => vec![vec![], vec![1, 2, 3]],
            _ => vec![vec![0; 3]; 3],
        };
    }
    let html = report_html(&experiment);
    check_nesting(&html);
    assert!(html.contains("99 taken for 99") && !html.contains("NaN") && !html.contains("inf %"));
}
