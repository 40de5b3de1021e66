//! Texts in memory and on disk, and what is none.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
#[cfg(feature = "tokenizers")]
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::*;

/// A temporary folder of texts and tokenizers.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Files with tokens.
    fn cut(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.0.path().join("cut")).unwrap().map(|entry| entry.unwrap().path());
        files.collect()
    }

    fn on_disk(&self, path: &Path, tokenizer: Tokenizer) -> Result<Text> {
        Text::on_disk(path, tokenizer, &self.0.path().join("cut"))
    }

    /// GPT-2's way: bytes, and two pairs of them that are merged, `th` and `the`.
    #[cfg(feature = "tokenizers")]
    fn bpe(&self) -> HfTokenizer {
        let mut alphabet: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
        alphabet.sort();
        alphabet.extend(["th".to_string(), "the".to_string()]);
        let vocabulary: serde_json::Map<_, _> =
            alphabet.into_iter().zip(0..).map(|(piece, id): (_, u32)| (piece, id.into())).collect();
        let level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let json = serde_json::json!({
            "version": "1.0",
            // Texts are not sentences: neither may be heeded.
            "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
            "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "!"},
            "added_tokens": [{"id": 258, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
            "normalizer": null,
            "pre_tokenizer": level,
            "post_processor": null,
            "decoder": level,
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocabulary, "merges": [["t", "h"], ["th", "e"]]},
        });
        HfTokenizer::read(&self.write("tokenizer.json", json.to_string().as_bytes())).unwrap()
    }
}

#[cfg(feature = "tokenizers")]
const WORDS: &str = "zwölf Boxkämpfer – 🦀\n";

#[test]
#[cfg(feature = "tokenizers")]
fn text_comes_back_from_its_tokens() {
    let folder = Folder::new();
    let path = folder.write("words.txt", WORDS.as_bytes());
    let bpe = Tokenizer::HfTokenizer(folder.bpe());
    for (tokenizer, vocabulary, count) in
        [(Tokenizer::Bytes, 256, WORDS.len()), (Tokenizer::Characters, 18, 21), (bpe, 259, WORDS.len())]
    {
        for text in [Text::read(&path, tokenizer.clone()).unwrap(), folder.on_disk(&path, tokenizer).unwrap()] {
            assert_eq!((text.vocabulary(), text.len()), (vocabulary, count), "{text:?}");
            assert_eq!(text.decode(&text.tokens(0, count).unwrap()), WORDS, "{text:?}");
            assert_eq!(text.tokens(3, 2).unwrap(), text.tokens(0, 5).unwrap()[3..]);
        }
    }
    let text = Text::read(&folder.write("ba", b"ba"), Tokenizer::Characters).unwrap();
    assert_eq!((text.tokens(0, 2).unwrap(), text.decode(&[1, 0, 9])), (vec![1, 0], "ba\u{fffd}".to_string()));
}

#[test]
#[cfg(feature = "tokenizers")]
fn pieces_are_those_of_the_whole_text() {
    let folder = Folder::new();
    let bpe = folder.bpe();
    let path = folder.write("the.txt", b"the\n\n  then<end> x");
    let text = Text::read(&path, Tokenizer::HfTokenizer(bpe.clone())).unwrap();
    let ids = text.tokens(0, text.len()).unwrap();
    assert_eq!((ids[0], ids[5], ids.iter().filter(|&&id| id == 258).count(), text.len()), (257, 257, 1, 10), "{ids:?}");
    assert_eq!(text.decode(&ids), "the\n\n  then<end> x");
    // Several parts, with lines of all kinds about their ends.
    let lines: String =
        (0..300_000).map(|i| ["the other day\n", "\n \n", " he gathers\n", "then  \n"][i % 7 % 4]).collect();
    let mut alone = tokenizers::Tokenizer::from_file(folder.0.path().join("tokenizer.json")).unwrap();
    alone.with_truncation(None).unwrap().with_padding(None);
    let whole = alone.encode(lines.as_str(), false).unwrap().get_ids().to_vec();
    let path = folder.write("lines.txt", lines.as_bytes());
    for text in
        [Text::read(&path, Tokenizer::HfTokenizer(bpe.clone())), folder.on_disk(&path, Tokenizer::HfTokenizer(bpe))]
    {
        let text = text.unwrap();
        assert!(text.tokens(0, text.len()).unwrap() == whole);
    }
}

