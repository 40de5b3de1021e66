//! Whole files of every kind that Trellis reads, and what is read of them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use tempfile::TempDir;
use trellis_data::text::{HfTokenizer, Text, Tokenizer};
use trellis_data::{Images, Source, cifar, folder, idx};
use trellis_guidance::Error;
use trellis_guidance::weights::{self, Format, Naming, WeightsFile};
use trellis_lab::config::Config;

use crate::data::write;

/// Outcome of a reader: the value as bytes to compare, or why it cannot be one; or an error.
pub(super) type Outcome = Result<Result<Vec<u8>, String>, Error>;

/// A file, and how it is read.
pub(super) struct Input {
    /// Kind of file, as a table names it.
    pub(super) format: &'static str,
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    /// True if it is text.
    pub(super) text: bool,
    /// True if a checksum protects the value: damage is told, or does not matter.
    pub(super) sealed: bool,
    /// True if the file tells its length, so that a part of it is never the whole.
    pub(super) tells_length: bool,
    /// Makes lengths and checksums right again after damage, so that the damage gets further.
    pub(super) reseal: Option<fn(&mut [u8])>,
    pub(super) read: Box<dyn Fn(&Path) -> Outcome>,
}

/// All of them, in folders under `place`.
pub(super) fn all(place: &TempDir) -> Vec<Input> {
    let mut inputs = Vec::new();
    for name in ["baseline-420", "progressive-420", "gray-restarts", "cmyk-420"] {
        inputs.push(image(place, "JPEG", &format!("{name}.jpg"), golden(&format!("{name}.jpg"))));
    }
    for (name, depth, channels) in [("rgb.png", 8, 3), ("gray.png", 8, 1), ("gray16.png", 16, 1)] {
        let input = image(place, "PNG", name, png(24, 20, depth, channels));
        inputs.push(Input { sealed: true, reseal: Some(reseal_png), ..input });
    }
    inputs.extend([safetensors(place, "mixed.safetensors"), gpt2(place)]);
    inputs.extend(idx_files(place));
    inputs.extend([
        cifar_file(place, "data_batch_1.bin", "test_batch.bin", 1),
        cifar_file(place, "train.bin", "test.bin", 2),
    ]);
    for name in ["demo.toml", "mnist.toml"] {
        let bytes = fs::read(root().join("examples/configs").join(name)).expect("checked in");
        let path = write(place, &format!("toml/{name}"), &bytes);
        let read = |path: &Path| {
            let config = Config::read(path)?;
            let again = Config::parse(&config.to_toml(), path)?;
            Ok(if again == config {
                Ok(config.to_toml().into_bytes())
            } else {
                Err("is not what it writes".to_string())
            })
        };
        inputs.push(Input { text: true, tells_length: false, ..plain("TOML", path, bytes, Box::new(read)) });
    }
    inputs.extend([tokenizer(place, "bpe.json", BPE), tokenizer(place, "words.json", WORDS)]);
    let text = "the cat äöü 🦀 sat\non the mat\n".repeat(20).into_bytes();
    let path = write(place, "text/characters.txt", &text);
    let read = |path: &Path| {
        let text = Text::read(path, Tokenizer::Characters)?;
        let decoded = text.decode(&text.tokens(0, text.len())?).into_bytes();
        let same = fs::read(path).expect("ours") == decoded;
        Ok(if same { Ok(decoded) } else { Err("decodes to another text".to_string()) })
    };
    inputs.push(Input { text: true, tells_length: false, ..plain("text", path, text, Box::new(read)) });
    inputs
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(root().join("tests/golden").join(name)).expect("checked in")
}

fn plain(format: &'static str, path: PathBuf, bytes: Vec<u8>, read: Box<dyn Fn(&Path) -> Outcome>) -> Input {
    Input { format, path, bytes, text: false, sealed: false, tells_length: true, reseal: None, read }
}

