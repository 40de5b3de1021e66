//! The operations, one file each. Adding one: a file here, a kernel in `shaders/`, a line in the list below.

macro_rules! ops {
    ($($module:ident :: { $($op:ident),+ $(,)? }),* $(,)?) => {
        $(mod $module;)*
        $($(pub use $module::$op;)+)*
        $($(impl crate::op::Registered for $op {})+)*

        /// Every registered op: its type's name and a generator of random cases for the generic test.
        pub fn registry() -> Vec<(&'static str, fn(&mut crate::rng::Rng) -> crate::op::Sample)> {
            vec![$($((stringify!($op), <$op as crate::op::Op>::sample as _)),+),*]
        }
    };
}

ops! {
    unary::{Unary, UnaryGrad},
    binary::{Binary},
    reduce::{Reduce},
    cast::{Cast},
    view::{Permute, Expand, Slice, Pad},
    concat::{Concat, Pack},
    matmul::{MatMul},
    conv2d::{Conv2d},
    conv2d_grad::{Conv2dInputGrad, Conv2dWeightGrad},
    center::{Center},
    center_layers::{CenterLayers},
    gram::{Gram},
    gram_grad::{GramGrad, CkaGramGrad},
    layer_grams::{LayerGrams, LayerGramsGrad},
    center_gram::{CenterGram},
    rbf::{MedianDistance, RbfKernel, RbfKernelGrad},
    unit_rows::{UnitRows, UnitRowsGrad},
    ridge_inverse::{RidgeInverse},
    cholesky_inverse::{CholeskyInverse, InverseOf},
    cka::{CkaStats, CkaValue, CkaGrad},
    cka_features::{CkaFeaturesStats, CkaFeaturesValue, CkaFeaturesGrad},
    curve::{CurveValue},
    end_step::{EndStep},
    loss_scale::{LossScaleValue, LossScaleStep},
    optimizer::{AdamStep, SgdStep},
    softmax::{Softmax, SoftmaxGrad},
    attention::{Attention},
    attention_grad::{AttentionGrad},
    recurrence::{Recurrence},
    recurrence_grad::{RecurrenceGrad},
    cross_entropy::{CrossEntropy, CrossEntropyGrad},
    labelled_mean::{LabelledMean, LabelledMeanGrad},
    top_k::{TopK},
    confusion::{Confusion},
    dropout::{Dropout},
    layer_norm::{LayerNorm, LayerNormGrad, LayerNormSums},
    moments::{Moments, RunningStatistics},
    batch_norm::{BatchNorm},
    batch_norm_grad::{BatchNormSums, BatchNormGrad},
    sampler::{RingBatch, SampleBatch, SequentialBatch},
    sequences::{SequenceTokens, SequenceLabels},
    sequence_score::{SequenceScore},
    gather::{Gather, GatherGrad, GatherLabels, GatherImages},
    augment::{Augment},
    crop::{Crop},
    pool::{Pool, PoolGrad},
    fma_chain::{FmaChain},
}

pub use crate::attention_mask::{Keys, PairDropout};
pub(crate) use attention::AttentionSizes;
pub use attention::MAX_HEAD;
pub use batch_norm::Statistics;
pub use binary::BinaryFunction;
pub use cast::Stored;
pub use center_gram::Centering;
pub use cka::Similarity;
pub use cross_entropy::IGNORE;
pub use gram::GramOf;
pub use loss_scale::LossScale;
pub use matmul::Layout;
pub use pool::Pooling;
pub use recurrence::{Cell, RecurrentLayer};
pub use reduce::Reduction;
pub use sequences::{SequenceTask, Sequences};
pub use unary::UnaryFunction;
