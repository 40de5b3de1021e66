//! Layout of a folder of images: `train/<class>/…` with held-out images beside it, or `<class>/…` by itself.
//!
//! Only names are read here, no image. Everything that is passed over is reported, and never becomes a class.

use std::fs;
use std::path::{Path, PathBuf};

use super::Files;
use crate::error::{Error, Result};
use crate::sets::name_list::quoted;

/// Classes and files of a folder.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Names of the classes, sorted.
    pub(super) classes: Vec<String>,
    pub(super) train: Files,
    pub(super) validation: Option<Files>,
    pub(super) test: Option<Files>,
    /// Sentence about entries that were passed over, if any were.
    pub(super) warnings: Vec<String>,
}

/// Names of the folders of each split, in lower case.
const SPLITS: [(&str, &[&str]); 3] =
    [("training", &["train"]), ("validation", &["val", "valid", "validation"]), ("test", &["test"])];

/// Folders and files that programs leave behind; so are files that begin with `._`, which macOS writes beside others.
const LEFT_BEHIND: [&str; 16] = [
    "__MACOSX",
    "__pycache__",
    ".ipynb_checkpoints",
    ".DS_Store",
    ".Trashes",
    ".Spotlight-V100",
    ".fseventsd",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "Icon\r",
];

/// True if a folder or file of this name was left behind by a program.
fn is_left_behind(name: &str) -> bool {
    name.starts_with("._") || LEFT_BEHIND.iter().any(|left| name.eq_ignore_ascii_case(left))
}

/// Endings of names of JPEG and PNG files, in lower case.
const IMAGES: [&str; 5] = ["jpg", "jpeg", "jpe", "jfif", "png"];

const HINT: &str = "lay images out as <class>/…, or as train/<class>/… with val/<class>/… and test/<class>/… beside it";

/// Largest number of files that are listed: ten times ImageNet.
const MOST_FILES: usize = 20_000_000;

/// Lists `folder`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] where classes or images are missing, or one split has two names.
pub(super) fn of(folder: &Path) -> Result<Layout> {
    let Entries { folders, files, left_behind } = Entries::of(folder)?;
    let mut passed = PassedOver { folders: Vec::new(), files };
    passed.add("", left_behind);
    let mut splits: [Vec<String>; 3] = Default::default();
    let mut others = Vec::new();
    for name in folders {
        let lower = name.to_lowercase();
        match SPLITS.iter().position(|(_, names)| names.contains(&lower.as_str())) {
            Some(split) => splits[split].push(name),
            None => others.push(name),
        }
    }
    if let Some(((split, _), names)) = SPLITS.iter().zip(&splits).find(|(_, names)| names.len() > 1) {
        let problem = format!("holds {}, two names for its {split} images", quoted(names));
        return Err(Error::data(folder, problem, "put them into one folder, or rename the other"));
    }
    let [train, validation, test] = splits.map(|names| names.into_iter().next());
    let mut layout = Layout::default();
    match (train, validation.as_ref().or(test.as_ref())) {
        (Some(train), _) => {
            passed.folders.extend(others);
            layout.classes = Entries::of(&folder.join(&train))?.folders;
            check_classes(&folder.join(&train), &layout.classes)?;
            layout.train = of_split(folder, &train, &layout.classes, &mut passed)?;
        }
        (None, Some(held_out)) => {
            let problem = format!("holds `{held_out}`, but no `train`");
            return Err(Error::data(folder, problem, format!("{HINT}; rename `{held_out}` if it is a class")));
        }
        (None, None) => {
            others.sort_unstable();
            layout.classes = others;
            check_classes(folder, &layout.classes)?;
            for (number, class) in layout.classes.iter().enumerate() {
                layout.train.extend(of_class(folder, class, number, &mut passed)?);
            }
        }
    }
    let mut held_out =
        |name: Option<String>| name.map(|name| of_split(folder, &name, &layout.classes, &mut passed)).transpose();
    (layout.validation, layout.test) = (held_out(validation)?, held_out(test)?);
    let all = [Some(&layout.train), layout.validation.as_ref(), layout.test.as_ref()];
    if all.into_iter().flatten().map(Vec::len).sum::<usize>() > MOST_FILES {
        return Err(Error::data(folder, format!("holds more than {MOST_FILES} files"), "make it smaller"));
    }
    layout.warnings.extend(passed.warning(folder));
    Ok(layout)
}

/// Refuses classes that are none, one, or more than labels can tell apart.
fn check_classes(folder: &Path, classes: &[String]) -> Result<()> {
    match classes {
        [] => Err(Error::data(folder, "holds no folders of classes", HINT)),
        [class] => {
            let path = folder.join(class);
            let Entries { folders, files, .. } = Entries::of(&path)?;
            let nested = !files.iter().any(|file| may_be_image(file)) && !folders.is_empty();
            let hint = if nested { format!("give --data {}", path.display()) } else { HINT.to_string() };
            Err(Error::data(folder, format!("holds one class, `{class}`: there is nothing to tell apart"), hint))
        }
        _ if classes.len() > usize::from(u16::MAX) => {
            Err(Error::data(folder, format!("holds {} classes, more than {}", classes.len(), u16::MAX), HINT))
        }
        _ => Ok(()),
    }
}