/// An image as the only one of its class.
fn image(place: &TempDir, format: &'static str, name: &str, bytes: Vec<u8>) -> Input {
    let folder = format!("image-{}", name.replace('.', "-"));
    let path = write(place, &format!("{folder}/a/{name}"), &bytes);
    write(place, &format!("{folder}/b/whole.png"), &png(4, 4, 8, 1));
    let images = folder::open(&place.path().join(folder), 16).expect("two classes").train;
    let read = move |_: &Path| {
        let mut pixels = vec![0; 3 * 16 * 16];
        images.read(0, &mut pixels)?;
        Ok(Ok(pixels))
    };
    plain(format, path, bytes, Box::new(read))
}

/// A PNG file with a slope and stripes.
fn png(width: u32, height: u32, depth: u8, channels: u8) -> Vec<u8> {
    let mut rows = Vec::new();
    for y in 0..height {
        rows.push(0);
        let bytes = width * u32::from(channels) * u32::from(depth / 8);
        rows.extend((0..bytes).map(|x| (x * 7 + y * 5 + (x / 3 + y) % 2 * 40) as u8));
    }
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&rows).expect("memory");
    let color = if channels == 3 { 2 } else { 0 };
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, color, 0, 0, 0]].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", packed.finish().expect("memory")), (b"IEND", Vec::new())] {
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(kind);
        file.extend(data);
        file.extend([0; 4]);
    }
    reseal_png(&mut file);
    file
}

/// Checksums of the chunks as they are.
fn reseal_png(file: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = file.get(at..at + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(chunk) = file.get(at + 4..(at + 8).saturating_add(length)) else { return };
        let checksum = crc32fast::hash(chunk).to_be_bytes();
        at += 8 + length;
        match file.get_mut(at..at + 4) {
            Some(old) => old.copy_from_slice(&checksum),
            None => return,
        }
        at += 4;
    }
}

/// Names, shapes and statistics of a file's tensors; no more numbers than the file has bytes for.
fn tensors(path: &Path) -> Outcome {
    let file = WeightsFile::read(path)?;
    let summaries = file.summaries()?;
    let numbers: usize = summaries.iter().map(|summary| summary.shape.iter().product::<usize>()).sum();
    if numbers as u64 > 2 * fs::metadata(path).expect("ours").len() {
        return Ok(Err(format!("holds {numbers} numbers")));
    }
    Ok(Ok(format!("{:?} {summaries:?}", file.about()).into_bytes()))
}

fn safetensors(place: &TempDir, name: &str) -> Input {
    let path = place.path().join(name);
    let numbers = |count: usize| (0..count).map(|at| at as f32 / 7.0 - 3.0).collect();
    let named = [("fc1.weight", vec![4, 6], 24), ("fc1.bias", vec![4], 4), ("empty", vec![0, 3], 0)];
    let named = named.map(|(name, shape, count)| (name.to_string(), shape, numbers(count)));
    weights::write(&path, &named, Format::F16, "a network".to_string()).expect("writable");
    let bytes = fs::read(&path).expect("written");
    Input { reseal: Some(reseal_safetensors), ..plain("safetensors", path, bytes, Box::new(tensors)) }
}

/// A file under other names, which its conversion knows.
fn gpt2(place: &TempDir) -> Input {
    let bytes = golden("gpt2.safetensors");
    let path = write(place, "gpt2.safetensors", &bytes);
    let read = |path: &Path| {
        let renamed = WeightsFile::read(path)?.renamed(Naming::Trellis)?;
        let wrong = renamed.tensors.iter().find(|(_, shape, values)| shape.iter().product::<usize>() != values.len());
        Ok(match wrong {
            Some((name, ..)) => Err(format!("{name} has another shape than its numbers")),
            None => Ok(format!("{renamed:?}").into_bytes()),
        })
    };
    Input { reseal: Some(reseal_safetensors), ..plain("safetensors", path, bytes, Box::new(read)) }
}

/// The length of the header as it is: up to its last bracket before anything that is not text.
fn reseal_safetensors(file: &mut [u8]) {
    let Some(header) = file.get(8..) else { return };
    let text = header.iter().take_while(|byte| (b' '..=b'~').contains(byte)).count();
    let end = header[..text].iter().rposition(|&byte| byte == b'}').map_or(text, |at| at + 1);
    file[..8].copy_from_slice(&(end as u64).to_le_bytes());
}

