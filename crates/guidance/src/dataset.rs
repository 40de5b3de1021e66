//! Data sets on the GPU: bytes and labels, uploaded once; batches are drawn and normalised there.

use trellis_tensor::{Clock, Gpu, Graph, Tensor, Var};

use crate::data::Images;
use crate::error::{Error, Result};
use crate::network::Input;

/// Images in up to three splits, on the GPU.
#[derive(Clone, Debug)]
pub struct Dataset {
    gpu: Gpu,
    name: String,
    image: [usize; 3],
    classes: usize,
    /// What makes the training pixels have mean 0 and variance 1.
    scale: f32,
    shift: f32,
    train: Split,
    validation: Option<Split>,
    test: Option<Split>,
}

/// One split on the GPU.
#[derive(Clone, Debug)]
pub struct Split {
    /// `u8[count, channels, height, width]`.
    images: Tensor,
    /// `u32[count]`.
    labels: Tensor,
}

/// A batch in a graph.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'g> {
    /// What networks take: images are normalised, `[batch, channels, height, width]`.
    pub input: Input<'g>,
    /// `u32[batch]`.
    pub labels: Var<'g>,
}

impl Dataset {
    /// Uploads splits. Normalisation comes from the training split alone.
    ///
    /// # Errors
    /// [`Error::Data`] if the splits differ in image size or the training split is empty; when memory does not allow it.
    pub fn new(gpu: &Gpu, train: &Images, validation: Option<&Images>, test: Option<&Images>) -> Result<Self> {
        let image = [train.channels, train.height, train.width];
        for split in [Some(train), validation, test].into_iter().flatten() {
            if [split.channels, split.height, split.width] != image || split.count() == 0 {
                let problem = format!("{} images of {}x{}", split.count(), split.height, split.width);
                return Err(Error::data(&split.name, problem, "all splits need images of one size, at least one each"));
            }
        }
        let (mean, deviation) = train.pixel_mean_std();
        let upload = |split: &Images, kind: &str| Split::new(gpu, split, kind);
        Ok(Self {
            gpu: gpu.clone(),
            name: train.name.clone(),
            image,
            classes: train.classes,
            scale: 1.0 / (255.0 * deviation),
            shift: -mean / deviation,
            train: upload(train, "train")?,
            validation: validation.map(|split| upload(split, "validation")).transpose()?,
            test: test.map(|split| upload(split, "test")).transpose()?,
        })
    }

    /// A random batch of training images for the step that `clock` shows, without replacement within an epoch.
    ///
    /// # Errors
    /// When `batch` is 0 or more than there are.
    pub fn train_batch<'g>(&self, graph: &'g Graph, clock: &Clock, batch: usize, seed: u64) -> Result<Batch<'g>> {
        let index = graph.leaf(clock.tensor()).sample_batch(self.train.count(), batch, seed)?;
        self.gather(graph, &self.train, index)
    }

    /// Images `step · batch …` of `split`; past its end, zeros with a label that is ignored.
    ///
    /// # Errors
    /// When `batch` is 0.
    pub fn sequential_batch<'g>(
        &self,
        graph: &'g Graph,
        split: &Split,
        clock: &Clock,
        batch: usize,
    ) -> Result<Batch<'g>> {
        let index = graph.leaf(clock.tensor()).sequential_batch(split.count(), batch)?;
        self.gather(graph, split, index)
    }

    /// Training images by index, `[batch]`.
    ///
    /// # Errors
    /// When `index` holds no indices.
    pub fn train_examples<'g>(&self, graph: &'g Graph, index: Var<'g>) -> Result<Batch<'g>> {
        self.gather(graph, &self.train, index)
    }

    fn gather<'g>(&self, graph: &'g Graph, split: &Split, index: Var<'g>) -> Result<Batch<'g>> {
        let images = graph.leaf(&split.images).gather_images(index, self.scale, self.shift)?;
        Ok(Batch { input: Input::Images(images), labels: graph.leaf(&split.labels).gather_labels(index)? })
    }

    /// The normalised value of a black pixel: what a shifted image is filled with.
    pub fn black(&self) -> f32 {
        self.shift
    }

    /// The splits that exist, by name.
    pub fn splits(&self) -> impl Iterator<Item = (&'static str, &Split)> {
        let named =
            [("train", Some(&self.train)), ("validation", self.validation.as_ref()), ("test", self.test.as_ref())];
        named.into_iter().filter_map(|(name, split)| Some((name, split?)))
    }

    /// The device that holds it.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Channels, height and width of an image.
    pub fn image(&self) -> [usize; 3] {
        self.image
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Training images.
    pub fn train_count(&self) -> usize {
        self.train.count()
    }
}

impl Split {
    fn new(gpu: &Gpu, images: &Images, kind: &str) -> Result<Self> {
        let shape = [images.count(), images.channels, images.height, images.width];
        let labels: Vec<u32> = images.labels.iter().map(|&label| u32::from(label)).collect();
        Ok(Self {
            images: Tensor::from_u8(gpu, &format!("{kind} images"), shape, &images.pixels)?,
            labels: Tensor::from_u32(gpu, &format!("{kind} labels"), [images.count()], &labels)?,
        })
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.labels.ty().elements()
    }
}