/// Files of all classes in the folder of a split, each with its class.
fn of_split(folder: &Path, split: &str, classes: &[String], passed: &mut PassedOver) -> Result<Files> {
    let path = folder.join(split);
    let Entries { folders, files, left_behind } = Entries::of(&path)?;
    passed.add(&format!("{split}/"), left_behind);
    passed.files.extend(files.iter().map(|file| format!("{split}/{file}")));
    let mut found = Files::new();
    for name in folders {
        match classes.binary_search(&name) {
            Ok(class) => found.extend(of_class(folder, &format!("{split}/{name}"), class, passed)?),
            Err(_) => {
                let hint = "remove it, or add it to train";
                return Err(Error::data(path.join(name), "is no class of the training images", hint));
            }
        }
    }
    if found.is_empty() {
        return Err(Error::data(path, "holds no folders of classes", HINT));
    }
    Ok(found)
}

/// Files of one class, in the folder `name` below `folder`.
fn of_class(folder: &Path, name: &str, class: usize, passed: &mut PassedOver) -> Result<Files> {
    let path = folder.join(name);
    let Entries { folders, files, left_behind } = Entries::of(&path)?;
    passed.add(&format!("{name}/"), left_behind);
    if files.is_empty() && folders.is_empty() {
        return Err(Error::data(path, "is a class without images", "remove it, or lay images there"));
    }
    let images = files.iter().any(|file| may_be_image(file));
    if !images && !folders.is_empty() {
        let problem = format!("holds no image itself, only folders: {}", quoted(&folders));
        let hint =
            "images lie in the folder of their class: move them up, or give the folder of the classes with --data";
        return Err(Error::data(path, problem, hint));
    }
    if !images {
        let problem = format!("is a class without JPEG or PNG files; it holds {}", quoted(&files));
        return Err(Error::data(path, problem, "remove it, or convert its images"));
    }
    passed.folders.extend(folders.iter().map(|inner| format!("{name}/{inner}")));
    Ok(files.into_iter().map(|file| (path.join(file), class as u16)).collect())
}

/// True if the name is one that an image may have; some have no ending.
fn may_be_image(name: &str) -> bool {
    let ending = Path::new(name).extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_none_or(|ending| IMAGES.contains(&ending.as_str()))
}

/// Contents of a folder, sorted by name; hidden entries are left out, except those that programs left behind.
struct Entries {
    folders: Vec<String>,
    files: Vec<String>,
    /// Entries that programs left there, and whether each is a folder.
    left_behind: Vec<(String, bool)>,
}

impl Entries {
    fn of(folder: &Path) -> Result<Self> {
        let mut entries = Self { folders: Vec::new(), files: Vec::new(), left_behind: Vec::new() };
        for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
            let entry = entry.map_err(|e| Error::io(folder, e))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(Error::data(folder.join(&name), "has a name that is no UTF-8", "rename it"));
            };
            let left = is_left_behind(name);
            if name.starts_with('.') && !left {
                continue;
            }
            // Of a link what it leads to counts; others need no look at the disk.
            let path: PathBuf = folder.join(name);
            let kind = entry.file_type().map_err(|e| Error::io(&path, e))?;
            let is_folder = if kind.is_symlink() { path.is_dir() } else { kind.is_dir() };
            if left {
                entries.left_behind.push((name.to_string(), is_folder));
                continue;
            }
            if is_folder { &mut entries.folders } else { &mut entries.files }.push(name.to_string());
        }
        entries.folders.sort_unstable();
        entries.files.sort_unstable();
        entries.left_behind.sort_unstable();
        Ok(entries)
    }
}

/// Names of unused entries, below the folder that was given.
struct PassedOver {
    folders: Vec<String>,
    files: Vec<String>,
}

impl PassedOver {
    /// Adds entries that programs left in the folder whose name, with a slash, is `below`.
    fn add(&mut self, below: &str, left_behind: Vec<(String, bool)>) {
        for (name, is_folder) in left_behind {
            if is_folder { &mut self.folders } else { &mut self.files }.push(format!("{below}{name}"));
        }
    }

    fn warning(&self, folder: &Path) -> Option<String> {
        let kinds = [("folders", &self.folders), ("files", &self.files)];
        let told = kinds.into_iter().filter(|(_, names)| !names.is_empty());
        let told: Vec<String> = told.map(|(kind, names)| format!("{kind} {}", quoted(names))).collect();
        let sentence =
            || format!("{}: not used, as they are neither splits nor classes: {}", folder.display(), told.join("; "));
        (!told.is_empty()).then(sentence)
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
