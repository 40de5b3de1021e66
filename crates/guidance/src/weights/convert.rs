//! A file's tensors under other names, or in another type.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;

use safetensors::tensor::TensorInfo;

use super::file::{WeightsFile, blocks, sort_key};
use super::naming::{Naming, Values};
use super::write::{About, Contents, Entry, Format, Named, write_entries};
use crate::error::{Error, Result};

/// A file's tensors under other names.
#[derive(Clone, Debug, PartialEq)]
pub struct Renamed {
    /// Name, shape and values of each.
    pub tensors: Vec<Named>,
    /// Further contents of the file, under their own names, and why they are not needed.
    pub left_out: Vec<(String, &'static str)>,
}

/// Contents of a file that [`WeightsFile::convert`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Number of tensors.
    pub tensors: usize,
    /// Number of values of all tensors.
    pub values: usize,
    /// As in [`Renamed::left_out`].
    pub left_out: Vec<(String, &'static str)>,
    /// New names of tensors with numbers that are not finite, and how many these are.
    pub not_finite: Vec<(String, usize)>,
}

/// Names of tensors, and why they are not needed.
type LeftOut = Vec<(String, &'static str)>;

/// A tensor of a file, and what becomes of it.
struct Moved<'a> {
    from: String,
    info: &'a TensorInfo,
    name: String,
    shape: Vec<usize>,
    /// True if its rows become columns.
    turned: bool,
}

/// Numbers of a transposed tensor that are made at once: 16 MiB of them, since each block reads a piece of every row.
const TURNED: usize = 4 << 20;

impl WeightsFile {
    /// Every tensor under its own name.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for one that holds other things than floats.
    pub fn unrenamed(&self) -> Result<Renamed> {
        self.all(None)
    }

    /// Every tensor under the names of `to`, whatever the file's own are, but for what is redundant.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if a tensor has no name there, or that of another, or holds other things than floats.
    pub fn renamed(&self, to: Naming) -> Result<Renamed> {
        self.all(Some(to))
    }

    /// Writes the tensors of [`WeightsFile::renamed`], or with `None` of [`WeightsFile::unrenamed`], whole or not at all, as
    /// [`write`](super::write()) does. Tensors are copied in blocks, which take some 40 MiB of memory however large the file is.
    ///
    /// # Errors
    /// As [`WeightsFile::renamed`] and [`write`](super::write()).
    pub fn convert(
        &self,
        to: Option<Naming>,
        path: &Path,
        format: Format,
        about: impl Into<About>,
    ) -> Result<Converted> {
        let (moved, left_out) = self.moved(to)?;
        let values = moved.iter().map(|moved| moved.shape.iter().product::<usize>()).sum();
        let not_finite = vec![Cell::new(0); moved.len()];
        let entries = moved.iter().zip(&not_finite).map(|(moved, not_finite)| {
            let Moved { name, shape, .. } = moved;
            let count = move |block: &Result<Vec<f32>>| {
                let numbers = block.as_deref().unwrap_or_default();
                not_finite.set(not_finite.get() + numbers.iter().filter(|number| !number.is_finite()).count());
            };
            let blocks = self.blocks_of(moved).inspect(count);
            Entry { name, shape: shape.clone(), contents: Contents::Blocks(Box::new(blocks)) }
        });
        write_entries(path, entries.collect(), format, about.into())?;
        let not_finite = moved.iter().zip(not_finite).map(|(moved, count)| (moved.name.clone(), count.get()));
        let not_finite = not_finite.filter(|(_, count)| *count > 0).collect();
        Ok(Converted { tensors: moved.len(), values, left_out, not_finite })
    }

    fn all(&self, to: Option<Naming>) -> Result<Renamed> {
        let (moved, left_out) = self.moved(to)?;
        let read = |moved: &Moved<'_>| {
            let values = self.blocks_of(moved).collect::<Result<Vec<_>>>()?.concat();
            Ok((moved.name.clone(), moved.shape.clone(), values))
        };
        Ok(Renamed { tensors: moved.iter().map(read).collect::<Result<_>>()?, left_out })
    }

