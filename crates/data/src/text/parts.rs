//! A text in parts, so that no more than one of them has to be in memory.

use std::io::Read;

use super::encoding;
use crate::error::{Error, Place, Result};

/// Bytes of a part.
const PART: usize = 1 << 20;

/// Hands the text that `input` gives to `each` in parts of about a mebibyte; `place` is that of errors.
///
/// A part ends with a line that others surround, if it can. A tokenizer that first cuts at white space, as those of
/// GPT-2 and BERT do, then makes the same tokens of the parts as of the whole. One that puts something before a text,
/// as SentencePiece's puts a space, puts it before each part.
pub(super) fn parts(mut input: impl Read, place: &Place, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let (mut bytes, mut before) = (Vec::with_capacity(PART), 0);
    loop {
        let room = (PART - bytes.len()) as u64;
        input.by_ref().take(room).read_to_end(&mut bytes).map_err(|e| Error::io(place, e))?;
        let last = bytes.len() < PART;
        if let Some(encoding) = encoding::wide(&bytes).filter(|_| before == 0) {
            let problem = format!("looks like {encoding}, not UTF-8");
            return Err(Error::data(place, problem, "save it as UTF-8, or set `level = \"bytes\"`"));
        }
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            // A character that the next part completes.
            Err(error) if error.error_len().is_none() && !last => {
                std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("valid up to there")
            }
            Err(error) => {
                let problem = format!("is not UTF-8 at byte {}", before + error.valid_up_to());
                return Err(Error::data(place, problem, "save it as UTF-8, or set `level = \"bytes\"`"));
            }
        };
        let end = if last { text.len() } else { end_of_line(text) };
        if end > 0 {
            each(&text[..end])?;
        }
        if last {
            return Ok(());
        }
        before += end;
        bytes.drain(..end);
    }
}

/// End of the last line that white space neither ends nor follows; without one, of the last line; else of the text.
fn end_of_line(text: &str) -> usize {
    let ends = || text.rmatch_indices('\n').map(|(at, _)| at + 1);
    let solid = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    let alone = |end: &usize| solid(text[..end - 1].chars().next_back()) && solid(text[*end..].chars().next());
    ends().find(alone).or_else(|| ends().next()).unwrap_or(text.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::path::Path;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        parts(bytes, &Path::new("a/b.txt").into(), |part| {
            found.push(part.to_string());
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn parts_are_the_text_and_end_with_lines() {
        let line = "ä line of some words\n";
        for (text, at_least) in [
            (line.repeat(3 * PART / line.len()), 3),
            ("\u{1f980}".repeat(PART / 2), 2),
            (format!("{}\n\n{}", "a b".repeat(PART / 4), "x\n".repeat(PART)), 3),
            ("one".to_string(), 1),
        ] {
            let found = all(text.as_bytes()).unwrap();
            assert!(found.concat() == text && found.len() >= at_least, "{} parts", found.len());
            assert!(found.iter().all(|part| part.len() <= PART));
            let lines = found[..found.len() - 1].iter().filter(|part| part.ends_with('\n')).count();
            assert!(!text.contains('\n') || lines + 1 == found.len());
        }
        assert!(all(b"").unwrap().is_empty());
    }

    #[test]
    fn a_part_ends_with_a_line_that_is_not_alone() {
        assert_eq!(end_of_line("one\ntwo\n\n  three"), 4);
        assert_eq!(end_of_line("one \n two\n\nthree"), 11);
        assert_eq!(end_of_line("one two"), 7);
        assert_eq!(end_of_line("one\n"), 4);
    }

    #[test]
    fn what_is_not_utf8_is_told_with_its_place() {
        let mut bytes = "x\n".repeat(PART).into_bytes();
        bytes.push(0xff);
        let message = all(&bytes).unwrap_err().to_string();
        assert!(message.starts_with(&format!("a/b.txt: is not UTF-8 at byte {};", 2 * PART)), "{message}");
        // Cut off within a character.
        assert!(all(b"ab\xc3").unwrap_err().to_string().contains("at byte 2;"));
    }
}
