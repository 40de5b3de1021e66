//! README.md, docs/ and the exercises: sentences are short, and relative links lead to a file and a heading that exist.

use std::fs;
use std::path::{Path, PathBuf};

/// Largest mean number of words in a sentence of one file.
const MEAN: f64 = 17.0;

/// A sentence with more words is long.
const LONG: usize = 35;

/// Largest share of long sentences in one file.
const LONG_SHARE: f64 = 0.03;

/// A sentence, and its number of words.
struct Sentence {
    words: usize,
    text: String,
}

/// README.md, each page of docs/ and of the book, and the order of the exercises.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs/ exists");
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.expect("readable").path()).collect();
    let book = fs::read_dir(root.join("docs/book")).expect("the book is here");
    pages.extend(book.map(|entry| entry.expect("readable").path()));
    pages.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    pages.extend(["README.md", "exercises/README.md"].map(|page| root.join(page)));
    pages.sort();
    pages
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("readable text")
}

/// Paragraphs and list items. Code, tables, headings, HTML and images are left out.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut open = false; // the next line continues the last block
    let mut fenced = false;
    let mut code_may_start = true; // after a blank line, or within indented code
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            fenced = !fenced;
            open = false;
            code_may_start = false;
            continue;
        }
        if fenced {
            continue;
        }
        if trimmed.is_empty() {
            open = false;
            code_may_start = true;
            continue;
        }
        let indented = line.starts_with("    ") && code_may_start;
        code_may_start = indented;
        if indented || trimmed.starts_with(['|', '#', '<']) || trimmed.starts_with("![") {
            open = false;
            continue;
        }
        let item = list_item(trimmed);
        if let (true, None, Some(block)) = (open, item, blocks.last_mut()) {
            block.push(' ');
            block.push_str(trimmed);
        } else {
            blocks.push(item.unwrap_or(trimmed).to_owned());
        }
        open = true;
    }
    blocks
}

/// The text behind the mark of a list item: `- `, `* ` or `1. `.
fn list_item(line: &str) -> Option<&str> {
    let unnumbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
    match unnumbered.len() < line.len() {
        true => unnumbered.strip_prefix(". "),
        false => line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")),
    }
}

/// A block without link targets and brackets; a code span is one word.
fn plain(block: &str) -> String {
    let mut text = String::new();
    let (mut code, mut target) = (false, false);
    let mut previous = ' ';
    for c in block.chars() {
        if target {
            target = c != ')';
        } else if c == '`' {
            code = !code;
            if code {
                text.push('x');
            }
        } else if code {
            text.push('_');
        } else if c == '(' && previous == ']' {
            target = true;
        } else if c != '[' && c != ']' {
            text.push(c);
        }
        previous = c;
    }
    text
}

/// Sentences end at `.`, `!` or `?`, and at the end of a paragraph or list item.
fn sentences(text: &str) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    for block in blocks(text) {
        let block = plain(&block);
        let mut sentence = Sentence { words: 0, text: String::new() };
        for word in block.split_whitespace() {
            sentence.text.push_str(word);
            sentence.text.push(' ');
            sentence.words += usize::from(word.chars().any(char::is_alphanumeric));
            let end = word.trim_end_matches(['*', '_', ')', '"', '\'', '”']);
            let abbreviation = ["al.", "e.g.", "i.e.", "vs.", "etc."].contains(&end);
            if end.ends_with(['.', '!', '?']) && !abbreviation {
                sentences.push(sentence);
                sentence = Sentence { words: 0, text: String::new() };
            }
        }
        sentences.push(sentence);
    }
    sentences.retain(|sentence| sentence.words > 0);
    sentences
}

