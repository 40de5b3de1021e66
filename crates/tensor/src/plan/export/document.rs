//! The document itself: JSON, with the contents of buffers in base64.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::settings::{Setting, Word, WordPlace};
use super::{Export, ExportedDispatch, ExportedKernel, ExportedPlan, Place};
use crate::plan::kernel::Access;
use crate::shape::DType;

/// Version of the format. A reader refuses another one.
const VERSION: u32 = 1;

impl Export {
    /// The document, as `docs/plan-format.md` describes it.
    pub fn to_json(&self) -> Value {
        let mut data = Data::default();
        let buffers = self.buffers.iter().map(|exported| {
            let mut buffer = Map::new();
            buffer.insert("label".into(), json!(exported.buffer.label()));
            buffer.insert("bytes".into(), json!(exported.buffer.size()));
            if let Some(contents) = exported.contents.as_deref().and_then(|bytes| contents(bytes, &mut data)) {
                buffer.insert("contents".into(), contents);
            }
            Value::Object(buffer)
        });
        let buffers: Vec<Value> = buffers.collect();
        json!({
            "format": "trellis-plan",
            "version": VERSION,
            "buffers": buffers,
            "data": data.texts,
            "kernels": self.kernels.iter().map(kernel).collect::<Vec<_>>(),
            "plans": self.plans.iter().map(|plan| (plan.name.clone(), of_plan(plan))).collect::<Map<_, _>>(),
            "tensors": places(&self.tensors),
            "settings": self.settings.iter().map(|setting| self.setting(setting)).collect::<Map<_, _>>(),
        })
    }

    fn setting(&self, Setting { name, word, is_float, places }: &Setting) -> (String, Value) {
        let places = places.iter().map(|Word { place, factor }| match *place {
            WordPlace::Dims { plan, dispatch, word } => {
                json!({ "plan": self.plans[plan].name, "dispatch": dispatch, "word": word, "factor": factor })
            }
            WordPlace::Contents { buffer, word } => json!({ "buffer": buffer, "word": word, "factor": factor }),
        });
        let (kind, value) = match is_float {
            true => ("f32", json!(f32::from_bits(*word))),
            false => ("u32", json!(word)),
        };
        (name.clone(), json!({ "dtype": kind, "value": value, "words": places.collect::<Vec<_>>() }))
    }
}

fn kernel(ExportedKernel { variant, text, access, needs }: &ExportedKernel) -> Value {
    let access: Vec<&str> =
        access.iter().map(|access| if *access == Access::Read { "read" } else { "write" }).collect();
    json!({
        "name": variant.kernel.name,
        "flags": variant.flags,
        "constants": variant.constants.iter().map(|(name, value)| (name.to_string(), json!(value))).collect::<Map<_, _>>(),
        "access": access,
        "workgroup": needs.workgroup,
        "memory": needs.memory,
        "wgsl": text,
    })
}

fn of_plan(ExportedPlan { dispatches, outputs, .. }: &ExportedPlan) -> Value {
    json!({ "dispatches": dispatches.iter().map(dispatch).collect::<Vec<_>>(), "outputs": places(outputs) })
}

fn dispatch(dispatch: &ExportedDispatch) -> Value {
    let ExportedDispatch { kernel, groups, dims, bind, op, layer, flops, bytes } = dispatch;
    let bind: Vec<[usize; 3]> = bind.iter().map(|bound| [bound.buffer, bound.offset, bound.bytes]).collect();
    json!({
        "kernel": kernel, "groups": groups, "dims": dims, "bind": bind,
        "op": op, "layer": layer, "flops": flops, "bytes": bytes,
    })
}

fn places(named: &[(String, Place)]) -> Map<String, Value> {
    let place = |(name, Place { buffer, offset, ty }): &(String, Place)| {
        let dtype = match ty.dtype {
            DType::F32 => "f32",
            DType::U32 => "u32",
            DType::U8 => "u8",
            DType::F16 => "f16",
        };
        let shape: Vec<usize> = ty.shape.to_vec();
        (name.clone(), json!({ "buffer": buffer, "offset": offset, "dtype": dtype, "shape": shape }))
    };
    named.iter().map(place).collect()
}

/// Contents of buffers, equal ones once.
#[derive(Default)]
struct Data {
    texts: Vec<String>,
    known: HashMap<Vec<u8>, usize>,
}

/// Contents of a buffer; `None` for zeros, which a fresh buffer holds anyway.
fn contents(bytes: &[u8], data: &mut Data) -> Option<Value> {
    let words: &[[u8; 4]] = bytemuck::cast_slice(bytes);
    let end = words.iter().rposition(|word| *word != [0; 4])? + 1;
    let words = &words[..end];
    if words.iter().all(|word| *word == words[0]) {
        return Some(json!({ "fill": u32::from_le_bytes(words[0]), "words": words.len() }));
    }
    let bytes = &bytes[..4 * end];
    let number = match data.known.get(bytes) {
        Some(&known) => known,
        None => {
            data.texts.push(base64(bytes));
            data.known.insert(bytes.to_vec(), data.texts.len() - 1);
            data.texts.len() - 1
        }
    };
    Some(json!({ "data": number }))
}

/// Base64 of RFC 4648, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let digits = (0..4).map(|i| char::from(DIGITS[(word >> (18 - 6 * i)) as usize & 63]));
        text.extend(digits.enumerate().map(|(i, digit)| if i <= group.len() { digit } else { '=' }));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_standard() {
        // Test vectors of RFC 4648, section 10.
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
