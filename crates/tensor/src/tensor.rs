//! Tensors: named data that stays on the GPU between steps (parameters, moments, data sets, counters).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;

use bytemuck::Pod;
use half::f16;

use crate::device::gpu::{ALIGNMENT, Gpu};
use crate::device::pool::Buffer;
use crate::error::{Error, Result};
use crate::shape::{DType, Shape, TensorType};

/// Named data on the GPU. Cloning is cheap and gives the same data.
#[derive(Clone)]
pub struct Tensor {
    inner: Arc<Inner>,
}

struct Inner {
    gpu: Gpu,
    name: String,
    ty: TensorType,
    buffer: Arc<Buffer>,
    offset: usize,
}

impl Tensor {
    /// Number of elements that are best copied between CPU and GPU at once: 16 MiB of f32. A large tensor that is copied in such
    /// blocks takes little of the CPU's memory.
    pub const TRANSFER_BLOCK: usize = 4 << 20;

    /// A tensor with undefined contents.
    pub(crate) fn uninit(gpu: &Gpu, name: &str, ty: TensorType) -> Result<Self> {
        let buffer = Arc::new(Buffer::new(gpu, name, ty.bytes())?);
        Ok(Self::view(gpu, name, ty, buffer, 0))
    }

    /// A tensor inside `buffer`, `offset` bytes from its start.
    pub(crate) fn view(gpu: &Gpu, name: &str, ty: TensorType, buffer: Arc<Buffer>, offset: usize) -> Self {
        debug_assert_eq!(offset % ALIGNMENT, 0);
        Self { inner: Arc::new(Inner { gpu: gpu.clone(), name: name.to_string(), ty, buffer, offset }) }
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// When the byte budget or the adapter's limits do not allow it.
    pub fn zeros(gpu: &Gpu, name: &str, ty: TensorType) -> Result<Self> {
        let tensor = Self::uninit(gpu, name, ty)?;
        tensor.clear();
        Ok(tensor)
    }

    /// An f32 tensor with the given values, row-major.
    ///
    /// # Errors
    /// When `values` does not fill `shape` exactly, or memory does not allow it.
    pub fn from_f32(gpu: &Gpu, name: &str, shape: impl Into<Shape>, values: &[f32]) -> Result<Self> {
        let tensor = Self::uninit(gpu, name, TensorType::f32(shape))?;
        tensor.write_f32(values)?;
        Ok(tensor)
    }

    /// An f32 tensor with one value everywhere, written in blocks: the CPU holds 16 MiB of it.
    ///
    /// # Errors
    /// When memory does not allow it.
    pub(crate) fn filled(gpu: &Gpu, name: &str, shape: impl Into<Shape>, value: f32) -> Result<Self> {
        let ty = TensorType::f32(shape);
        if value.to_bits() == 0 || gpu.is_dry_run() {
            return Self::zeros(gpu, name, ty);
        }
        let tensor = Self::uninit(gpu, name, ty)?;
        let elements = tensor.ty().elements();
        let block = vec![value; elements.min(Self::TRANSFER_BLOCK)];
        for first in (0..elements).step_by(block.len().max(1)) {
            tensor.write_f32_at(first, &block[..block.len().min(elements - first)])?;
        }
        Ok(tensor)
    }

    /// An f16 tensor with the given values, each rounded to the nearest f16: infinite from 65,520 on, denormal below
    /// 6.1e-5.
    ///
    /// # Errors
    /// As [`Tensor::from_f32`].
    pub fn from_f16(gpu: &Gpu, name: &str, shape: impl Into<Shape>, values: &[f32]) -> Result<Self> {
        let tensor = Self::uninit(gpu, name, TensorType::f16(shape))?;
        tensor.check_length(values.len())?;
        let mut halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
        halves.resize(tensor.ty().bytes() / 2, f16::ZERO);
        tensor.upload(bytemuck::cast_slice(&halves));
        Ok(tensor)
    }

    /// A u32 tensor with the given values.
    ///
    /// # Errors
    /// As [`Tensor::from_f32`].
    pub fn from_u32(gpu: &Gpu, name: &str, shape: impl Into<Shape>, values: &[u32]) -> Result<Self> {
        let tensor = Self::uninit(gpu, name, TensorType::u32(shape))?;
        tensor.write_u32(values)?;
        Ok(tensor)
    }

    /// A u8 tensor with the given values.
    ///
    /// # Errors
    /// As [`Tensor::from_f32`].
    pub fn from_u8(gpu: &Gpu, name: &str, shape: impl Into<Shape>, values: &[u8]) -> Result<Self> {
        let tensor = Self::uninit(gpu, name, TensorType::u8(shape))?;
        tensor.check_length(values.len())?;
        let mut padded = values.to_vec();
        padded.resize(tensor.ty().bytes(), 0);
        tensor.upload(&padded);
        Ok(tensor)
    }

    /// Replaces the values of an f32 tensor.
    ///
    /// # Errors
    /// When the number of values differs from the tensor's.
    pub fn write_f32(&self, values: &[f32]) -> Result<()> {
        self.check_length(values.len())?;
        self.upload(bytemuck::cast_slice(values));
        Ok(())
    }

    /// Replaces the values of a u32 tensor.
    ///
    /// # Errors
    /// When the number of values differs from the tensor's.
    pub fn write_u32(&self, values: &[u32]) -> Result<()> {
        self.check_length(values.len())?;
        self.upload(bytemuck::cast_slice(values));
        Ok(())
    }

    /// Replaces some values of a u8 tensor, from element `first` on; the rest stays. Both ends are at multiples of 4. Steps that
    /// were submitted before see the old values, those submitted later the new ones; nothing waits.
    ///
    /// # Errors
    /// [`Error::Size`] when they do not lie within the tensor, or not at multiples of 4.
    pub fn write_u8_at(&self, first: usize, values: &[u8]) -> Result<()> {
        self.write_at(first, values)
    }

    /// [`Tensor::write_u8_at`] for an f32 tensor; both ends may be any elements.
    ///
    /// # Errors
    /// [`Error::Size`] when they do not lie within the tensor.
    pub fn write_f32_at(&self, first: usize, values: &[f32]) -> Result<()> {
        self.write_at(first, values)
    }

    /// [`Tensor::write_u8_at`] for a u32 tensor; both ends may be any elements.
    ///
    /// # Errors
    /// [`Error::Size`] when they do not lie within the tensor.
    pub fn write_u32_at(&self, first: usize, values: &[u32]) -> Result<()> {
        self.write_at(first, values)
    }

    fn write_at<T: Pod>(&self, first: usize, values: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let offset = first * size_of::<T>();
        let aligned = offset.is_multiple_of(4) && bytes.len().is_multiple_of(4);
        let end = first.saturating_add(values.len());
        if end > self.ty().elements() || !aligned {
            return Err(Error::Size { tensor: self.name().to_string(), expected: self.ty().elements(), given: end });
        }
        if !bytes.is_empty() {
            self.inner.gpu.write(self.inner.buffer.raw(), (self.inner.offset + offset) as u64, bytes);
        }
        Ok(())
    }

    /// Copies the values to the CPU. It waits for the GPU, so a training loop's step must not call it.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn read_f32(&self) -> Result<Vec<f32>> {
        debug_assert_eq!(self.ty().dtype, DType::F32);
        read_back(&self.inner.gpu, &self.inner.buffer, self.inner.offset, self.ty().elements())
    }