#[test]
#[cfg(feature = "tokenizers")]
fn what_is_cut_is_found_again_unless_it_has_changed() {
    let folder = Folder::new();
    let path = folder.write("words.txt", WORDS.as_bytes());
    let ids = |text: Text| text.tokens(0, text.len()).unwrap();
    let wanted = ids(Text::read(&path, Tokenizer::Characters).unwrap());
    let cut = || ids(folder.on_disk(&path, Tokenizer::Characters).unwrap());
    assert_eq!(cut(), wanted);
    let files = folder.cut();
    assert_eq!(files.len(), 1);
    // Found: what is written into it is what is read.
    let whole = fs::read(&files[0]).unwrap();
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&files[0], &other).unwrap();
    assert_ne!(cut(), wanted);
    // An id that does not exist is an error, a damaged file is made again.
    *other.last_mut().unwrap() = 200;
    fs::write(&files[0], &other).unwrap();
    let text = folder.on_disk(&path, Tokenizer::Characters).unwrap();
    assert!(text.tokens(0, text.len()).unwrap_err().to_string().contains("token 200"));
    for damaged in [&whole[..whole.len() - 1], &whole[..9], b"", b"\n", b"{}\n"] {
        fs::write(&files[0], damaged).unwrap();
        assert_eq!(cut(), wanted);
    }
    // Another tokenizer, another file of a tokenizer, another text of the same name.
    let mut cuts = vec![ids(folder.on_disk(&path, Tokenizer::HfTokenizer(folder.bpe())).unwrap())];
    let other = fs::read_to_string(folder.0.path().join("tokenizer.json"))
        .unwrap()
        .replace("\"add_prefix_space\":false", "\"add_prefix_space\":true");
    let other = HfTokenizer::read(&folder.write("other.json", other.as_bytes())).unwrap();
    cuts.push(ids(folder.on_disk(&path, Tokenizer::HfTokenizer(other)).unwrap()));
    folder.write("words.txt", b"other words");
    cuts.push(ids(folder.on_disk(&path, Tokenizer::Characters).unwrap()));
    assert_eq!(cuts.iter().map(Vec::len).collect::<Vec<_>>(), [WORDS.len(), WORDS.len() + 1, 11]);
    assert_eq!(folder.cut().len(), 4);
}

/// `touch -r`, `rsync -t` and unpacked archives leave such files behind.
#[test]
fn other_contents_of_the_same_size_and_date_are_cut_anew() {
    let folder = Folder::new();
    let path = folder.write("words.txt", b"some words");
    let date = fs::metadata(&path).unwrap().modified().unwrap();
    let ids = |path: &Path| {
        let text = folder.on_disk(path, Tokenizer::Characters).unwrap();
        text.decode(&text.tokens(0, text.len()).unwrap())
    };
    assert_eq!(ids(&path), "some words");
    folder.write("words.txt", b"same swords"[..10].as_ref());
    fs::File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), date);
    assert_eq!(ids(&path), "same sword");
    assert_eq!(folder.cut().len(), 2);
    // The same contents elsewhere are not cut again.
    assert_eq!(ids(&folder.write("copy.txt", b"same sword")), "same sword");
    assert_eq!(folder.cut().len(), 2);
}

#[test]
fn utf_16_and_32_are_named_with_and_without_their_mark() {
    let folder = Folder::new();
    let text = "Grüße aus dem Norden: two words, und mehr\n".repeat(3);
    let russian = "Привет, мир. Ещё слова, и ещё\n".repeat(3);
    let wide16 = |text: &str, big: bool| -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let wide32 = |text: &str, big: bool| -> Vec<u8> {
        text.chars().flat_map(|c| if big { (c as u32).to_be_bytes() } else { (c as u32).to_le_bytes() }).collect()
    };
    for (big, order) in [(false, "LE"), (true, "BE")] {
        for text in [&text, &russian, &"plain words".to_string(), &format!("\u{feff}{text}")] {
            for (bits, bytes) in [("16", wide16(text, big)), ("32", wide32(text, big))] {
                let path = folder.write("wide.txt", &bytes);
                let wanted = format!("wide.txt: looks like UTF-{bits}{order}, not UTF-8; save it as UTF-8");
                for read in [Text::read(&path, Tokenizer::Characters), folder.on_disk(&path, Tokenizer::Characters)] {
                    let message = read.unwrap_err().to_string();
                    assert!(message.contains(&wanted), "{message} for {text}");
                }
                assert_eq!(Text::read(&path, Tokenizer::Bytes).unwrap().len(), bytes.len());
            }
        }
    }
    // A few NULs in UTF-8 are characters as others are.
    for text in [&b"one\0three\0fourteen\0two\0more words behind them"[..], b"a\0", &b"records\0".repeat(40)] {
        assert!(Text::read(&folder.write("nul.txt", text), Tokenizer::Characters).is_ok());
    }
}

