//! Shapes and element types.

use std::fmt;
use std::ops::Deref;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float: activations, parameters, gradients.
    F32,
    /// 16-bit float (IEEE 754 binary16), two to a 32-bit word: operands of products. Kernels unpack it to f32 and compute
    /// in f32, so it needs no feature of the adapter.
    F16,
    /// 32-bit unsigned integer: labels, indices, counters.
    U32,
    /// 8-bit unsigned integer, four to a 32-bit word: stored images. Only `gather_images` reads it.
    U8,
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::U32 => "u32",
            DType::U8 => "u8",
        })
    }
}

/// The sizes of a tensor's axes, slowest first. Storage is always contiguous and row-major; `[]` is a scalar.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Number of elements; 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Size of the last axis; 1 for a scalar.
    pub fn last_axis(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// Step in elements from one index to the next, per axis.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis] * self.0[axis];
        }
        strides
    }

    /// The shape that `self` and `other` broadcast to by NumPy's rule (align the last axes; 1 stretches), if any.
    ///
    /// ```
    /// use trellis_tensor::Shape;
    /// let (a, b) = (Shape::from([8, 1, 3]), Shape::from([4, 3]));
    /// assert_eq!(a.broadcast(&b), Some(Shape::from([8, 4, 3])));
    /// assert_eq!(Shape::from([2]).broadcast(&Shape::from([3])), None);
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let size = |shape: &Shape, axis: usize| match (axis + shape.rank()).checked_sub(rank) {
            Some(own) => shape[own],
            None => 1,
        };
        (0..rank)
            .map(|axis| match (size(self, axis), size(other, axis)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Shape)
    }

    /// Strides with which a tensor of this shape is read when it is stretched to `target`: 0 on stretched axes.
    pub(crate) fn broadcast_strides(&self, target: &Shape) -> Vec<usize> {
        let own = self.strides();
        (0..target.rank())
            .map(|axis| match (axis + self.rank()).checked_sub(target.rank()) {
                Some(a) if self[a] == target[axis] => own[a],
                _ => 0,
            })
            .collect()
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Shape {
    fn from(sizes: Vec<usize>) -> Self {
        Shape(sizes)
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Self {
        Shape(sizes.to_vec())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Shape(sizes.to_vec())
    }
}

impl<const N: usize> From<&[usize; N]> for Shape {
    fn from(sizes: &[usize; N]) -> Self {
        Shape(sizes.to_vec())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Shape and element type: the part of a tensor that a shape rule reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// Sizes of the axes.
    pub shape: Shape,
    /// Type of the elements.
    pub dtype: DType,
}

impl TensorType {
    /// An f32 tensor type.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: DType::F32 }
    }

    /// An f16 tensor type.
    pub fn f16(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: DType::F16 }
    }

    /// A u32 tensor type.
    pub fn u32(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: DType::U32 }
    }

    /// A u8 tensor type.
    pub fn u8(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: DType::U8 }
    }

    /// The "output" of an op that only updates its inputs in place.
    pub fn nothing() -> Self {
        Self::f32([0])
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.elements()
    }

    /// Size in bytes, rounded up to whole 32-bit words.
    pub fn bytes(&self) -> usize {
        match self.dtype {
            DType::F32 | DType::U32 => 4 * self.elements(),
            DType::F16 => (2 * self.elements()).next_multiple_of(4),
            DType::U8 => self.elements().next_multiple_of(4),
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}
