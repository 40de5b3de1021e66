//! Settings of an exported plan: words that a reader may change before a run, such as a learning rate or a seed.
//!
//! A recording does not say which of its words came from a setting: a rate is one of the words of Adam's dispatch, a weight a constant
//! in a buffer. So the same plans are recorded twice with different values. Every word that differs must be the value
//! itself, or the same multiple of it, to two units in the last place in both recordings. Then writing another value there gives the
//! plan that would have been recorded with it.

use super::Export;
use crate::error::{Error, Result};

/// A setting, and the places of its words.
pub(super) struct Setting {
    pub(super) name: String,
    /// Its value, by its bits.
    pub(super) word: u32,
    pub(super) is_float: bool,
    pub(super) places: Vec<Word>,
}

/// A word that follows from a setting: `factor · value`, in f32.
pub(super) struct Word {
    pub(super) place: WordPlace,
    pub(super) factor: f32,
}

/// Place of a word.
pub(super) enum WordPlace {
    /// Word of the sizes of a dispatch.
    Dims { plan: usize, dispatch: usize, word: usize },
    /// Word of a buffer's contents.
    Contents { buffer: usize, word: usize },
}

impl Export {
    /// Finds the words of settings by comparison with `other`, the same plans recorded with other values. `settings` are the names,
    /// with the values of this recording and of the other.
    ///
    /// # Errors
    /// [`Error::Setting`] where the recordings differ in something else than these values, or a value is found nowhere.
    pub fn settings(&mut self, other: &Export, settings: &[(&str, SettingValues)]) -> Result<()> {
        let refused = |setting: &str, problem: String| Err(Error::Setting { setting: setting.to_string(), problem });
        let mut found: Vec<Setting> = settings
            .iter()
            .map(|(name, values)| Setting {
                name: name.to_string(),
                word: values.words()[0],
                is_float: matches!(values, SettingValues::Float(_)),
                places: Vec::new(),
            })
            .collect();
        let of = |words: [u32; 2]| {
            settings.iter().enumerate().find_map(|(number, (_, values))| Some((number, values.factor(words)?)))
        };
        let all = settings.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let alike = self.plans.len() == other.plans.len() && self.buffers.len() == other.buffers.len();
        if !alike {
            return refused(&all, "the two recordings have other plans or buffers".to_string());
        }
        for (plan, (ours, theirs)) in self.plans.iter().zip(&other.plans).enumerate() {
            if ours.dispatches.len() != theirs.dispatches.len() {
                return refused(&all, format!("`{}` has other dispatches in the two recordings", ours.name));
            }
            for (dispatch, (own, their)) in ours.dispatches.iter().zip(&theirs.dispatches).enumerate() {
                if (own.kernel, own.groups, own.dims.len()) != (their.kernel, their.groups, their.dims.len()) {
                    return refused(&all, format!("{} of `{}` is launched in another way", own.op, ours.name));
                }
                for (word, pair) in own.dims.iter().zip(&their.dims).enumerate().filter(|(_, (a, b))| a != b) {
                    match of([*pair.0, *pair.1]) {
                        Some((setting, factor)) => {
                            let place = WordPlace::Dims { plan, dispatch, word };
                            found[setting].places.push(Word { place, factor });
                        }
                        None => {
                            let problem = format!(
                                "word {word} of {} in `{}` follows from it: {:#x} in one, {:#x} in the other",
                                own.op, ours.name, pair.0, pair.1
                            );
                            return refused(&all, problem);
                        }
                    }
                }
            }
        }
        for (buffer, (ours, theirs)) in self.buffers.iter().zip(&other.buffers).enumerate() {
            let (Some(own), Some(their)) = (&ours.contents, &theirs.contents) else { continue };
            let words = own.chunks(4).zip(their.chunks(4)).enumerate().filter(|(_, (a, b))| a != b);
            for (word, (a, b)) in words {
                let [a, b] = [a, b].map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
                match of([a, b]) {
                    Some((setting, factor)) => {
                        let place = WordPlace::Contents { buffer, word };
                        found[setting].places.push(Word { place, factor });
                    }
                    None => {
                        let problem = format!(
                            "word {word} of buffer `{}` follows from it: {a:#x} in one, {b:#x} in the other",
                            ours.buffer.label()
                        );
                        return refused(&all, problem);
                    }
                }
            }
        }
        if let Some(missing) = found.iter().find(|setting| setting.places.is_empty()) {
            return refused(&missing.name, "no word of the plans depends on it".to_string());
        }
        self.settings.extend(found);
        Ok(())
    }
}

/// Values of a setting in two recordings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SettingValues {
    /// Numbers, of which the first is that of the document.
    Float([f32; 2]),
    /// Whole numbers, of which the first is that of the document.
    Word([u32; 2]),
}

impl SettingValues {
    /// The factor by which both words follow from the values, if there is one. A word may have been rounded more than once on its way, as
    /// where a weight is shared out over layers and then over features: it may be off by two units in the last place.
    fn factor(self, words: [u32; 2]) -> Option<f32> {
        match self {
            Self::Word(own) => (own == words).then_some(1.0),
            Self::Float([a, b]) => {
                let factor = (f64::from(f32::from_bits(words[0])) / f64::from(a)) as f32;
                let near = |word: u32, value: f32| (factor * value).to_bits().abs_diff(word) <= 2;
                (near(words[0], a) && near(words[1], b)).then_some(factor)
            }
        }
    }

    fn words(self) -> [u32; 2] {
        match self {
            Self::Float(values) => values.map(f32::to_bits),
            Self::Word(words) => words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_follows_from_a_value_by_one_factor() {
        let of = |a: f32, b: f32| SettingValues::Float([1.234_567, 1.765_431]).factor([a.to_bits(), b.to_bits()]);
        assert_eq!(of(1.234_567, 1.765_431), Some(1.0));
        assert_eq!(of(-4.0 * 1.234_567, -4.0 * 1.765_431), Some(-4.0));
        // Rounded after each of three factors.
        let shared_out = |value: f32| value * 0.1 / 7.0 * 53.3;
        let factor = of(shared_out(1.234_567), shared_out(1.765_431)).expect("one factor");
        assert!((factor - 0.1 / 7.0 * 53.3).abs() < 1e-6);
        assert_eq!(of(1.234_567, 1.765_432), None);
        assert_eq!(of(1.234_567 + 1.0, 1.765_431 + 1.0), None);
        assert_eq!(SettingValues::Word([3, 4]).factor([3, 4]), Some(1.0));
        assert_eq!(SettingValues::Word([3, 4]).factor([6, 8]), None);
    }
}