#[test]
#[cfg(feature = "tokenizers")]
fn what_is_no_text_is_refused_by_name() {
    let folder = Folder::new();
    let (empty, bad) = (folder.write("empty.txt", b""), folder.write("bad.txt", b"ab\xffcd"));
    let bpe = folder.bpe();
    for tokenizer in [Tokenizer::Bytes, Tokenizer::Characters, Tokenizer::HfTokenizer(bpe)] {
        let utf8 = !matches!(tokenizer, Tokenizer::Bytes);
        for read in
            [&|path: &Path| Text::read(path, tokenizer.clone()), &|path: &Path| folder.on_disk(path, tokenizer.clone())]
                as [&dyn Fn(&Path) -> Result<Text>; 2]
        {
            let message = read(&empty).unwrap_err().to_string();
            assert!(message.ends_with("empty.txt: is empty; give a text"), "{message}");
            match read(&bad) {
                Ok(text) => assert!(!utf8 && text.len() == 5),
                Err(error) => {
                    assert!(utf8 && error.to_string().contains("bad.txt: is not UTF-8 at byte 2;"), "{error}")
                }
            }
            assert!(read(&folder.0.path().join("none.txt")).unwrap_err().to_string().contains("none.txt"));
        }
    }
    // Nothing half written is left.
    assert!(folder.cut().iter().all(|path| path.extension().is_some_and(|extension| extension == "bin")));
}

#[test]
#[cfg(feature = "tokenizers")]
fn what_is_no_tokenizer_is_refused_by_name() {
    let folder = Folder::new();
    folder.bpe();
    let whole = fs::read(folder.0.path().join("tokenizer.json")).unwrap();
    let refused = |bytes: &[u8]| {
        let message = HfTokenizer::read(&folder.write("x.json", bytes)).unwrap_err().to_string();
        assert!(message.contains("x.json: ") && message.contains("give the tokenizer.json"), "{message}");
        message
    };
    for cut in (0..whole.len()).step_by(97) {
        refused(&whole[..cut]);
    }
    assert!(refused(b"{}").contains("is no tokenizer"));
    let text = String::from_utf8(whole).unwrap();
    assert!(refused(text.replace("\"the\":257", "\"the\":4000000000").as_bytes()).contains("ids up to"));
    assert!(refused(text.replace("[\"th\",\"e\"]", "[\"th\",\"q9\"]").as_bytes()).contains("is no tokenizer"));
    assert!(HfTokenizer::read(&folder.0.path().join("none.json")).unwrap_err().to_string().contains("none.json"));
    assert!(HfTokenizer::read(Path::new("/dev/zero")).unwrap_err().to_string().contains("not a file"));
    assert!(Text::read(Path::new("/dev/zero"), Tokenizer::Bytes).unwrap_err().to_string().contains("not a file"));
    // One that is read, but cannot cut: the library panics over pieces of no characters.
    let mut none: serde_json::Value = serde_json::from_str(&text).unwrap();
    none["pre_tokenizer"] = serde_json::json!({"type": "FixedLength", "length": 0});
    let none = HfTokenizer::read(&folder.write("fixed.json", none.to_string().as_bytes())).unwrap();
    let error = Text::new("x", b"some text", Tokenizer::HfTokenizer(none)).unwrap_err().to_string();
    assert!(error.contains("fixed.json: cannot cut a text"), "{error}");
}

