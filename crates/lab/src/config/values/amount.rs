//! Size of a split as a file gives it: a number of examples, or a share.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Size of a split: `train = 2000`, or `train = 0.8`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Number of examples: a whole number.
    Count(usize),
    /// Share of the examples that the split is drawn from, from 0 to 1: a number with a point.
    Share(f64),
}

impl From<usize> for Amount {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

impl Amount {
    /// The number, if it is one.
    pub fn count(self) -> Option<usize> {
        match self {
            Self::Count(count) => Some(count),
            Self::Share(_) => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            // With its point, as a file has it.
            Self::Share(share) => write!(f, "{share:?}"),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count as u64),
            Self::Share(share) => serializer.serialize_f64(*share),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of 0 or more, or a share from 0.0 to 1.0")
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<Amount, E> {
                usize::try_from(count).map(Amount::Count).map_err(|_| E::custom(format!("{count} is too large")))
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<Amount, E> {
                usize::try_from(count).map(Amount::Count).map_err(|_| {
                    E::custom(format!(
                        "invalid value: integer `{count}`, expected a whole number of 0 or more, or a share"
                    ))
                })
            }

            fn visit_f64<E: Error>(self, share: f64) -> Result<Amount, E> {
                Ok(Amount::Share(share))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}