#[test]
fn sentences_of_the_docs_are_short() {
    let mut faults = String::new();
    for page in pages() {
        let mut sentences = sentences(&read(&page));
        assert!(!sentences.is_empty(), "{}: no sentence", page.display());
        let count = sentences.len() as f64;
        let mean = sentences.iter().map(|sentence| sentence.words).sum::<usize>() as f64 / count;
        let share = sentences.iter().filter(|sentence| sentence.words > LONG).count() as f64 / count;
        if mean <= MEAN && share <= LONG_SHARE {
            continue;
        }
        let percent = 100.0 * share;
        faults += &format!("{}: mean {mean:.1} words, {percent:.1} % above {LONG}; the longest:\n", page.display());
        sentences.sort_by_key(|sentence| std::cmp::Reverse(sentence.words));
        for sentence in sentences.iter().take(5) {
            faults += &format!("  {} words: {}\n", sentence.words, sentence.text);
        }
    }
    assert!(faults.is_empty(), "at most {MEAN} words on average, {LONG_SHARE} of sentences above {LONG}\n{faults}");
}

/// Lines that are not in fenced code.
fn unfenced(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push(line);
        }
    }
    lines
}

/// Targets of the links and images of a line.
fn targets(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// The anchor that GitHub gives a heading.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

/// The anchors of a page.
fn anchors(text: &str) -> Vec<String> {
    let headings = unfenced(text).into_iter().filter(|line| line.starts_with('#'));
    headings.map(|line| slug(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn links_of_the_docs_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        for target in unfenced(&text).into_iter().flat_map(targets).filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.clone() } else { page.with_file_name("").join(file) };
            let found = path.exists() && (anchor.is_empty() || anchors(&read(&path)).iter().any(|a| a == anchor));
            if !found {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links to no file, or to no heading of it:\n{}", broken.join("\n"));
}

/// Targets of `{{#include FILE}}` and `{{#include FILE:ANCHOR}}`.
fn includes(text: &str) -> Vec<(&str, Option<&str>)> {
    let targets = text.split("{{#include ").skip(1).filter_map(|rest| rest.split_once("}}"));
    targets.map(|(target, _)| target.split_once(':').map_or((target, None), |(file, at)| (file, Some(at)))).collect()
}

#[test]
fn code_that_the_book_includes_is_there() {
    let (mut broken, mut found) = (Vec::new(), 0);
    for page in pages() {
        for (file, anchor) in includes(&read(&page)) {
            let code = fs::read_to_string(page.with_file_name("").join(file)).unwrap_or_default();
            let mark = |word: &str, at: &str| code.lines().any(|line| line.trim() == format!("// {word}: {at}"));
            if code.is_empty() || anchor.is_some_and(|at| !mark("ANCHOR", at) || !mark("ANCHOR_END", at)) {
                broken.push(format!("{}: {file} {anchor:?}", page.display()));
            }
            found += 1;
        }
    }
    assert!(broken.is_empty(), "no such file, or no such part of it:\n{}", broken.join("\n"));
    assert!(found > 20, "the book includes {found} pieces of code");
    assert_eq!(includes("a {{#include b.rs:c}} {{#include d}}"), [("b.rs", Some("c")), ("d", None)]);
}

/// A page that docs/SUMMARY.md does not list is not in the book.
#[test]
fn every_page_is_in_the_book() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let summary = read(&folder.join("SUMMARY.md"));
    for page in pages() {
        let Ok(name) = page.strip_prefix(&folder) else { continue };
        assert!(name == "SUMMARY.md" || summary.contains(&format!("]({})", name.display())), "{}", name.display());
    }
}

#[test]
fn sentences_are_counted_as_a_reader_does() {
    let text = "# A heading.\n\nOne two `three four`, e.g. [five](six/seven.md). (Eight nine.) 1.5 is a\nnumber\n\n\
                - An item\n- Another item.\n\n    code is left out\n\n| a | table |\n\n```\ncode. too.\n```\n";
    let counted: Vec<usize> = sentences(text).iter().map(|sentence| sentence.words).collect();
    assert_eq!(counted, [5, 2, 4, 2, 2]);
    assert_eq!(slug("16-bit floats, and `f16`"), "16-bit-floats-and-f16");
    assert_eq!(targets("[a](b.md#c) and ![d](e.svg)"), ["b.md#c", "e.svg"]);
}