/// Characters that a model has no token for would vanish from the text.
#[test]
#[cfg(feature = "tokenizers")]
fn a_tokenizer_that_loses_letters_is_refused() {
    let folder = Folder::new();
    let none = serde_json::Value::Null;
    let read = |normalizer: &serde_json::Value,
                pre_tokenizer: &serde_json::Value,
                more: serde_json::Value,
                tokens: &[&str]| {
        let vocabulary: serde_json::Map<_, _> =
            tokens.iter().zip(0..).map(|(token, id): (_, u32)| (token.to_string(), id.into())).collect();
        let mut model = serde_json::json!({"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": []});
        model.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let json = serde_json::json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "post_processor": null, "decoder": null, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "model": model});
        Tokenizer::HfTokenizer(HfTokenizer::read(&folder.write("tokenizer.json", json.to_string().as_bytes())).unwrap())
    };
    let ids = |text: &str, tokenizer: &Tokenizer| {
        let text = Text::new("some words", text.as_bytes(), tokenizer.clone())?;
        text.tokens(0, text.len())
    };
    let bert = serde_json::json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": true, "lowercase": true});
    let strict = read(&bert, &none, serde_json::json!({}), &["a", "b", "?"]);
    // An accent that it leaves out on purpose is another matter, and so is a space.
    assert_eq!(ids("A\u{301} b\n", &strict).unwrap(), [0, 1]);
    let message = ids("ab abc", &strict).unwrap_err().to_string();
    assert!(message.starts_with("some words: has 'c' in \"ab abc\"") && message.contains("unk_token"), "{message}");
    assert!(folder.on_disk(&folder.write("t", b"abc"), strict.clone()).is_err());
    // Tokens that were added to the model need no token of each letter, and merges dropped at random none at all.
    let added = folder.write("added.json", b"");
    let Tokenizer::HfTokenizer(plain) = &strict else { unreachable!("a file's") };
    let mut json: serde_json::Value = serde_json::from_str(plain.json()).unwrap();
    json["added_tokens"] = serde_json::json!([{"id": 3, "content": "<eos>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true}]);
    fs::write(&added, json.to_string()).unwrap();
    let with_added = Tokenizer::HfTokenizer(HfTokenizer::read(&added).unwrap());
    assert_eq!(ids("ab<eos>b", &with_added).unwrap(), [0, 1, 3, 1]);
    assert!(ids("ab<eos>c", &with_added).is_err());
    json["model"]["dropout"] = serde_json::json!(0.5);
    fs::write(&added, json.to_string()).unwrap();
    let message = HfTokenizer::read(&added).unwrap_err().to_string();
    assert!(
        message.contains("added.json: drops merges at random") && message.contains("`dropout` to null"),
        "{message}"
    );
    let unknown = read(&bert, &none, serde_json::json!({"unk_token": "?"}), &["a", "b", "?"]);
    assert_eq!(ids("abc", &unknown).unwrap(), [0, 1, 2]);
    // A letter may have a token within a word and none at its end.
    let spaces = serde_json::json!({"type": "WhitespaceSplit"});
    let ends = read(&none, &spaces, serde_json::json!({"end_of_word_suffix": "."}), &["a", "b."]);
    assert_eq!(ids("ab aab", &ends).unwrap(), [0, 1, 0, 0, 1]);
    assert!(ids("ba", &ends).is_err());
    let begins = read(&none, &spaces, serde_json::json!({"continuing_subword_prefix": "#"}), &["a", "#b"]);
    assert!(ids("ab", &begins).is_ok() && ids("aa", &begins).is_err());
    // A prefix before a word does not make up for its letters.
    let meta = serde_json::json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let meta = read(&none, &meta, serde_json::json!({}), &["▁", "a"]);
    assert!(ids("a a", &meta).is_ok() && ids("a b", &meta).is_err());
    // Bytes: all of them, or some.
    let level =
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let alphabet: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
    let alphabet: Vec<&str> = alphabet.iter().map(String::as_str).collect();
    assert!(ids("ã 中", &read(&none, &level, serde_json::json!({}), &alphabet)).is_ok());
    assert!(ids("ã", &read(&none, &level, serde_json::json!({}), &["Ġ", "Ã"])).is_err());
    let fallback: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let fallback: Vec<&str> = fallback.iter().map(String::as_str).collect();
    assert_eq!(
        ids("ã", &read(&none, &none, serde_json::json!({"byte_fallback": true}), &fallback)).unwrap(),
        [0xc3, 0xa3]
    );
    // Characters that a pre-tokenizer removes on purpose.
    let without = serde_json::json!({"type": "CharDelimiterSplit", "delimiter": "_"});
    assert_eq!(ids("a_a", &read(&none, &without, serde_json::json!({}), &["a"])).unwrap(), [0, 0]);
}

#[test]
fn a_checksum_sees_all_of_a_text() {
    let (text, checksum) = ("ab".repeat(15_000), |text: &str| {
        Text::new("x", text.as_bytes(), Tokenizer::Bytes).unwrap().checksum().unwrap()
    });
    for at in [0, 1, 9_999, 12_345, 29_999] {
        let mut other = text.clone().into_bytes();
        other[at] = b'c';
        assert_ne!(checksum(&text), checksum(std::str::from_utf8(&other).unwrap()), "{at}");
    }
}

#[test]
fn a_blank_text_takes_no_memory() {
    let text = Text::placeholder(1 << 40, 4_000_000);
    assert_eq!(
        (text.len(), text.vocabulary(), text.tokens((1 << 40) - 2, 2).unwrap()),
        (1 << 40, 4_000_000, vec![0; 2])
    );
}
