//! Declarations of configuration keys. [`section!`] makes of one list a struct, its defaults, its checks and its reference.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::{Error as Unknown, StrDeserializer};

use crate::config::{ConfigError, refuse};

/// Range of a key's numbers.
#[derive(Clone, Copy)]
pub(in crate::config) enum Range {
    /// Whatever the type holds.
    Any,
    /// Whole numbers from 1 to this one.
    Counts(usize),
    /// Whole numbers from 0 to this one.
    UpTo(usize),
    /// Numbers, by a sentence and a rule.
    Real(&'static str, fn(f32) -> bool),
}

/// Largest number of units or channels: far above what is useful, far below what overflows.
pub(in crate::config) const MOST_UNITS: usize = 65_536;
/// Largest number of layers.
pub(in crate::config) const MOST_LAYERS: usize = 1000;
/// Numbers above 0.
pub(in crate::config) const ABOVE_0: Range = Range::Real("above 0", |v| v > 0.0 && v.is_finite());
/// Numbers of 0 or more.
pub(in crate::config) const FROM_0: Range = Range::Real("of 0 or more", |v| v >= 0.0 && v.is_finite());
/// Numbers from 0 to 1.
pub(in crate::config) const PART: Range = Range::Real("from 0 to 1", |v| (0.0..=1.0).contains(&v));
/// Numbers from 0 to below 1.
pub(in crate::config) const SHARE: Range = Range::Real("from 0 up to, not including, 1", |v| (0.0..1.0).contains(&v));
/// Brightness of pixels.
pub(in crate::config) const BRIGHTNESS: Range = Range::Real("from 0 to 1, as pixels are", |v| (0.0..=1.0).contains(&v));

impl Range {
    /// Range in words; empty for [`Range::Any`].
    pub(in crate::config) fn words(self) -> String {
        match self {
            Self::Any => String::new(),
            Self::Counts(usize::MAX) => "above 0".to_string(),
            Self::Counts(most) => format!("1 to {most}"),
            Self::UpTo(most) => format!("0 to {most}"),
            Self::Real(words, _) => words.to_string(),
        }
    }

    /// Refuses a whole number outside of the range.
    pub(in crate::config) fn count(self, key: &str, value: usize) -> Result<(), ConfigError> {
        match self {
            Self::Counts(_) if value == 0 => refuse(key, "is 0 or empty", "give a number above 0"),
            Self::Counts(most) | Self::UpTo(most) if value > most => {
                refuse(key, format!("{value} is more than {most}"), "make it smaller")
            }
            _ => Ok(()),
        }
    }

    /// Refuses a number outside of the range.
    pub(in crate::config) fn real(self, key: &str, value: f32) -> Result<(), ConfigError> {
        match self {
            Self::Real(words, fits) if !fits(value) => {
                refuse(key, format!("{value} is out of range"), format!("give a number {words}"))
            }
            _ => Ok(()),
        }
    }
}

/// Type of a key's value.
pub(in crate::config) trait Value {
    /// Values of the type, in words.
    fn words() -> String;

    /// Refuses a value outside of `range`.
    fn within(&self, _key: &str, _range: Range) -> Result<(), ConfigError> {
        Ok(())
    }
}

macro_rules! whole {
    ($($number:ty),+) => {
        $(impl Value for $number {
            fn words() -> String {
                "whole number".to_string()
            }

            fn within(&self, key: &str, range: Range) -> Result<(), ConfigError> {
                range.count(key, usize::try_from(*self).unwrap_or(usize::MAX))
            }
        })+
    };
}
whole!(u32, u64, usize);

impl Value for f32 {
    fn words() -> String {
        "number".to_string()
    }

    fn within(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        range.real(key, *self)
    }
}

impl Value for bool {
    fn words() -> String {
        "true or false".to_string()
    }
}

impl Value for String {
    fn words() -> String {
        "text".to_string()
    }
}

impl Value for PathBuf {
    fn words() -> String {
        "path of a file".to_string()
    }
}

impl<T: Value> Value for Option<T> {
    fn words() -> String {
        T::words()
    }

    fn within(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        self.as_ref().map_or(Ok(()), |value| value.within(key, range))
    }
}

impl<T: Value> Value for Vec<T> {
    fn words() -> String {
        format!("list of {}", plural(&T::words()))
    }

