//! Token cache of a text in a file: cut once, and found again by later runs that want the same.
//!
//! A line of JSON, then the ids. The name and the line hold a hash of what the ids depend on: all bytes of the text, and how
//! they are cut. Size and date would not tell of every change. Reading a text for its hash takes about two seconds a GiB, cutting
//! it minutes.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Ids, Tokenizer, Vocabulary};
use crate::error::{Error, Place, Result};
use crate::io::Bytes;
use crate::io::regular_file;

/// The first line, filled up with spaces.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Hash of everything that the ids depend on.
    key: u64,
    /// Number of ids.
    count: usize,
    /// Those of a text by characters.
    characters: String,
}

/// Raised when the same text is cut another way.
const VERSION: u32 = 3;

/// Largest size in bytes of a first line: all characters that there are, escaped.
const LONGEST: u64 = 16 << 20;

/// The tokens of `path`, from the file in `folder` that has them, or one that is made.
pub(super) fn find_or_make(path: &Path, tokenizer: Tokenizer, folder: &Path) -> Result<(Vocabulary, Ids)> {
    let key = key(path, &tokenizer)?;
    let file = folder.join(format!("tokens-{key:016x}.bin"));
    if let Some(found) = find(&file, key, &tokenizer) {
        return Ok(found);
    }
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let part = file.with_extension(format!("{}.part", std::process::id()));
    let made = make(path, tokenizer.clone(), key, &part).and_then(|()| {
        if self::key(path, &tokenizer)? != key {
            return Err(Error::data(path, "changed while it was read", "try again once it stays as it is"));
        }
        // Renamed when complete, so that no reader finds half a file.
        fs::rename(&part, &file).map_err(|e| Error::io(&file, e))
    });
    if let Err(error) = made {
        let _ = fs::remove_file(&part); // The first error is the one to tell.
        return Err(error);
    }
    find(&file, key, &tokenizer).ok_or_else(|| Error::data(file, "does not hold what was written", "try again"))
}

/// Bytes of a text that are read at once for its hash.
const AT_ONCE: usize = 1 << 20;

/// Hash of all that the ids depend on. Cost: the text is read once.
fn key(path: &Path, tokenizer: &Tokenizer) -> Result<u64> {
    let mut hash = DefaultHasher::new();
    VERSION.hash(&mut hash);
    let (mut file, _) = regular_file::open(path)?;
    let (mut bytes, mut length) = (Vec::with_capacity(AT_ONCE), 0);
    loop {
        bytes.clear();
        let read =
            Read::by_ref(&mut file).take(AT_ONCE as u64).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
        if read == 0 {
            break;
        }
        hash.write(&bytes);
        length += read;
    }
    length.hash(&mut hash);
    match tokenizer {
        Tokenizer::Bytes => "bytes".hash(&mut hash),
        Tokenizer::Characters => "characters".hash(&mut hash),
        Tokenizer::Known(characters) => characters.hash(&mut hash),
        Tokenizer::HfTokenizer(pieces) => pieces.json().hash(&mut hash),
    }
    Ok(hash.finish())
}

/// Contents of `file`, if it is whole and of this key.
fn find(file: &Path, key: u64, tokenizer: &Tokenizer) -> Option<(Vocabulary, Ids)> {
    let mut line = Vec::new();
    BufReader::new(File::open(file).ok()?.take(LONGEST)).read_until(b'\n', &mut line).ok()?;
    let header: Header = serde_json::from_slice(&line).ok()?;
    let vocabulary = match tokenizer {
        Tokenizer::Characters | Tokenizer::Known(_) => Vocabulary::Characters(header.characters.chars().collect()),
        Tokenizer::HfTokenizer(pieces) => Vocabulary::HfTokenizer(pieces.clone()),
        Tokenizer::Bytes => Vocabulary::Bytes,
    };
    let (bytes, width) = (Bytes::open(file).ok()?, Ids::width(&vocabulary));
    let (start, count) = (line.len() as u64, header.count);
    let whole = (count as u64).checked_mul(width as u64)?.checked_add(start)? == bytes.len();
    (header.key == key && whole).then_some((vocabulary, Ids { bytes, start, width, count }))
}

fn make(path: &Path, tokenizer: Tokenizer, key: u64, part: &Path) -> Result<()> {
    let open = || regular_file::open(path).map(|(file, _)| file);
    let written = |e| Error::io(part, e);
    let place = Place::from(path);
    let vocabulary = tokenizer.vocabulary(open()?, &place)?;
    let characters = match &vocabulary {
        Vocabulary::Characters(characters) => characters.iter().collect(),
        Vocabulary::Bytes | Vocabulary::HfTokenizer(_) | Vocabulary::Placeholder(_) => String::new(),
    };
    let mut header = Header { key, count: usize::MAX, characters };
    // With the greatest count the line is as long as it can be.
    let line = |header: &Header| serde_json::to_vec(header).expect("numbers and a text");
    let length = line(&header).len();
    let mut file = BufWriter::new(File::create(part).map_err(written)?);
    file.write_all(&vec![b' '; length]).and_then(|()| file.write_all(b"\n")).map_err(written)?;
    let (width, mut words) = (Ids::width(&vocabulary), Vec::new());
    header.count = 0;
    vocabulary.encode(open()?, &place, |ids| {
        words.clear();
        Ids::write(ids, width, &mut words);
        header.count += ids.len();
        file.write_all(&words).map_err(written)
    })?;
    let mut file = file.into_inner().map_err(|e| written(e.into_error()))?;
    file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&line(&header))).map_err(written)?;
    file.sync_all().map_err(written)
}
