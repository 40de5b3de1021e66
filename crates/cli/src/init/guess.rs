//! Kind of data that lies at a path, its sizes and counts.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use trellis_data::{Source, cifar, folder, idx, picture};
use trellis_guidance::{Error, Result};

/// Data of an experiment, as far as its configuration tells them.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) set: Set,
    /// Data in words.
    pub(super) what: String,
    /// Training images, sequences or blocks.
    pub(super) train: usize,
    /// Height and width of images.
    pub(super) sides: [usize; 2],
    /// Values of the template of the set.
    pub(super) values: Vec<(&'static str, String)>,
}

/// Kinds of data set, as `[data] set` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Glyphs,
    CopyPaste,
    Idx,
    Cifar,
    Folder,
    Text,
}

impl Set {
    pub(super) fn gives_tokens(self) -> bool {
        matches!(self, Self::CopyPaste | Self::Text)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Glyphs => "glyphs",
            Self::CopyPaste => "copy_paste",
            Self::Idx => "idx",
            Self::Cifar => "cifar",
            Self::Folder => "folder",
            Self::Text => "text",
        }
    }

    /// Its section of the file.
    pub(super) fn section(self) -> &'static str {
        match self {
            Self::Glyphs => include_str!("data/glyphs.toml"),
            Self::CopyPaste => include_str!("data/copy_paste.toml"),
            Self::Idx => include_str!("data/idx.toml"),
            Self::Cifar => include_str!("data/cifar.toml"),
            Self::Folder => include_str!("data/folder.toml"),
            Self::Text => include_str!("data/text.toml"),
        }
    }
}

/// Largest number of pixels a side that networks see of the images of a folder: quick, and enough to tell most things apart.
const SIDE: usize = 32;

/// Fewest pixels a side.
const LEAST_SIDE: usize = 8;

/// Images of a folder that are decoded to see how large they are.
const LOOKED_AT: usize = 8;

/// Fewest and most tokens of a block of text.
const CONTEXT: [usize; 2] = [8, 64];

/// Largest numbers of blocks of text to validate and to test with: an evaluation looks at all of them.
const HELD_OUT: [usize; 2] = [500, 1000];

/// Fewest examples of a split: every measure of alikeness compares so many.
const LEAST: usize = 4;

/// Fewest blocks of text that make an experiment.
const BLOCKS: usize = 20;

impl Data {
    /// Data that are drawn: sequences or images.
    pub(super) fn drawn(tokens: bool) -> Self {
        match tokens {
            true => Self::new(Set::CopyPaste, "drawn sequences (copy-paste)".to_string(), [512, 512, 1024], [0; 2]),
            false => Self::new(Set::Glyphs, "drawn glyphs".to_string(), [2000, 500, 1000], [16; 2]).with("size", 16),
        }
    }

    fn new(set: Set, what: String, [train, validation, test]: [usize; 3], sides: [usize; 2]) -> Self {
        let counts = [("train", train), ("validation", validation), ("test", test)];
        let values = counts.map(|(key, count)| (key, count.to_string())).to_vec();
        Self { set, what, train, sides, values }
    }

    fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.values.push((key, value.to_string()));
        self
    }
}

/// The data at `path`.
///
/// # Errors
/// [`Error::Data`] for what cannot be read, and where nothing lies that Trellis reads, or too little.
pub(super) fn guess(path: &Path) -> Result<Data> {
    let metadata = fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if metadata.is_file() {
        return text(path);
    }
    let names = names(path)?;
    let any = |is: &dyn Fn(&str) -> bool| names.iter().any(|name| is(name));
    if idx::is_there(path)? {
        return idx(path);
    }
    if any(&|name| name == "train.bin" || (name.starts_with("data_batch_") && name.ends_with(".bin"))) {
        return cifar(path);
    }
    if any(&|name| path.join(name).is_dir()) {
        return folder(path);
    }
    let hint = if any(&|name| name.starts_with("data_batch_")) {
        "this is CIFAR for Python: unpack the binary version"
    } else {
        "give a folder with a folder of JPEG or PNG files for each class, IDX files (MNIST) or CIFAR in binary form, or \
         a file of text"
    };
    Err(Error::data(path, "holds nothing that Trellis reads", hint))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry.map_err(|e| Error::io(folder, e))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).filter(|name| name.as_ref().map_or(true, |name| !name.starts_with('.'))).collect()
}

/// Sizes of training, validation and test split, of `first` images to be cut and, where there are any, `second` to test.
fn splits(path: &Path, first: usize, second: Option<usize>) -> Result<[usize; 3]> {
    let tenth = (first / 10).max(LEAST);
    let [train, validation, test] = match second {
        Some(test) => [first.saturating_sub(tenth), tenth, test],
        None => [first.saturating_sub(2 * tenth), tenth, tenth],
    };
    if train < LEAST || test < LEAST {
        let problem = format!("holds {} images, too few to train and to test with", first + second.unwrap_or(0));
        return Err(Error::data(path, problem, "add some: ten of each class are few"));
    }
    Ok([train, validation, test])
}