    fn within(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        self.iter().try_for_each(|value| value.within(key, range))
    }
}

impl<T: Value> Value for [T; 2] {
    fn words() -> String {
        format!("two {}", plural(&T::words()))
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    fn words() -> String {
        format!("table of names and {}", plural(&T::words()))
    }

    fn within(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        self.iter().try_for_each(|(name, value)| value.within(&format!("{key}.{name}"), range))
    }
}

impl Value for (String, String) {
    fn words() -> String {
        "pair of names".to_string()
    }
}

fn plural(words: &str) -> String {
    match words {
        "text" => "texts".to_string(),
        "pair of names" => "pairs of names".to_string(),
        words => format!("{words}s"),
    }
}

/// Names of the values of an enum, as serde lists them for one that it does not know.
pub(in crate::config) fn names<'de, T: Deserialize<'de>>() -> Vec<String> {
    let unknown = T::deserialize(StrDeserializer::<Unknown>::new("?")).err().map_or(String::new(), |e| e.to_string());
    unknown.split('`').skip(3).step_by(2).map(str::to_string).collect()
}

/// [`Value`] of an enum: its names.
macro_rules! words_of_enums {
    ($($name:ty),+ $(,)?) => {
        $(impl $crate::config::sections::keys::Value for $name {
            fn words() -> String {
                let names = $crate::config::sections::keys::names::<$name>();
                names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
            }
        })+
    };
}
pub(in crate::config) use words_of_enums;

/// One key of a section, as the reference shows it.
pub(in crate::config) struct Key {
    pub(in crate::config) name: &'static str,
    /// Documentation of the field.
    pub(in crate::config) doc: &'static str,
    /// Values in words.
    pub(in crate::config) values: String,
    /// Range in words, or nothing.
    pub(in crate::config) range: String,
    /// Setting without which the key has no effect, or nothing.
    pub(in crate::config) needs: &'static str,
}

/// Section whose keys are declared by [`section!`].
pub(in crate::config) trait Declared {
    /// Declarations of the keys.
    fn keys() -> Vec<Key>;

    /// Refuses numbers out of their range. Keys are named without their table.
    fn check_ranges(&self) -> Result<(), ConfigError>;

    /// Keys that differ from their default and have no effect, each with the setting that it needs.
    fn unused(&self) -> Vec<(&'static str, &'static str)>;
}

/// Declares a section of the file: for each key its documentation, type and default, the range of its numbers (`in`), and the setting
/// of its section without which it has no effect (`needs`).
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $(
                $(#[$($attribute:tt)*])*
                $key:ident: $type:ty = $default:expr
                $(, in $range:expr)?
                $(, needs $words:literal $needed:expr)?;
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$($attribute)*])* pub $key: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $crate::config::sections::keys::Declared for $name {
            fn keys() -> Vec<$crate::config::sections::keys::Key> {
                use $crate::config::sections::keys::{Key, Value, section};
                vec![$(Key {
                    name: stringify!($key),
                    doc: concat!($(section!(@doc $($attribute)*)),*),
                    values: <$type as Value>::words(),
                    range: section!(@range $($range)?).words(),
                    needs: concat!($($words)?),
                }),*]
            }

            fn check_ranges(&self) -> Result<(), ConfigError> {
                use $crate::config::sections::keys::{Value, section};
                $(Value::within(&self.$key, stringify!($key), section!(@range $($range)?))?;)*
                Ok(())
            }

            fn unused(&self) -> Vec<(&'static str, &'static str)> {
                let default = Self::default();
                let unused: &[Option<(&'static str, &'static str)>] = &[$($({
                    let needed: fn(&Self) -> bool = $needed;
                    (self.$key != default.$key && !needed(self)).then_some((stringify!($key), $words))
                },)?)*];
                let _ = default;
                unused.iter().flatten().copied().collect()
            }
        }
    };
    (@doc doc = $text:literal) => { $text };
    (@doc $($other:tt)*) => { "" };
    (@range) => { $crate::config::sections::keys::Range::Any };
    (@range $range:expr) => { $range };
}
pub(in crate::config) use section;