    /// Copies some of the values to the CPU, those of a range of elements; waits for the GPU.
    ///
    /// # Errors
    /// [`Error::Size`] when they do not lie within the tensor; when the device is lost.
    pub fn read_f32_at(&self, range: Range<usize>) -> Result<Vec<f32>> {
        debug_assert_eq!(self.ty().dtype, DType::F32);
        if range.end > self.ty().elements() || range.start > range.end {
            let (tensor, expected) = (self.name().to_string(), self.ty().elements());
            return Err(Error::Size { tensor, expected, given: range.end });
        }
        read_back(&self.inner.gpu, &self.inner.buffer, self.inner.offset + 4 * range.start, range.len())
    }

    /// Copies the values of an f16 tensor to the CPU, widened to f32.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn read_f16(&self) -> Result<Vec<f32>> {
        debug_assert_eq!(self.ty().dtype, DType::F16);
        read_halves(&self.inner.gpu, &self.inner.buffer, self.inner.offset, self.ty().elements())
    }

    /// Copies the values of a u32 tensor to the CPU.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn read_u32(&self) -> Result<Vec<u32>> {
        debug_assert_eq!(self.ty().dtype, DType::U32);
        read_back(&self.inner.gpu, &self.inner.buffer, self.inner.offset, self.ty().elements())
    }

    /// Sets every byte to zero.
    pub fn clear(&self) {
        if self.inner.gpu.is_dry_run() {
            return;
        }
        let mut encoder = self.inner.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let bytes = self.ty().bytes() as u64;
        if bytes > 0 {
            encoder.clear_buffer(self.inner.buffer.raw(), self.inner.offset as u64, Some(bytes));
        }
        self.inner.gpu.submit(encoder.finish());
    }

    /// The tensor's name in errors, checkpoints and profiles.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Shape and element type.
    pub fn ty(&self) -> &TensorType {
        &self.inner.ty
    }

    /// Shape.
    pub fn shape(&self) -> &Shape {
        &self.inner.ty.shape
    }

    /// The device that holds it.
    pub fn gpu(&self) -> &Gpu {
        &self.inner.gpu
    }

    pub(crate) fn buffer(&self) -> &Arc<Buffer> {
        &self.inner.buffer
    }

    pub(crate) fn offset(&self) -> usize {
        self.inner.offset
    }

    /// True if two handles name the same tensor.
    pub(crate) fn same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Number of the tensor among those that exist: handles of the same one have the same.
    pub(crate) fn number(&self) -> usize {
        Arc::as_ptr(&self.inner) as usize
    }

    fn upload(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.inner.gpu.write(self.inner.buffer.raw(), self.inner.offset as u64, bytes);
        }
    }

    fn check_length(&self, given: usize) -> Result<()> {
        let expected = self.ty().elements();
        if given == expected {
            return Ok(());
        }
        Err(Error::Size { tensor: self.name().to_string(), expected, given })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.ty())
    }
}

