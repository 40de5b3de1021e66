//! Folders as people have them: which are splits, which classes, and what is not used.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use tempfile::TempDir;

use super::*;

/// A temporary folder of files, of which nothing is read.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[&str]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|file| folder.write(file));
        folder
    }

    fn write(&self, name: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }

    fn layout(&self) -> Layout {
        of(self.0.path()).unwrap()
    }

    fn refused(&self) -> String {
        of(self.0.path()).unwrap_err().to_string()
    }
}

fn classes(files: &Files) -> Vec<u16> {
    files.iter().map(|(_, class)| *class).collect()
}

#[test]
fn folders_of_classes_are_enough() {
    let folder = Folder::new(&["dog/1.jpg", "cat/1.png", "cat/2.JPEG", "cat/.hidden", ".git/config"]);
    let layout = folder.layout();
    assert_eq!(layout.classes, ["cat", "dog"]);
    assert_eq!(classes(&layout.train), [0, 0, 1]);
    assert!(layout.validation.is_none() && layout.test.is_none() && layout.warnings.is_empty(), "{layout:?}");
}

#[test]
fn held_out_images_have_many_names() {
    for (name, validation) in [("val", true), ("valid", true), ("validation", true), ("Val", true), ("test", false)] {
        let held_out = [format!("{name}/cat/1.jpg"), format!("{name}/cat/2.jpg")];
        let folder = Folder::new(&["train/cat/1.jpg", "train/dog/1.jpg", &held_out[0], &held_out[1]]);
        let layout = folder.layout();
        let (found, other) =
            if validation { (layout.validation, layout.test) } else { (layout.test, layout.validation) };
        assert_eq!(classes(&found.unwrap()), [0, 0], "{name}");
        assert!(other.is_none(), "{name}");
    }
    let folder = Folder::new(&["train/a/1.jpg", "train/b/1.jpg", "valid/b/1.jpg", "test/a/1.jpg"]);
    let layout = folder.layout();
    assert_eq!((classes(&layout.validation.unwrap()), classes(&layout.test.unwrap())), (vec![1], vec![0]));
    folder.write("val/a/1.jpg");
    let message = folder.refused();
    assert!(message.contains("holds `val`, `valid`, two names for its validation images"), "{message}");
}

#[test]
fn what_is_not_used_is_told_once_and_is_no_class() {
    let folder = Folder::new(&["cat/1.jpg", "dog/1.jpg", "__MACOSX/cat/._1.jpg", "labels.csv", "cat/old/2.jpg"]);
    let layout = folder.layout();
    assert_eq!((layout.classes, layout.train.len()), (vec!["cat".to_string(), "dog".to_string()], 2));
    let [warning] = &layout.warnings[..] else { panic!("{:?}", layout.warnings) };
    assert!(warning.contains("folders `__MACOSX`, `cat/old`; files `labels.csv`"), "{warning}");

    let files = ["train/cat/1.jpg", "train/dog/1.jpg", "train/notes.txt", "extra/cat/1.jpg", "train/__MACOSX/x.jpg"];
    let folder = Folder::new(&files);
    (0..7).for_each(|number| folder.write(&format!("{number}.txt")));
    let layout = folder.layout();
    assert_eq!(layout.classes, ["cat", "dog"]);
    let [warning] = &layout.warnings[..] else { panic!("{:?}", layout.warnings) };
    assert!(warning.contains("folders `extra`, `train/__MACOSX`; files `0.txt`"), "{warning}");
    assert!(warning.ends_with("and 3 more"), "{warning}");
}

/// macOS archives, Synology's thumbnails, Jupyter's copies: with images in them, some of them hidden.
#[test]
fn what_programs_leave_behind_is_no_class_and_is_named() {
    let images = ["cat/1.jpg", "cat/._1.jpg", "cat/Thumbs.db", "cat/@eaDir/1.jpg", "dog/1.jpg", "dog/.hidden"];
    let left = ["@eaDir/a/1.jpg", "__macosx/cat/1.jpg", ".ipynb_checkpoints/1-checkpoint.jpg", ".DS_Store", ".git/x"];
    for below in ["", "train/"] {
        let files: Vec<String> = images.iter().chain(&left).map(|file| format!("{below}{file}")).collect();
        let folder = Folder::new(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let layout = folder.layout();
        assert_eq!(layout.classes, ["cat", "dog"]);
        assert_eq!(classes(&layout.train), [0, 1], "{:?}", layout.train);
        let [warning] = &layout.warnings[..] else { panic!("{:?}", layout.warnings) };
        for named in
            [".ipynb_checkpoints", "@eaDir", "__macosx", "cat/@eaDir", ".DS_Store", "cat/._1.jpg", "cat/Thumbs.db"]
        {
            assert!(warning.contains(&format!("`{below}{named}`")), "{named}: {warning}");
        }
        assert!(!warning.contains("hidden") && !warning.contains(".git"), "{warning}");
    }
    // A class with nothing else has no images.
    let message = Folder::new(&["cat/1.jpg", "dog/1.jpg", "cow/._1.jpg", "cow/.DS_Store"]).refused();
    assert!(message.contains("cow: is a class without images"), "{message}");
}

#[test]
fn what_cannot_be_classes_is_refused_with_what_to_do() {
    let folder = Folder::new(&["cat/2020/1.jpg", "cat/2021/1.jpg", "dog/1.jpg"]);
    let message = folder.refused();
    assert!(message.contains("cat: holds no image itself, only folders: `2020`, `2021`"), "{message}");
    // An archive that was unpacked into a folder of its own.
    let folder = Folder::new(&["pets/cat/1.jpg", "pets/dog/1.jpg", "pets/labels.csv"]);
    let message = folder.refused();
    assert!(
        message.contains("holds one class, `pets`") && message.contains("give --data ") && message.ends_with("/pets")
    );
    for (files, wanted) in [
        (&["readme.txt"][..], "holds no folders of classes"),
        (&["cat/1.jpg"], "holds one class, `cat`"),
        (&["cat/1.jpg", "notes/a.txt", "notes/b.xml"], "notes: is a class without JPEG or PNG files; it holds `a.txt`"),
        (&["val/cat/1.jpg", "val/dog/1.jpg"], "holds `val`, but no `train`"),
        (&["train/cat/1.jpg", "train/dog/1.jpg", "test/cow/1.jpg"], "cow: is no class of the training images"),
        (&["train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg"], "test: holds no folders of classes"),
    ] {
        let message = Folder::new(files).refused();
        assert!(message.contains(wanted), "{message}");
    }
    let folder = Folder::new(&["cat/1.jpg", "dog/1.jpg"]);
    fs::create_dir_all(folder.0.path().join("cow")).unwrap();
    assert!(folder.refused().contains("cow: is a class without images"));
    assert!(of(Path::new("/nowhere/at/all")).unwrap_err().to_string().contains("check the path"));
}