fn idx(path: &Path) -> Result<Data> {
    // The number of classes is known only from the labels: any byte is one at first.
    let (first, second) = idx::open(path, 256)?;
    let [_, height, width] = first.shape();
    let mut pixels = vec![0; height * width];
    let mut most = 0;
    for source in [Some(&first), second.as_ref()].into_iter().flatten() {
        for index in 0..source.count() {
            most = most.max(source.read(index, &mut pixels)?);
        }
    }
    let counts = splits(path, first.count(), second.map(|second| second.count()))?;
    let what = format!("IDX images of {height} x {width} pixels in {}", path.display());
    Ok(Data::new(Set::Idx, what, counts, [height, width])
        .with("height", height)
        .with("width", width)
        .with("classes", usize::from(most) + 1))
}

fn cifar(path: &Path) -> Result<Data> {
    let (first, second) = cifar::open(path)?;
    let counts = splits(path, first.count(), Some(second.count()))?;
    let what = format!("CIFAR-{} in {}", first.classes(), path.display());
    Ok(Data::new(Set::Cifar, what, counts, [32; 2]).with("classes", first.classes()))
}

/// Pixels a side for the images of a folder: no more than the smaller half of those that are looked at has, in steps of 4, which patches
/// divide. One that cannot be read is told when it is trained with.
fn side(images: &folder::ImageFiles) -> usize {
    let apart = images.count().div_ceil(LOOKED_AT).max(1);
    let looked_at = images.paths().step_by(apart).filter_map(|path| picture::decode(path, "").ok());
    let mut sides: Vec<usize> = looked_at.map(|image| image.width.min(image.height) as usize).collect();
    sides.sort_unstable();
    let usual = sides.get(sides.len() / 2).copied().unwrap_or(SIDE);
    (usual / 4 * 4).clamp(LEAST_SIDE, SIDE)
}

/// Splits of a folder are shares, and all that lies in a folder of their own.
fn folder(path: &Path) -> Result<Data> {
    let folder = folder::open(path, SIDE)?;
    let (first, classes, side) = (folder.train.count(), folder.train.classes(), side(&folder.train));
    let own = [&folder.validation, &folder.test].map(|split| split.as_ref().map(Source::count));
    let shares = match own {
        [None, None] => [Some(0.8), Some(0.1), Some(0.1)],
        [None, Some(_)] => [Some(0.9), Some(0.1), None],
        [Some(_), None] => [Some(0.9), None, Some(0.1)],
        [Some(_), Some(_)] => [None; 3],
    };
    let train = (shares[0].unwrap_or(1.0) * first as f64) as usize;
    let what = format!("images of {classes} classes in {}", path.display());
    let line = |key: &str, share: Option<f64>, own: Option<usize>| match share {
        Some(share) => format!("{key} = {share:?}"),
        None => format!("# {key} = {}", own.unwrap_or(0)),
    };
    let of = |own: Option<usize>| if own.is_some() { "all in the folder of its own" } else { "a share or a number" };
    Ok(Data::new(Set::Folder, what, [train, 0, 0], [side; 2])
        .with("size", side)
        .with("resize", side + side / 8)
        .with("classes", classes)
        .with("all", first)
        .with("train_line", line("train", shares[0], Some(first)))
        .with("validation_line", line("validation", shares[1], own[0]))
        .with("test_line", line("test", shares[2], own[1]))
        .with("of_validation", of(own[0]))
        .with("of_test", of(own[1])))
}

fn text(path: &Path) -> Result<Data> {
    let (level, tokens) = count(path)?;
    let blocks = |context: usize| tokens.saturating_sub(1) / context;
    let [least, most] = CONTEXT;
    let fits = (least..=most).rev().find(|context| context.is_power_of_two() && blocks(*context) >= BLOCKS);
    let Some(context) = fits else {
        let problem = format!("holds {tokens} {level}, too few to train and to test with");
        return Err(Error::data(path, problem, "give a longer text: a hundred thousand are few"));
    };
    let blocks = blocks(context);
    let [validation, test] = HELD_OUT.map(|most| (blocks / 10).clamp(LEAST, most));
    let train = (blocks - validation - test).min(10_000_000);
    let what = format!("the text {} ({tokens} {level})", path.display());
    Ok(Data::new(Set::Text, what, [train, validation, test], [0; 2]).with("level", level).with("context", context))
}

/// Level at which a text is cut, `characters` or `bytes`, and the number of its characters or bytes.
fn count(path: &Path) -> Result<(&'static str, usize)> {
    let mut file = BufReader::new(File::open(path).map_err(|e| Error::io(path, e))?);
    let (mut bytes, mut starts, mut utf8) = (0_usize, 0_usize, true);
    let mut buffer = vec![0; 1 << 16];
    let mut held = 0; // Bytes of a character that the last part did not end.
    loop {
        let read = file.read(&mut buffer[held..]).map_err(|e| Error::io(path, e))?;
        let part = &buffer[..held + read];
        if bytes == 0 && part.contains(&0) {
            let hint = "give a file of text, or the folder that the images of an image set lie in";
            return Err(Error::data(path, "is no text: it holds bytes of 0", hint));
        }
        bytes += read;
        let valid = match std::str::from_utf8(part) {
            Ok(_) => part.len(),
            Err(error) => {
                utf8 &= error.error_len().is_none() && read > 0;
                error.valid_up_to()
            }
        };
        starts += part[..valid].iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
        if read == 0 || !utf8 {
            break;
        }
        let (end, rest) = (part.len(), part.len() - valid);
        buffer.copy_within(valid..end, 0);
        held = rest;
    }
    match utf8 {
        true => Ok(("characters", starts)),
        false => Ok(("bytes", fs::metadata(path).map_err(|e| Error::io(path, e))?.len() as usize)),
    }
}