    /// Tensors under other names, in order of these, and what is left out.
    fn moved(&self, to: Option<Naming>) -> Result<(Vec<Moved<'_>>, LeftOut)> {
        let names = self.names();
        let Some(to) = to else {
            let own = |name: &String| {
                let info = self.info(name)?;
                Some(Moved { from: name.clone(), info, name: name.clone(), shape: info.shape.clone(), turned: false })
            };
            return Ok((names.iter().filter_map(own).collect(), Vec::new()));
        };
        let (from, prefix) = Naming::of_file(&names.iter().map(String::as_str).collect::<Vec<_>>());
        if from == Naming::Bert || to == Naming::Bert {
            let problem = "has BERT's names, or is to have them, and their attention is in three tensors";
            return Err(Error::checkpoint(
                &self.path,
                problem,
                "keep its names: --names own; networks load such files",
            ));
        }
        let (mut tensors, mut taken, mut left_out) = (Vec::new(), BTreeSet::new(), Vec::new());
        for name in &names {
            if let Some(reason) = self.redundant(name, from, prefix)? {
                left_out.push((name.clone(), reason));
                continue;
            }
            let stripped = name.strip_prefix(prefix).unwrap_or(name);
            let unnamed = || {
                let problem = format!("`{name}` has no name among those of {to}");
                Error::checkpoint(&self.path, problem, "keep its names: --names own")
            };
            let (ours, before) = from.ours(stripped).ok_or_else(unnamed)?;
            let (theirs, after) = to.theirs(&ours).ok_or_else(unnamed)?;
            if !taken.insert(theirs.clone()) {
                let problem = format!("`{name}` would have the name of another, `{theirs}`");
                return Err(Error::checkpoint(&self.path, problem, "remove one of them"));
            }
            let info = self.info(name).ok_or_else(unnamed)?;
            let turned = (before == Values::Transposed) != (after == Values::Transposed);
            let mut shape = info.shape.clone();
            if turned {
                shape.reverse();
            }
            if turned && shape.len() != 2 {
                return Err(unnamed());
            }
            tensors.push(Moved { from: name.clone(), info, name: theirs, shape, turned });
        }
        if let Some(missing) = to.always().find(|name| !taken.contains(*name)) {
            let problem = format!("has no tensor to be `{missing}`, so it is not of such a network");
            return Err(Error::checkpoint(&self.path, problem, "keep its names: --names own"));
        }
        tensors.sort_by_cached_key(|moved| sort_key(&moved.name));
        Ok((tensors, left_out))
    }

    /// The numbers of a tensor as they are to lie, block by block.
    fn blocks_of<'a>(&'a self, moved: &'a Moved<'_>) -> Box<dyn Iterator<Item = Result<Vec<f32>>> + 'a> {
        let Moved { from, info, shape, turned, .. } = moved;
        if !turned {
            let count = info.shape.iter().product();
            // An empty tensor has a type too.
            let empty = (count == 0).then_some(0..0);
            return Box::new(blocks(count).chain(empty).map(|block| self.some_numbers(from, info, block)));
        }
        let (rows, columns) = (shape[1], shape[0]);
        let at_once = (TURNED / rows.max(1)).max(1);
        Box::new((0..columns).step_by(at_once).map(move |first| {
            let taken = first..columns.min(first + at_once);
            let mut turned = vec![0.0; taken.len() * rows];
            for row in 0..rows {
                let piece = row * columns + taken.start..row * columns + taken.end;
                for (column, value) in self.some_numbers(from, info, piece)?.into_iter().enumerate() {
                    turned[column * rows + row] = value;
                }
            }
            Ok(turned)
        }))
    }
}

/// Columns as rows; `None` for what is no matrix.
pub(super) fn transposed(shape: &[usize], values: &[f32]) -> Option<(Vec<usize>, Vec<f32>)> {
    let &[rows, columns] = shape else { return None };
    let turned = (0..values.len()).map(|at| values[at % rows * columns + at / rows]).collect();
    Some((vec![columns, rows], turned))
}