/// Copies `elements` values from a buffer, waiting for all submitted work.
pub(crate) fn read_back<T: Pod>(gpu: &Gpu, buffer: &Buffer, offset: usize, elements: usize) -> Result<Vec<T>> {
    read_raw(gpu, buffer.raw(), offset, elements)
}

/// [`read_back`] of f16 values, widened to f32. Copies are of whole words, so an odd last value brings a neighbor along.
pub(crate) fn read_halves(gpu: &Gpu, buffer: &Buffer, offset: usize, elements: usize) -> Result<Vec<f32>> {
    let halves: Vec<f16> = read_back(gpu, buffer, offset, elements.next_multiple_of(2))?;
    Ok(halves[..elements].iter().map(|value| value.to_f32()).collect())
}

/// [`read_back`] from a buffer that is not of the pool.
pub(crate) fn read_raw<T: Pod>(gpu: &Gpu, buffer: &wgpu::Buffer, offset: usize, elements: usize) -> Result<Vec<T>> {
    if elements == 0 || gpu.is_dry_run() {
        return Ok(vec![T::zeroed(); elements]);
    }
    let bytes = (elements * size_of::<T>()) as u64;
    let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("read back"),
        size: bytes,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, offset as u64, &staging, 0, Some(bytes));
    gpu.submit(encoder.finish());
    gpu.count_readback();
    let (sender, receiver) = mpsc::channel();
    // The receiver lives until the end of this function, so sending cannot fail.
    staging.map_async(wgpu::MapMode::Read, .., move |outcome| drop(sender.send(outcome)));
    gpu.wait()?;
    let lost = |message: String| Error::DeviceLost { message };
    match receiver.recv() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(lost(error.to_string())),
        Err(_) => return Err(lost("the read-back was dropped".to_string())),
    }
    let view = staging.get_mapped_range(..).map_err(|e| lost(e.to_string()))?;
    Ok(bytemuck::pod_collect_to_vec(&view))
}
