//! The layout of the source: lengths of files, sizes of folders, crates that depend one way, files that do not import in circles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Greatest number of lines of a source file.
const LINES: usize = 400;

/// Greatest number of files beside each other.
const FILES: usize = 15;

/// Greatest number of files that import each other in a circle: an op and its gradient.
const CIRCLE: usize = 2;

/// Crates, each of which may use those after it.
const CRATES: [&str; 6] = ["cli", "lab", "guidance", "data", "tensor", "rng"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Folders under `folder`, itself included, with the files in each.
fn folders(folder: &Path) -> Vec<(PathBuf, Vec<PathBuf>)> {
    let entries = fs::read_dir(folder).expect("the source is here").map(|entry| entry.expect("readable").path());
    let (inner, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let mut found = vec![(folder.to_path_buf(), files)];
    found.extend(inner.iter().flat_map(|inner| folders(inner)));
    found
}

fn sources(folder: &str) -> Vec<(PathBuf, Vec<PathBuf>)> {
    folders(&root().join(folder))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("readable")
}

#[test]
fn source_files_are_short() {
    let long = ["crates", "tests", "examples", "exercises", "benches"]
        .into_iter()
        .flat_map(sources)
        .flat_map(|(_, files)| files);
    let long = long
        .filter(|path| path.extension().is_some_and(|e| e == "rs") && !path.starts_with(root().join("benches/peers")));
    let long: Vec<String> = long
        .map(|path| (read(&path).lines().count(), path))
        .filter(|(lines, _)| *lines > LINES)
        .map(|(lines, path)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "more than {LINES}: {long:#?}");
}

#[test]
fn folders_hold_few_files() {
    let crates = CRATES.map(|name| format!("crates/{name}/src"));
    let all = crates.iter().map(String::as_str).chain(["shaders", "tests", "examples", "exercises"]).flat_map(sources);
    // Values of PyTorch are data, not source.
    let full = all.filter(|(folder, files)| files.len() > FILES && !folder.ends_with("tests/golden"));
    let full: Vec<String> = full.map(|(folder, files)| format!("{}: {}", folder.display(), files.len())).collect();
    assert!(full.is_empty(), "more than {FILES} files: {full:?}");
}

#[test]
fn crates_depend_one_way() {
    for (number, name) in CRATES.into_iter().enumerate() {
        let manifest = read(&root().join(format!("crates/{name}/Cargo.toml")));
        for above in &CRATES[..=number] {
            assert!(!manifest.contains(&format!("trellis-{above}.workspace")), "{name} depends on {above}");
        }
    }
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    for name in CRATES {
        let modules = Modules::of(&root().join(format!("crates/{name}/src")));
        let imports = modules.imports();
        for circle in circles(&imports) {
            assert!(circle.len() <= CIRCLE, "{name}: these files import each other: {circle:?}");
        }
    }
}

/// An item is imported from one place: the root of its crate, or one public module.
#[test]
fn names_have_one_public_path() {
    for name in CRATES {
        let paths = Modules::of(&root().join(format!("crates/{name}/src"))).public_paths();
        for ((module, item), paths) in paths {
            assert!(paths.len() == 1, "{name}: {item} of {module} is exported as {paths:?}");
        }
    }
}

#[test]
fn second_paths_are_found() {
    let files = [
        ("", "pub mod a;\nmod c;\npub use a::b::One;\npub use c::Three;"),
        ("a", "mod b;\npub use b::{One, Two};\npub(crate) use crate::c::Three;"),
        ("a::b", "pub struct One;\npub struct Two;"),
        ("c", "pub fn Three() {}"),
    ];
    let files = files.map(|(module, text)| (module.to_string(), text.to_string()));
    let mut paths = Modules(files.into()).public_paths();
    paths.retain(|_, paths| paths.len() > 1);
    let one = ("a::b".to_string(), "One".to_string());
    assert_eq!(paths, BTreeMap::from([(one, BTreeSet::from(["One".to_string(), "a::One".to_string()]))]));
}

/// A comment begins with the noun of its thing: "Number of …", not "How many …".
#[test]
fn comments_begin_with_their_thing() {
    let vague = ["What ", "How ", "Whether ", "Which ", "Where ", "Most "];
    let begins = |line: &str| {
        let text = ["/// ", "//! ", "// "].iter().find_map(|mark| line.trim_start().strip_prefix(mark));
        text.is_some_and(|text| vague.iter().any(|word| text.starts_with(word)))
    };
    for (_, files) in ["crates", "tests", "examples", "exercises", "benches"].into_iter().flat_map(sources) {
        for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
            let found = read(path).lines().find(|line| begins(line)).map(str::to_string);
            assert_eq!(found, None, "{}", path.display());
        }
    }
}

#[test]
fn circles_are_found() {
    let imports = |pairs: &[(&str, &str)]| {
        let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            imports.entry(from.to_string()).or_default().insert(to.to_string());
        }
        imports
    };
    let found =
        circles(&imports(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d"), ("f", "a")]));
    let sizes: Vec<usize> = found.iter().map(BTreeSet::len).collect();
    assert_eq!(sizes, [3, 2]);
    assert!(circles(&imports(&[("a", "b"), ("b", "c")])).is_empty());
    assert_eq!(paths("use crate::{a::B, c::{D, e}};"), ["a::B", "c::D", "c::e"]);
}

/// Sets of files each of which reaches all others.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let reach = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(next) = open.pop() {
            open.extend(imports.get(&next).into_iter().flatten().filter(|to| seen.insert((*to).clone())).cloned());
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = imports.keys().map(|from| (from, reach(from))).collect();
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for (from, seen) in &reached {
        let both = |to: &&String| reached.get(to).is_some_and(|back| back.contains(*from));
        let circle: BTreeSet<String> = seen.iter().filter(both).cloned().collect();
        if circle.len() > 1 && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

/// The modules of a crate: their texts without tests and comments, by path.
struct Modules(BTreeMap<String, String>);

impl Modules {
    fn of(source: &Path) -> Self {
        let files = folders(source).into_iter().flat_map(|(_, files)| files);
        let files = files.filter(|path| path.extension().is_some_and(|e| e == "rs"));
        let module = |path: PathBuf| {
            let relative = path.strip_prefix(source).expect("within").with_extension("");
            let parts: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let own = !["mod", "lib", "main"].contains(&parts[parts.len() - 1].as_str());
            let text = read(&path);
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let code: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
            (parts[..parts.len() - usize::from(!own)].join("::"), code.join("\n"))
        };
        Self(files.map(module).collect())
    }

    /// Modules that each module uses.
    fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let used = |(module, text): (&String, &String)| {
            let absolute = |path: String| match path.strip_prefix("super::") {
                Some(rest) => {
                    module.rsplit_once("::").map_or(rest.to_string(), |(parent, _)| format!("{parent}::{rest}"))
                }
                None => path,
            };
            let targets = paths(text).into_iter().filter_map(|path| self.target(&absolute(path), 0));
            (module.clone(), targets.filter(|target| target != module && !target.is_empty()).collect())
        };
        self.0.iter().map(used).collect()
    }

    /// Public paths of each item, by the module that defines it and its name. Names that macros export are left out.
    fn public_paths(&self) -> BTreeMap<(String, String), BTreeSet<String>> {
        let (mut paths, mut open) = (BTreeMap::<_, BTreeSet<String>>::new(), vec![String::new()]);
        while let Some(module) = open.pop() {
            let within = |name: &str| if module.is_empty() { name.to_string() } else { format!("{module}::{name}") };
            let Some(text) = self.0.get(&module) else { continue };
            open.extend(text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(within));
            for name in exports(text) {
                let path = within(&name);
                let defined = self.target(&path, 0).unwrap_or_default();
                paths.entry((defined, name)).or_default().insert(path);
            }
        }
        paths
    }

    /// The module that a path names, or one of its items; a name that is used again elsewhere is followed to where it is.
    fn target(&self, path: &str, depth: usize) -> Option<String> {
        let parts: Vec<&str> = path.split("::").collect();
        let known = (0..=parts.len()).rev().find(|&count| self.0.contains_key(&parts[..count].join("::")))?;
        let module = parts[..known].join("::");
        let again = parts.get(known).filter(|_| depth < 4).and_then(|name| {
            let uses = self.0[&module].split("pub").skip(1).filter_map(|text| text.split(';').next());
            let uses = uses.filter_map(|text| text.split_once("use ").map(|(_, path)| format!("use crate::{path};")));
            uses.flat_map(|text| paths(&text)).find(|path| path.rsplit("::").next() == Some(name))
        });
        match again {
            Some(path) => {
                let path = path.strip_prefix("crate::").unwrap_or(&path).to_string();
                let inner = if module.is_empty() { path.clone() } else { format!("{module}::{path}") };
                let first = inner.split("::").take(known + 1).collect::<Vec<_>>().join("::");
                let path = if self.0.contains_key(&first) { inner } else { path };
                self.target(&path, depth + 1)
            }
            None => Some(module),
        }
    }
}

/// Paths under `crate` and `super` that a text uses, without `crate::`.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for statement in text.split(';') {
        let Some(at) = statement.rfind("use ") else { continue };
        let tree = statement[at + 4..].trim();
        if tree.starts_with("crate::") || tree.starts_with("super::") {
            expand("", tree, &mut found);
        }
    }
    found.into_iter().map(|path: String| path.strip_prefix("crate::").unwrap_or(&path).to_string()).collect()
}

/// Names of the items that a module defines for everybody or exports by `pub use`.
fn exports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for tree in text.split("\npub use ").skip(1).filter_map(|text| text.split(';').next()) {
        expand("", tree.trim(), &mut found);
    }
    let kinds = ["struct", "enum", "trait", "type", "const", "static", "fn"];
    for line in text.lines() {
        let Some((kind, rest)) = line.strip_prefix("pub ").and_then(|line| line.split_once(' ')) else { continue };
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        if kinds.contains(&kind) {
            found.push(rest[..end].to_string());
        }
    }
    found.iter().filter_map(|path| path.rsplit("::").next()).map(String::from).collect()
}

/// Adds the paths of a tree `a::{b, c::{d}}` to `found`.
fn expand(before: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or_default().trim();
        found.push(format!("{before}{name}"));
        return;
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..at].trim();
                if !part.is_empty() {
                    expand(&format!("{before}{}", head.trim()), part, found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}
