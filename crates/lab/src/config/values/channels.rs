//! A number for each channel of an image.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Numbers of the channels of an image.
#[derive(Clone, Debug, PartialEq)]
pub enum Channels {
    /// `"imagenet"`: those of red, green and blue that torchvision's networks were trained with.
    Imagenet,
    /// One for each channel.
    Each(Vec<f32>),
}

/// The word for [`Channels::Imagenet`].
const IMAGENET: &str = "imagenet";

impl Channels {
    /// The numbers, `imagenet` for the word.
    pub(in crate::config) fn values(&self, imagenet: [f32; 3]) -> Vec<f32> {
        match self {
            Self::Imagenet => imagenet.to_vec(),
            Self::Each(values) => values.clone(),
        }
    }
}

impl Serialize for Channels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Imagenet => serializer.serialize_str(IMAGENET),
            Self::Each(values) => values.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Channels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrList;
        impl<'de> Visitor<'de> for WordOrList {
            type Value = Channels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list with a number for each channel, or \"imagenet\"")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Channels, E> {
                if word == IMAGENET { Ok(Channels::Imagenet) } else { Err(E::unknown_variant(word, &[IMAGENET])) }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Channels, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Channels::Each(values))
            }
        }
        deserializer.deserialize_any(WordOrList)
    }
}