/// Images and labels, plain and packed.
fn idx_files(place: &TempDir) -> Vec<Input> {
    let images = [&[0, 0, 8, 3, 0, 0, 0, 12, 0, 0, 0, 5, 0, 0, 0, 4][..], &(0..240).collect::<Vec<u8>>()].concat();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 12][..], &(0..12).map(|at| at % 10).collect::<Vec<u8>>()].concat();
    let pack = |bytes: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(bytes).expect("memory");
        packed.finish().expect("memory")
    };
    let mut inputs = Vec::new();
    for (folder, end, format, pack) in [
        ("idx", "", "IDX", &(|bytes: &[u8]| bytes.to_vec()) as &dyn Fn(&[u8]) -> Vec<u8>),
        ("idx-gz", ".gz", "IDX, gzip", &pack),
    ] {
        for (part, bytes) in [("images-idx3", &images), ("labels-idx1", &labels)] {
            let folder = format!("{folder}-{part}");
            for (other, bytes) in [("images-idx3", &images), ("labels-idx1", &labels)] {
                write(place, &format!("{folder}/train-{other}-ubyte{end}"), &pack(bytes));
            }
            let path = place.path().join(&folder).join(format!("train-{part}-ubyte{end}"));
            let input =
                plain(format, path, pack(bytes), Box::new(|path| set(idx::load(path.parent().expect("ours"), 10)?.0)));
            inputs.push(Input { sealed: !end.is_empty(), ..input });
        }
    }
    inputs
}

fn cifar_file(place: &TempDir, name: &str, test: &str, labels: usize) -> Input {
    let record = |label: u8| [vec![label; labels], (0..3072).map(|at| (at / 5) as u8).collect()].concat();
    let bytes = [record(3), record(9)].concat();
    let path = write(place, &format!("cifar-{labels}/{name}"), &bytes);
    write(place, &format!("cifar-{labels}/{test}"), &record(1));
    plain("CIFAR", path, bytes, Box::new(|path| set(cifar::load(path.parent().expect("ours"))?.0)))
}

/// Pixels and labels of a set that fit together.
fn set(images: Images) -> Outcome {
    let fits = images.pixels.len() == images.count() * images.features()
        && images.count() > 0
        && images.labels.iter().all(|&label| usize::from(label) < images.classes);
    let labels = images.labels.iter().map(|&label| label as u8);
    Ok(if fits {
        Ok(images.pixels.iter().copied().chain(labels).collect())
    } else {
        Err("does not fit together".to_string())
    })
}

const BPE: &str = r#"{"version":"1.0","truncation":null,"padding":null,
"added_tokens":[{"id":8,"content":"<end>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
"model":{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,
"byte_fallback":false,"vocab":{"<unk>":0,"t":1,"h":2,"e":3,"c":4,"a":5,"th":6,"the":7},"merges":[["t","h"],["th","e"]]}}"#;

const WORDS: &str = r#"{"version":"1.0","truncation":{"direction":"Right","max_length":4,"strategy":"LongestFirst","stride":0},"padding":null,
"added_tokens":[],"normalizer":{"type":"Lowercase"},"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":null,"decoder":null,
"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"\#\#","max_input_chars_per_word":100,
"vocab":{"[UNK]":0,"the":1,"cat":2,"s":3,"\#\#a":4,"\#\#t":5}}}"#;

fn tokenizer(place: &TempDir, name: &str, json: &str) -> Input {
    let bytes = json.replace("\\#", "#").into_bytes();
    let path = write(place, &format!("tokenizer/{name}"), &bytes);
    let read = |path: &Path| {
        // A text's error names the text; which tokenizer cuts it is known.
        let text = Text::new(
            &path.display().to_string(),
            b"the cat sat, the tea",
            Tokenizer::HfTokenizer(HfTokenizer::read(path)?),
        )?;
        let tokens = text.tokens(0, text.len())?;
        let known = tokens.iter().all(|&token| (token as usize) < text.vocabulary());
        Ok(if known {
            Ok(tokens.iter().flat_map(|token| token.to_le_bytes()).collect())
        } else {
            Err("has unknown ids".to_string())
        })
    };
    Input { text: true, ..plain("tokenizer.json", path, bytes, Box::new(read)) }
}
